/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/simnic/misbehave.h"

bool misbehave_command(struct function *f, const struct sim_message *msg, int *fds, size_t n_fds)
{
	return false;
}

void misbehave_forget(struct function *f)
{
}

int misbehave_open(struct nic *nic, const char *path)
{
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A NIC with one data thread, which does not run, and one function, in the program that tests them. */
#ifndef TESTS_UNIT_SIMNIC_STAND_H
#define TESTS_UNIT_SIMNIC_STAND_H

#include <unistd.h>

#include "tools/simnic/function.h"
#include "tools/simnic/thread.h"

/** simnic_stand_begin() - @nic is zeroed. Return: 0; another number when it can't be made. */
static inline int simnic_stand_begin(struct nic *nic, struct function **ret)
{
	const struct sim_function identity = { .name = "f", .max_pairs = 1, .mtu = 1500 };

	if (thread_create(nic, 0, &nic->threads[0]) < 0 || loop_init(&nic->loop) < 0)
		return -1;
	nic->n_threads = 1;
	nic->own = nic->threads[0];
	return function_create(nic, &identity, ret);
}

static inline void simnic_stand_end(struct nic *nic, struct function *function)
{
	nic->functions[0] = NULL;
	nic->n_slots = 0;
	function_free(function);
	thread_free(nic->threads[0]);
	close(nic->loop.epoll_fd);
}

#endif

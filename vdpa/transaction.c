/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that dies between two of these steps leaves descriptors that nothing names, which its
 * successor gives up (fdstore_retain()); never a name without its descriptor.
 */
#include "vdpa/transaction.h"

int transaction_commit(const struct transaction *t)
{
	int r = fdstore_before_commit(t->fds);

	if (r < 0)
		return r;
	page_commit(t->page);
	fdstore_after_commit(t->fds);
	return 0;
}

void transaction_rollback(const struct transaction *t)
{
	page_rollback(t->page);
	fdstore_rollback(t->fds);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State and descriptors change together: a change is the page's commit with the descriptors it
 * names handed over before, and those it no longer names given up after.
 */
#ifndef VDPA_TRANSACTION_H
#define VDPA_TRANSACTION_H

#include "vdpa/fdstore.h"
#include "vdpa/page.h"

struct transaction {
	struct page *page;
	struct fdstore *fds;
};

/** transaction_commit() - make all changes since the last commit valid. Return: 0, or the error of
 * the keeper of descriptors; then nothing is valid and the changes are still there. */
int transaction_commit(const struct transaction *t);

/** transaction_rollback() - forget all changes since the last commit. */
void transaction_rollback(const struct transaction *t);

#endif

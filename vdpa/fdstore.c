/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots of descriptors. A slot that the committed state names is never reused before a commit that
 * no longer names it, so a process that dies at any moment leaves behind at worst slots that
 * nothing names; the next one drops them by fdstore_retain().
 */
#include "vdpa/fdstore.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

void fdstore_init(struct fdstore *store, struct fdstore_keeper *keeper, uint32_t first_free)
{
	store->keeper = keeper;
	store->first_free = first_free;
	store->n_added = 0;
	store->n_removed = 0;
	for (size_t i = 0; i < FDSTORE_MAX_SLOTS; i++)
		store->fds[i] = -1;
}

void fdstore_close_all(struct fdstore *store)
{
	for (size_t i = 0; i < FDSTORE_MAX_SLOTS; i++)
		store->fds[i] = close_keep_errno(store->fds[i]);
}

int fdstore_put(struct fdstore *store, uint32_t slot, int fd)
{
	if (slot >= FDSTORE_MAX_SLOTS) {
		close_keep_errno(fd);
		return -EINVAL;
	}
	close_keep_errno(store->fds[slot]);
	store->fds[slot] = fd;
	return 0;
}

int fdstore_add(struct fdstore *store, int fd)
{
	assert(fd >= 0);
	for (uint32_t slot = store->first_free; slot < FDSTORE_MAX_SLOTS; slot++) {
		if (store->fds[slot] >= 0)
			continue;
		store->fds[slot] = fd;
		store->added[store->n_added++] = slot;
		return (int)slot;
	}
	close_keep_errno(fd);
	return -EMFILE;
}

int fdstore_get(const struct fdstore *store, int32_t slot)
{
	return slot >= 0 && slot < FDSTORE_MAX_SLOTS ? store->fds[slot] : -1;
}

void fdstore_remove(struct fdstore *store, int32_t slot)
{
	if (slot < 0 || slot >= FDSTORE_MAX_SLOTS || store->fds[slot] < 0)
		return;
	assert(store->n_removed < FDSTORE_MAX_SLOTS);
	store->removed[store->n_removed++] = (uint32_t)slot;
}

int fdstore_before_commit(struct fdstore *store)
{
	int fds[ARRAY_SIZE(store->added)];

	if (store->n_added == 0)
		return 0;
	for (size_t i = 0; i < store->n_added; i++)
		fds[i] = store->fds[store->added[i]];
	return store->keeper->store(store->keeper, store->added, fds, store->n_added);
}

static void close_slots(struct fdstore *store, const uint32_t *slots, size_t n)
{
	for (size_t i = 0; i < n; i++)
		store->fds[slots[i]] = close_keep_errno(store->fds[slots[i]]);
}

void fdstore_after_commit(struct fdstore *store)
{
	store->n_added = 0;
	if (store->n_removed == 0)
		return;
	store->keeper->drop(store->keeper, store->removed, store->n_removed);
	close_slots(store, store->removed, store->n_removed);
	store->n_removed = 0;
}

void fdstore_rollback(struct fdstore *store)
{
	if (store->n_added > 0) {
		store->keeper->drop(store->keeper, store->added, store->n_added);
		close_slots(store, store->added, store->n_added);
	}
	store->n_added = 0;
	store->n_removed = 0;
}

void fdstore_remove_unnamed(struct fdstore *store, const uint8_t *used)
{
	uint8_t known[FDSTORE_MAX_SLOTS];

	memcpy(known, used, sizeof(known));
	for (size_t i = 0; i < store->n_removed; i++)
		known[store->removed[i]] = 1;
	for (uint32_t slot = store->first_free; slot < FDSTORE_MAX_SLOTS; slot++) {
		if (!known[slot])
			fdstore_remove(store, (int32_t)slot);
	}
}

void fdstore_retain(struct fdstore *store, const uint8_t *used)
{
	for (uint32_t slot = store->first_free; slot < FDSTORE_MAX_SLOTS; slot++) {
		if (store->fds[slot] >= 0 && !used[slot])
			fdstore_remove(store, (int32_t)slot);
	}
	fdstore_after_commit(store);
}

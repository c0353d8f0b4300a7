/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors that outlive the process: each is in a numbered slot, here and at a keeper outside.
 * State that is kept names slots, never descriptors.
 *
 * A change becomes lasting in two steps around the commit of the state that names it:
 * fdstore_before_commit() hands new descriptors to the keeper, fdstore_after_commit() gives up
 * those the state no longer names. fdstore_rollback() undoes both.
 */
#ifndef VDPA_FDSTORE_H
#define VDPA_FDSTORE_H

#include <stddef.h>
#include <stdint.h>

#define FDSTORE_MAX_SLOTS 1536
#define FDSTORE_NONE	  (-1) /* a slot number that names nothing */

/**
 * struct fdstore_keeper - who keeps the descriptors.
 * @store: keep duplicates of @fds in @slots; 0 or a negative errno
 * @drop:  forget @slots; what was there is closed
 */
struct fdstore_keeper {
	int (*store)(struct fdstore_keeper *keeper, const uint32_t *slots, const int *fds, size_t n);
	int (*drop)(struct fdstore_keeper *keeper, const uint32_t *slots, size_t n);
};

struct fdstore {
	struct fdstore_keeper *keeper;
	int fds[FDSTORE_MAX_SLOTS]; /* -1: empty */
	uint32_t first_free;	    /* slots below are never chosen by fdstore_add() */
	uint32_t added[FDSTORE_MAX_SLOTS];   /* since the last commit or rollback */
	size_t n_added;
	uint32_t removed[FDSTORE_MAX_SLOTS]; /* closed by the next commit */
	size_t n_removed;
};

void fdstore_init(struct fdstore *store, struct fdstore_keeper *keeper, uint32_t first_free);

/** fdstore_close_all() - close this process's descriptors; the keeper's stay. */
void fdstore_close_all(struct fdstore *store);

/** fdstore_put() - the keeper told us that @slot holds @fd; takes @fd. Return: 0 or -EINVAL. */
int fdstore_put(struct fdstore *store, uint32_t slot, int fd);

/**
 * fdstore_add() - choose a slot for @fd.
 * Takes @fd, also on failure. Return: the slot; -EMFILE when all are in use.
 */
int fdstore_add(struct fdstore *store, int fd);

/** fdstore_get() - the descriptor in @slot, lent; -1 when @slot is empty or no slot at all. */
int fdstore_get(const struct fdstore *store, int32_t slot);

/** fdstore_remove() - @slot is not needed once the next commit is made; FDSTORE_NONE is fine. */
void fdstore_remove(struct fdstore *store, int32_t slot);

int fdstore_before_commit(struct fdstore *store);
void fdstore_after_commit(struct fdstore *store);
void fdstore_rollback(struct fdstore *store);

/**
 * fdstore_remove_unnamed() - once the next commit is made, what is not in @used is not needed: also what
 * a commit in the middle of a change handed over, before it came to nothing.
 * @used: as fdstore_retain()
 */
void fdstore_remove_unnamed(struct fdstore *store, const uint8_t *used);

/**
 * fdstore_retain() - drop every slot from first_free on that is not in @used.
 * @used: FDSTORE_MAX_SLOTS bytes, not 0 where the slot is named by the state
 */
void fdstore_retain(struct fdstore *store, const uint8_t *used);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* User ids of workers and simnics: one each, the same one as long as its owner exists. */
#ifndef VDPAD_UIDS_H
#define VDPAD_UIDS_H

#include <stdbool.h>
#include <sys/types.h>

#include "tools/vdpad/failure.h"

struct uids;

/**
 * uids_open() - read what is allotted.
 * @path:  of the file; one that is not there is a new one
 * @first, @last: range to allot from; what was allotted outside it stays
 *
 * Return: 0; -EINVAL the file is damaged or newer than we know, with @ret_why.
 */
int uids_open(const char *path, uid_t first, uid_t last, struct uids **ret, struct failure *ret_why);
void uids_free(struct uids *uids);

/**
 * uids_get() - the owner's id; allotted and written to the file if there is none yet.
 * @owner: "device:NAME" or "simnic:NAME"
 * Return: 0 with @ret; a negative errno with @ret_why.
 */
int uids_get(struct uids *uids, const char *owner, uid_t *ret, struct failure *ret_why);

/** uids_put() - the owner is gone. */
void uids_put(struct uids *uids, const char *owner);

/** uids_put_where() - all owners of which @gone() is true are gone. */
void uids_put_where(struct uids *uids, bool (*gone)(void *arg, const char *owner), void *arg);

#endif

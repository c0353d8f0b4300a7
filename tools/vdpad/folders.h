/* SPDX-License-Identifier: BSD-2-Clause */
/* The folders of a vdpad. */
#ifndef VDPAD_FOLDERS_H
#define VDPAD_FOLDERS_H

struct vdpad;

/**
 * folders_prepare() - make what is missing, lock both, and note their absolute paths in @v.
 * Return: 0; -EBUSY another vdpad has one of them; another negative errno. All are logged.
 */
int folders_prepare(struct vdpad *v, const char *run_dir, const char *state_dir);

#endif

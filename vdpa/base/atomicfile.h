/* SPDX-License-Identifier: BSD-2-Clause */
/* A file that is there whole, old or new, whatever happens while it is written. */
#ifndef VDPA_BASE_ATOMICFILE_H
#define VDPA_BASE_ATOMICFILE_H

#include <stddef.h>
#include <sys/types.h>

/**
 * atomicfile_write() - replace or make a file, durably.
 * @path: where; its folder exists
 * @data: the contents, @size bytes
 * @mode: of the file, before the umask
 *
 * A file beside it, @path with ".new" at its end, is used meanwhile; what lies there is replaced.
 *
 * Return: 0; -ENAMETOOLONG; a negative errno of open, write, fsync or rename; then the old file is
 *         as it was.
 */
int atomicfile_write(const char *path, const void *data, size_t size, mode_t mode);

/**
 * atomicfile_remove() - remove a file, durably; one that is not there is fine.
 * Return: 0, or a negative errno.
 */
int atomicfile_remove(const char *path);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that processes share: a file of fixed size, which nobody can make vanish under the others. */
#ifndef VDPA_BASE_MEMFILE_H
#define VDPA_BASE_MEMFILE_H

#include <stdint.h>

/**
 * memfile_create() - a new one, of zeros, sealed against any other size.
 * @name: for people, in /proc
 * @size: bytes
 * Return: its descriptor, the caller's; an errno of memfd_create(2), ftruncate(2), fcntl(2).
 */
int memfile_create(const char *name, uint64_t size);

/**
 * memfile_page_size() - is a file one that lives in memory: memfd, tmpfs, hugetlbfs?
 * A page of any other may take as long to come as whoever serves that file likes.
 * Return: the size of its pages, bytes; 0 when it lives elsewhere, or @fd is no descriptor.
 */
uint64_t memfile_page_size(int fd);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared mappings of files that someone else may cut short at any time. What is lost by that reads
 * as zeros and takes writes that nobody sees, and the owner of the mapping is told.
 */
#ifndef VDPA_FILEMAP_H
#define VDPA_FILEMAP_H

#include <stdatomic.h>
#include <stdint.h>

struct filemap {
	uint8_t *at; /* where the range begins */
	void *base;  /* what mmap(2) gave; NULL: not mapped */
	uint64_t base_size;
};

/**
 * filemap_open() - map a range of a file, for reading and writing; touches no page of it.
 * @fd:     regular file, open for both; stays the caller's
 * @offset: bytes, of any alignment
 * @size:   bytes, not 0; @offset + @size does not wrap
 * @lost:   set to true when the file turns out to be shorter; outlives the mapping
 * @ret:    released by filemap_close(); may be copied
 *
 * Signals of a process go to one handler: each call makes SIGBUS this module's. One thread opens
 * and closes; others may touch the memory while it does neither.
 *
 * Return: 0; -ENOSPC more mappings than a device can need; an errno of mmap(2), fstat(2).
 */
int filemap_open(int fd, uint64_t offset, uint64_t size, atomic_bool *lost, struct filemap *ret);
void filemap_close(struct filemap *map);

#endif

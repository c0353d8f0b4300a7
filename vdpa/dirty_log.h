/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front-end's dirty log: a file with one bit per 4 KiB page of guest-physical address, from
 * address 0 on. Bit n is bit n % 8 of byte n / 8.
 *
 * A page is marked after it was written, with a full barrier in between: the front-end clears the
 * bit and copies the page at any time, and a mark that came first would be gone with a copy that
 * lacks the write. A device's write is visible once its completion was read, which is barrier
 * enough.
 *
 * Source: vhost-user, "Migration".
 */
#ifndef VDPA_DIRTY_LOG_H
#define VDPA_DIRTY_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/filemap.h"

#define DIRTY_LOG_PAGE_SHIFT 12

struct dirty_log {
	struct filemap map;
	uint64_t n_pages;   /* that have a bit */
	uint64_t n_outside; /* ranges that had pages without one: a copy is incomplete */
	atomic_bool lost;   /* the file was cut short: a copy is incomplete */
};

/**
 * dirty_log_open() - map a log.
 * @fd:     the front-end's; stays the caller's
 * @offset: bytes, of any alignment
 * @size:   bytes
 * @covers: end of the guest's memory, which the log must reach
 * @ret:    written on success; released by dirty_log_close()
 *
 * Source: vhost-user, VHOST_USER_SET_LOG_BASE.
 * Return: 0; -EINVAL empty, wraps, file too short or none to share, or does not reach @covers; an
 *         errno of filemap_open().
 */
int dirty_log_open(int fd, uint64_t offset, uint64_t size, uint64_t covers, struct dirty_log **ret);

/** dirty_log_close() - accepts NULL. */
void dirty_log_close(struct dirty_log *log);

/** dirty_log_reaches() - has each page of [gpa, gpa + size) a bit? */
bool dirty_log_reaches(const struct dirty_log *log, uint64_t gpa, uint64_t size);

/** dirty_log_failed() - is it known to lack marks? */
static inline bool dirty_log_failed(const struct dirty_log *log)
{
	return log->n_outside > 0 || atomic_load_explicit(&log->lost, memory_order_relaxed);
}

/** dirty_log_mark_pages() - as dirty_log_mark(), the long way. */
void dirty_log_mark_pages(struct dirty_log *log, uint64_t gpa, uint64_t size);

/* Most pages are marked already, and looking is much cheaper than an atomic write. */
static inline void dirty_log_set(struct dirty_log *log, uint64_t page)
{
	uint8_t *byte = log->map.at + page / 8;
	uint8_t bit = (uint8_t)(1U << page % 8);

	if (!(__atomic_load_n(byte, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(byte, bit, __ATOMIC_SEQ_CST);
}

/**
 * dirty_log_mark() - bytes [gpa, gpa + size) were written.
 * @size: 0 marks nothing
 *
 * What the log does not reach is counted.
 */
static inline void dirty_log_mark(struct dirty_log *log, uint64_t gpa, uint64_t size)
{
	uint64_t page = gpa >> DIRTY_LOG_PAGE_SHIFT;
	uint64_t last = (gpa + size - 1) >> DIRTY_LOG_PAGE_SHIFT;

	if (__builtin_expect(size - 1 < 4096 && page <= last && last < log->n_pages, 1)) {
		dirty_log_set(log, page);
		if (last != page)
			dirty_log_set(log, last);
		return;
	}
	dirty_log_mark_pages(log, gpa, size);
}

#endif

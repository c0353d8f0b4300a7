/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file is the front-end's and stays open there: it may be cut short, which filemap survives and
 * notes. The number of pages is fixed when the log is opened, and no mark goes beyond it, whatever
 * a range says; what is beyond is counted, since it makes the copy of the guest worthless.
 */
#include "vdpa/dirty_log.h"

#include <errno.h>
#include <stdlib.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/memory.h"

#define MAX_SIZE (1ULL << 40) /* bytes: more address space than any CPU has */

int dirty_log_open(int fd, uint64_t offset, uint64_t size, uint64_t covers, struct dirty_log **ret)
{
	struct memory_region file = { .offset = offset, .size = size };
	_cleanup_free_ struct dirty_log *log = NULL;
	int r;

	if (size > MAX_SIZE || memory_quick_file_check(fd, &file, "the dirty log") < 0)
		return -EINVAL;
	if (covers > 0 && (covers - 1) >> DIRTY_LOG_PAGE_SHIFT >= size * 8)
		return -EINVAL;

	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	r = filemap_open(fd, offset, size, &log->lost, &log->map);
	if (r < 0)
		return r;
	log->n_pages = size * 8;
	*ret = TAKE_PTR(log);
	return 0;
}

void dirty_log_close(struct dirty_log *log)
{
	if (!log)
		return;
	filemap_close(&log->map);
	free(log);
}

bool dirty_log_reaches(const struct dirty_log *log, uint64_t gpa, uint64_t size)
{
	return range_ok(gpa, size) && (gpa + (size - 1)) >> DIRTY_LOG_PAGE_SHIFT < log->n_pages;
}

void dirty_log_mark_pages(struct dirty_log *log, uint64_t gpa, uint64_t size)
{
	uint64_t page = gpa >> DIRTY_LOG_PAGE_SHIFT, last;

	if (size == 0)
		return;
	if (!dirty_log_reaches(log, gpa, size))
		log->n_outside++;
	last = size - 1 > UINT64_MAX - gpa ? UINT64_MAX >> DIRTY_LOG_PAGE_SHIFT
					   : (gpa + (size - 1)) >> DIRTY_LOG_PAGE_SHIFT;
	for (; page <= last && page < log->n_pages; page++)
		dirty_log_set(log, page);
}

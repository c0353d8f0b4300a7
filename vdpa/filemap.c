/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page that a file no longer has raises SIGBUS in the thread that touches it. The handler puts
 * private zero pages in the place of the whole mapping, so that the access goes on with nothing,
 * and marks the mapping lost; its owner looks at the mark when the work at hand is done.
 *
 * The handler only reads the table below. It runs in the thread that faulted, which is not in the
 * middle of changing it: filling in a row touches no mapped page.
 */
#include "vdpa/filemap.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vdpa/base/bits.h"

#define MAX_WATCHED 1100 /* two tables of guest memory while one replaces the other, and logs */

static struct watched {
	uintptr_t base; /* 0: free */
	uint64_t size;
	atomic_bool *lost;
} watched[MAX_WATCHED];
static size_t n_watched; /* rows from here on were never used */

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	int saved = errno;

	for (size_t i = 0; i < n_watched; i++) {
		struct watched *w = &watched[i];

		if (w->base == 0 || at - w->base >= w->size)
			continue;
		if (mmap((void *)w->base, w->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			    0) == MAP_FAILED)
			break;
		atomic_store(w->lost, true);
		errno = saved;
		return;
	}
	signal(number, SIG_DFL); /* nobody's: the access faults again */
}

static int handle_signal(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

static struct watched *find_row(uintptr_t base)
{
	for (size_t i = 0; i < n_watched; i++) {
		if (watched[i].base == base)
			return &watched[i];
	}
	return base == 0 && n_watched < MAX_WATCHED ? &watched[n_watched++] : NULL;
}

/* A file of huge pages is mapped by whole ones; stat(2) says how large they are. */
static int page_size(int fd, uint64_t *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_blksize > (blksize_t)page && (st.st_blksize & (st.st_blksize - 1)) == 0)
		page = (uint64_t)st.st_blksize;
	*ret = page;
	return 0;
}

int filemap_open(int fd, uint64_t offset, uint64_t size, atomic_bool *lost, struct filemap *ret)
{
	uint64_t page = 1, start, length;
	struct watched *row;
	void *base;
	int r;

	r = handle_signal();
	if (r == 0)
		r = page_size(fd, &page);
	if (r < 0)
		return r;
	row = find_row(0);
	if (!row)
		return -ENOSPC;

	start = offset & ~(page - 1);
	length = align_up(offset + size, page) - start;
	base = mmap(
		NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (base == MAP_FAILED)
		return -errno;

	row->size = length;
	row->lost = lost;
	row->base = (uintptr_t)base;
	*ret = (struct filemap){
		.at = (uint8_t *)base + (offset - start),
		.base = base,
		.base_size = length,
	};
	return 0;
}

void filemap_close(struct filemap *map)
{
	struct watched *row;

	if (!map->base)
		return;
	row = find_row((uintptr_t)map->base);
	if (row)
		row->base = 0;
	munmap(map->base, map->base_size);
	*map = (struct filemap){ 0 };
}

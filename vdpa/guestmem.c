/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mapped table is sorted by guest-physical address; adjoining regions may be crossed by a
 * buffer, never by a ring. Each line of the cache holds some region of its addresses; a line is
 * refilled by whoever misses, and all are emptied when the table changes.
 *
 * Nothing is checked here that memory_table_check() and memory_file_check() have checked, but that
 * the descriptor is still of the same file: slots come from another process after a restart.
 */
#include "vdpa/guestmem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vdpa/base/bits.h"
#include "vdpa/shared.h"

int guestmem_init(struct guestmem *m)
{
	memset(m, 0, sizeof(*m));
	m->regions = calloc(MEMORY_MAX_REGIONS, sizeof(*m->regions));
	return m->regions ? 0 : -ENOMEM;
}

void guestmem_free(struct guestmem *m)
{
	for (uint32_t i = 0; i < m->n_regions; i++)
		filemap_close(&m->regions[i].map);
	free(m->regions);
	m->regions = NULL;
	m->n_regions = 0;
	memset(m->hits, 0, sizeof(m->hits));
}

static int by_gpa(const void *a, const void *b)
{
	const struct guestmem_region *left = a, *right = b;

	return left->is.gpa < right->is.gpa ? -1 : left->is.gpa > right->is.gpa;
}

static struct guestmem_region *find_same(
	struct guestmem_region *regions, uint32_t n, const struct memory_region *region)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct memory_region *is = &regions[i].is;

		if (is->size == region->size && memory_same_mapping(is, region))
			return &regions[i];
	}
	return NULL;
}

static int open_region(struct guestmem *m, const struct memory_region *region,
	const struct fdstore *fds, struct filemap *ret)
{
	int fd = fdstore_get(fds, region->slot);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != region->dev || st.st_ino != region->ino)
		return -EBADMSG;
	return filemap_open(fd, region->offset, region->size, &m->lost, ret);
}

/* Maps of @a that are not in @b are closed. */
static void close_difference(
	struct guestmem_region *a, uint32_t n_a, struct guestmem_region *b, uint32_t n_b)
{
	for (uint32_t i = 0; i < n_a; i++) {
		const struct guestmem_region *kept = find_same(b, n_b, &a[i].is);

		if (!kept || kept->map.base != a[i].map.base)
			filemap_close(&a[i].map);
	}
}

int guestmem_set(struct guestmem *m, const struct memory_table *table, const struct fdstore *fds)
{
	struct guestmem_region *next = calloc(MEMORY_MAX_REGIONS, sizeof(*next));
	bool anew = atomic_exchange(&m->lost, false); /* zero pages are nothing to keep */
	uint32_t n;
	int r = 0;

	if (!next)
		return -ENOMEM;
	for (n = 0; n < table->n_regions && r == 0; n++) {
		struct guestmem_region *same =
			anew ? NULL : find_same(m->regions, m->n_regions, &table->regions[n]);

		next[n].is = table->regions[n];
		if (same)
			next[n].map = same->map;
		else
			r = open_region(m, &table->regions[n], fds, &next[n].map);
	}
	if (r < 0) {
		atomic_store(&m->lost, anew);
		close_difference(next, n, m->regions, m->n_regions);
		free(next);
		return r;
	}
	close_difference(m->regions, m->n_regions, next, n);
	qsort(next, n, sizeof(*next), by_gpa);
	free(m->regions);
	m->regions = next;
	m->n_regions = n;
	m->generation++;
	memset(m->hits, 0, sizeof(m->hits));
	return 0;
}

/* The first region that ends beyond @gpa; n_regions when there is none. */
static uint32_t first_after(const struct guestmem *m, uint64_t gpa)
{
	uint32_t low = 0, high = m->n_regions;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		const struct memory_region *is = &m->regions[middle].is;

		if (is->gpa + is->size <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct guestmem_hit *guestmem_find(struct guestmem *m, uint64_t gpa)
{
	struct guestmem_hit *hit = &m->hits[gpa >> GUESTMEM_HIT_SHIFT & (GUESTMEM_HITS - 1)];
	const struct guestmem_region *region;
	uint32_t at;

	if (gpa - hit->gpa < hit->size)
		return hit;
	at = first_after(m, gpa);
	if (at == m->n_regions || m->regions[at].is.gpa > gpa)
		return NULL;
	region = &m->regions[at];
	*hit = (struct guestmem_hit){ region->is.gpa, region->is.size, region->map.at };
	return hit;
}

bool guestmem_spans(struct guestmem *m, uint64_t gpa, uint64_t size)
{
	if (!range_ok(gpa, size))
		return false;
	while (size > 0) {
		const struct guestmem_hit *hit = guestmem_find(m, gpa);
		uint64_t there;

		if (!hit)
			return false;
		there = hit->size - (gpa - hit->gpa);
		if (there >= size)
			return true;
		gpa += there;
		size -= there;
	}
	return true;
}

void *guestmem_at(struct guestmem *m, uint64_t gpa, uint64_t size)
{
	const struct guestmem_hit *hit = guestmem_find(m, gpa);

	if (!hit || size == 0 || size > hit->size - (gpa - hit->gpa))
		return NULL;
	return hit->host + (gpa - hit->gpa);
}

void *guestmem_at_uva(struct guestmem *m, uint64_t uva, uint64_t size)
{
	for (uint32_t i = 0; i < m->n_regions; i++) {
		const struct memory_region *is = &m->regions[i].is;
		uint64_t into = uva - is->uva;

		if (uva >= is->uva && size > 0 && into < is->size && size <= is->size - into)
			return m->regions[i].map.at + into;
	}
	return NULL;
}

bool guestmem_overlaps(const struct guestmem *m, uint64_t gpa, uint64_t size)
{
	uint32_t at = first_after(m, gpa);

	return at < m->n_regions && size > 0 && m->regions[at].is.gpa <= gpa + (size - 1);
}

bool guestmem_read(struct guestmem *m, uint64_t gpa, void *to, uint64_t size)
{
	while (size > 0) {
		const struct guestmem_hit *hit = guestmem_find(m, gpa);
		uint64_t there;

		if (!hit)
			return false;
		there = hit->size - (gpa - hit->gpa);
		if (there > size)
			there = size;
		shared_read(to, hit->host + (gpa - hit->gpa), there);
		to = (uint8_t *)to + there;
		gpa += there;
		size -= there;
	}
	return true;
}

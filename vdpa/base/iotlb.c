/* SPDX-License-Identifier: BSD-2-Clause */
#include "vdpa/base/iotlb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vdpa/base/bits.h"

int iotlb_init(struct iotlb *t)
{
	*t = (struct iotlb){ .entries = calloc(IOTLB_MAX, sizeof(*t->entries)) };
	return t->entries ? 0 : -ENOMEM;
}

void iotlb_free(struct iotlb *t)
{
	free(t->entries);
	*t = (struct iotlb){ 0 };
}

static uint64_t last_of(const struct iotlb_entry *e)
{
	return e->iova + (e->size - 1);
}

/* Index of the first entry that ends at @iova or later; n when there is none. */
static uint32_t first_from(const struct iotlb *t, uint64_t iova)
{
	uint32_t low = 0, high = t->n;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (last_of(&t->entries[middle]) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void take_out(struct iotlb *t, uint32_t at)
{
	t->n--;
	memmove(&t->entries[at], &t->entries[at + 1], (t->n - at) * sizeof(*t->entries));
}

static void put_in(struct iotlb *t, uint32_t at, const struct iotlb_entry *e)
{
	memmove(&t->entries[at + 1], &t->entries[at], (t->n - at) * sizeof(*t->entries));
	t->entries[at] = *e;
	t->n++;
}

/* @e from @iova on. */
static struct iotlb_entry rest_of(const struct iotlb_entry *e, uint64_t iova)
{
	struct iotlb_entry rest = *e;

	rest.iova = iova;
	rest.size = last_of(e) - iova + 1;
	rest.address += iova - e->iova;
	return rest;
}

void iotlb_remove(struct iotlb *t, uint64_t first, uint64_t last)
{
	uint32_t at = first_from(t, first);

	while (at < t->n && t->entries[at].iova <= last) {
		struct iotlb_entry old = t->entries[at];
		uint64_t old_last = last_of(&old);

		take_out(t, at);
		if (old.iova < first) {
			struct iotlb_entry begin = old;

			begin.size = first - old.iova;
			put_in(t, at++, &begin);
		}
		if (old_last > last && t->n < IOTLB_MAX) {
			struct iotlb_entry rest = rest_of(&old, last + 1);

			put_in(t, at++, &rest);
		}
	}
}

static int make_room(struct iotlb *t, bool (*pinned)(void *arg, const struct iotlb_entry *entry),
	void *arg)
{
	uint32_t oldest = t->n;

	if (t->n < IOTLB_MAX)
		return 0;
	for (uint32_t i = 0; i < t->n; i++) {
		const struct iotlb_entry *e = &t->entries[i];

		if ((oldest == t->n || (int32_t)(e->age - t->entries[oldest].age) < 0) &&
			!(pinned && pinned(arg, e)))
			oldest = i;
	}
	if (oldest == t->n)
		return -ENOSPC;
	take_out(t, oldest);
	return 0;
}

int iotlb_insert(struct iotlb *t, const struct iotlb_entry *entry,
	bool (*pinned)(void *arg, const struct iotlb_entry *entry), void *arg)
{
	struct iotlb_entry new = *entry;
	int r;

	if (!range_ok(entry->iova, entry->size) || !range_ok(entry->address, entry->size) ||
		entry->perm == 0 || entry->perm & ~(IOTLB_READ | IOTLB_WRITE))
		return -EINVAL;
	iotlb_remove(t, new.iova, last_of(&new));
	r = make_room(t, pinned, arg);
	if (r < 0)
		return r;
	new.age = t->n_told++;
	put_in(t, first_from(t, new.iova), &new);
	return 0;
}

const struct iotlb_entry *iotlb_find(const struct iotlb *t, uint64_t iova)
{
	uint32_t at = first_from(t, iova);

	return at < t->n && t->entries[at].iova <= iova ? &t->entries[at] : NULL;
}

enum iotlb_answer iotlb_translate(const struct iotlb *t, uint64_t iova, uint64_t size, uint32_t perm,
	uint64_t *ret)
{
	const uint64_t last = iova + (size - 1);
	uint64_t at = iova, address = 0;

	for (;;) {
		const struct iotlb_entry *e = iotlb_find(t, at);

		*ret = at;
		if (!e)
			return IOTLB_MISSING;
		if ((e->perm & perm) != perm)
			return IOTLB_REFUSED;
		if (at == iova)
			address = e->address + (at - e->iova);
		else if (e->address + (at - e->iova) != address + (at - iova))
			return IOTLB_SPLIT;
		if (last_of(e) >= last)
			break;
		at = last_of(e) + 1;
	}
	*ret = address;
	return IOTLB_KNOWN;
}

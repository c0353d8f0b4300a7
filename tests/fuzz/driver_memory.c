/* SPDX-License-Identifier: BSD-2-Clause */
/* What the driver double knows of memory. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/driver_internal.h"

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

const struct fuzz_map *fuzz_driver_find_map(const struct fuzz_driver *d, uint64_t iova, uint64_t size)
{
	for (size_t i = 0; i < d->n_maps; i++) {
		const struct driver_map *is = &d->maps[i].is;

		if (iova >= is->iova && size <= is->size && iova - is->iova <= is->size - size)
			return &d->maps[i];
	}
	return NULL;
}

static uint64_t area_size(const struct fuzz_driver *d, const struct driver_queue *q, enum ring_area which)
{
	return ring_area_facts(which, q->size, d->features).size;
}

uint64_t fuzz_driver_area_at(const struct driver_queue *q, enum ring_area which)
{
	return which == RING_DESC ? q->desc : which == RING_DRIVER ? q->driver : q->device;
}

bool fuzz_driver_locate(const struct fuzz_driver *d, const struct driver_queue *q, enum ring_area which,
	uint64_t *ret)
{
	uint32_t perm = which == RING_DEVICE ? DRIVER_PERM_WRITE : DRIVER_PERM_READ;

	*ret = fuzz_driver_area_at(q, which);
	return !translates(d) ||
	       iotlb_translate(&d->table, *ret, area_size(d, q, which), perm, ret) == IOTLB_KNOWN;
}

static bool lies_in(
	const struct fuzz_driver *d, const struct driver_queue *q, uint64_t iova, uint64_t size)
{
	uint64_t at;

	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		if (fuzz_driver_locate(d, q, i, &at) && overlap(at, area_size(d, q, i), iova, size))
			return true;
	}
	return false;
}

/* The same of the addresses that it was given. */
static bool asks_in(
	const struct fuzz_driver *d, const struct driver_queue *q, uint64_t first, uint64_t last)
{
	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		if (fuzz_driver_area_at(q, i) <= last && first <= fuzz_driver_area_at(q, i) + area_size(d, q, i) - 1)
			return true;
	}
	return false;
}

int fuzz_driver_put_map(struct fuzz_driver *d, const struct driver_map *map)
{
	struct stat st;
	bool known = false;

	demand(d, map->size > 0 && map->iova + map->size > map->iova, "map of %#lx bytes at %#lx",
		map->size, map->iova);
	demand(d, map->perm != 0 && !(map->perm & ~(DRIVER_PERM_READ | DRIVER_PERM_WRITE)),
		"map with %#x", map->perm);
	demand(d, fstat(map->fd, &st) == 0, "map of no file");
	for (size_t i = 0; i < d->n_maps; i++) {
		const struct fuzz_map *other = &d->maps[i];

		if (!overlap(map->iova, map->size, other->is.iova, other->is.size))
			continue;
		demand(d,
			map->iova == other->is.iova && map->size == other->is.size &&
				map->offset == other->is.offset && st.st_dev == other->dev &&
				st.st_ino == other->ino,
			"map at %#lx overlaps another one", map->iova);
		known = true;
	}
	if (known)
		return 0;
	if (d->n_maps == FUZZ_MAX_MAPS)
		return -ENOSPC;
	if (!S_ISREG(st.st_mode) || map->offset + map->size > (uint64_t)st.st_size)
		return -EINVAL;
	d->maps[d->n_maps] = (struct fuzz_map){ .is = *map, .dev = st.st_dev, .ino = st.st_ino };
	d->maps[d->n_maps++].is.fd = fcntl(map->fd, F_DUPFD_CLOEXEC, 0);
	return 0;
}

int fuzz_map(struct driver_device *device, const struct driver_map *map)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "map");

	return r < 0 ? r : fuzz_driver_put_map(d, map);
}

void fuzz_driver_drop_map(struct fuzz_driver *d, size_t i)
{
	close(d->maps[i].is.fd);
	d->maps[i] = d->maps[--d->n_maps];
}

int fuzz_unmap(struct driver_device *device, uint64_t iova, uint64_t size)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "unmap");

	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n_maps; i++) {
		const struct driver_map *is = &d->maps[i].is;

		if (!overlap(iova, size, is->iova, is->size))
			continue;
		demand(d, iova == is->iova && size == is->size, "unmap of a part, at %#lx", iova);
		for (uint32_t q = 0; q < n_queues(d); q++) {
			if (!d->queues[q].prepared || !lies_in(d, &d->queues[q].is, iova, size))
				continue;
			demand(d, !d->queues[q].running, "unmap under queue %u, which runs", q);
			d->queues[q].prepared = false;
		}
		fuzz_driver_drop_map(d, i);
		return 0;
	}
	return 0;
}

int fuzz_set_log(struct driver_device *device, const struct driver_log *log)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "set_log");

	demand(d, d->caps.dirty_log, "set_log of a device that has none");
	if (r < 0)
		return r;
	if (log) {
		demand(d,
			fuzz_driver_fd_is_open(log->fd) && log->size > 0 &&
				log->offset + log->size > log->offset,
			"set_log: %#lx bytes at %#lx", log->size, log->offset);
		for (size_t i = 0; i < d->n_maps; i++) {
			const struct driver_map *is = &d->maps[i].is;

			demand(d, (is->iova + is->size - 1) / DRIVER_LOG_PAGE / 8 < log->size,
				"set_log: it does not reach %#lx", is->iova);
		}
	}
	d->logs = log != NULL;
	return 0;
}

/* ----------------------------------------------------------------------- translations */

static bool lies_under(const struct fuzz_driver *d, const struct driver_queue *q, const struct iotlb_entry *e)
{
	return asks_in(d, q, e->iova, iotlb_last(e->iova, e->size));
}

static bool is_of_a_ring(void *arg, const struct iotlb_entry *e)
{
	const struct fuzz_driver *d = arg;

	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].prepared && lies_under(d, &d->queues[i].is, e))
			return true;
	}
	return false;
}

/* Would some of a ring be elsewhere by @e, or not for what the device does there? */
static bool loses_by(const struct fuzz_driver *d, const struct driver_queue *q, const struct iotlb_entry *e)
{
	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		const struct ring_area_facts facts = ring_area_facts(i, q->size, d->features);
		const uint32_t perm = (facts.read ? DRIVER_PERM_READ : 0) | (facts.written ? DRIVER_PERM_WRITE : 0);
		const uint64_t iova = fuzz_driver_area_at(q, i);
		uint64_t at;

		if (iova > e->iova + (e->size - 1) || e->iova > iova + (facts.size - 1))
			continue;
		if (!fuzz_driver_locate(d, q, i, &at) || at - iova != e->address - e->iova || perm & ~e->perm)
			return true;
	}
	return false;
}

/* Queues that are concerned have to be prepared again. Return: 0; -EBUSY one runs. */
static int release_rings(struct fuzz_driver *d,
	bool (*concerned)(const struct fuzz_driver *d, const struct driver_queue *q, const struct iotlb_entry *e),
	const struct iotlb_entry *e)
{
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].running && concerned(d, &d->queues[i].is, e))
			return -EBUSY;
	}
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].prepared && concerned(d, &d->queues[i].is, e))
			d->queues[i].prepared = false;
	}
	return 0;
}

/* It may forget what it wants, but for the rings; so the oldest one goes. */
static void forget_one(struct fuzz_driver *d)
{
	struct iotlb *t = &d->table;
	uint32_t oldest = t->n;

	for (uint32_t i = 0; i < t->n && t->n > FUZZ_MAX_ENTRIES; i++) {
		if (!is_of_a_ring(d, &t->entries[i]) &&
			(oldest == t->n || t->entries[i].age < t->entries[oldest].age))
			oldest = i;
	}
	if (oldest < t->n)
		iotlb_remove(t, t->entries[oldest].iova,
			t->entries[oldest].iova + (t->entries[oldest].size - 1));
}

int fuzz_iotlb_update(struct driver_device *device, const struct driver_iotlb *is)
{
	struct fuzz_driver *d = of(device);
	const struct iotlb_entry entry = {
		.iova = is->iova, .size = is->size, .address = is->address, .perm = is->perm
	};
	int r = fuzz_driver_answer(d, "iotlb_update");

	demand(d, d->caps.iotlb && translates(d), "iotlb_update, and nothing is translated");
	demand(d, range_ok(is->iova, is->size) && range_ok(is->address, is->size),
		"iotlb_update of %#lx bytes at %#lx, %#lx", is->size, is->iova, is->address);
	demand(d, is->perm != 0 && !(is->perm & ~(DRIVER_PERM_READ | DRIVER_PERM_WRITE)),
		"iotlb_update with %#x", is->perm);
	demand(d, fuzz_driver_find_map(d, is->address, is->size), "iotlb_update to %#lx, which is not mapped",
		is->address);
	if (r == 0)
		r = release_rings(d, loses_by, &entry);
	if (r == 0)
		r = iotlb_insert(&d->table, &entry, is_of_a_ring, d);
	if (r < 0)
		return r;
	forget_one(d);
	for (uint32_t i = 0; i < n_queues(d); i++)
		d->queues[i].misses = d->queues[i].misses && d->queues[i].miss.refused;
	return 0;
}

int fuzz_iotlb_invalidate(struct driver_device *device, uint64_t iova, uint64_t size)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "iotlb_invalidate");

	demand(d, d->caps.iotlb && size > 0, "iotlb_invalidate of %#lx bytes", size);
	if (r == 0)
		r = release_rings(d, lies_under, &(struct iotlb_entry){ .iova = iova, .size = size });
	if (r == 0)
		iotlb_remove(&d->table, iova, iotlb_last(iova, size));
	return r;
}

int fuzz_queue_miss(struct driver_device *device, uint16_t queue, struct driver_miss *ret)
{
	struct fuzz_driver *d = of(device);

	demand(d, d->is_open && d->caps.iotlb, "queue_miss of a driver that is closed, or can't");
	demand(d, queue < n_queues(d), "queue_miss of queue %u", queue);
	if (!d->queues[queue].misses)
		return -ENOENT;
	*ret = d->queues[queue].miss;
	return 0;
}

/* ------------------------------------------------------------------------- postcopy */

int fuzz_postcopy_advise(struct driver_device *device, int *ret_fd)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "postcopy_advise");

	demand(d, d->caps.page_faults, "postcopy of a device that can't");
	if (r < 0)
		return r;
	demand(d, !d->arriving, "postcopy_advise while memory is arriving");
	*ret_fd = eventfd(0, EFD_CLOEXEC);
	d->advised = true;
	return 0;
}

int fuzz_postcopy_map(
	struct driver_device *device, const struct driver_map *map, uint64_t *ret_address)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "postcopy_map");
	bool fresh = !fuzz_driver_find_map(d, map->iova, map->size);

	demand(d, d->advised, "postcopy_map before postcopy_advise");
	demand(d, !d->logs, "postcopy_map while pages are logged");
	if (r == 0 && fresh && fuzz_driver_any_runs(d))
		r = -EBUSY;
	if (r == 0)
		r = fuzz_driver_put_map(d, map);
	if (r < 0)
		return r;
	d->arriving = true;
	*ret_address = 0x7e0000000000ULL + map->iova;
	return 0;
}

int fuzz_postcopy_register(struct driver_device *device)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "postcopy_register");

	demand(d, d->advised, "postcopy_register before postcopy_advise");
	return r;
}

int fuzz_postcopy_end(struct driver_device *device)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "postcopy_end");

	demand(d, d->caps.page_faults, "postcopy of a device that can't");
	if (r == 0)
		d->advised = d->arriving = false;
	return r;
}

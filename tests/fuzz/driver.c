/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/must.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/control.h"
#include "vdpa/relay.h"

/* What the contract demands of who calls. */
#define demand(d, condition, ...)                                                                  \
	do {                                                                                       \
		if ((d)->lenient && !(condition))                                                  \
			return -EINVAL;                                                            \
		must(condition, __VA_ARGS__);                                                      \
	} while (0)

static struct fuzz_driver *of(struct driver_device *device)
{
	return (struct fuzz_driver *)((char *)device - offsetof(struct fuzz_driver, device));
}

static bool is_packed(const struct fuzz_driver *d)
{
	return d->features & BIT_ULL(VIRTIO_F_RING_PACKED);
}

/* With the control queue, which is the last one. */
static uint32_t n_queues(const struct fuzz_driver *d)
{
	return d->caps.n_queues + d->caps.control_queue;
}

static bool translates(const struct fuzz_driver *d)
{
	return d->features & BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
}

static bool any_runs(const struct fuzz_driver *d)
{
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].running)
			return true;
	}
	return false;
}

static bool fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Before each call that a device which is away does not get. Return: what it is to answer. */
static int answer(struct fuzz_driver *d, const char *call)
{
	int r = 0;

	if (d->on_call)
		d->on_call();
	demand(d, d->is_open, "%s of a driver that is closed", call);
	demand(d, !d->gone, "%s of a device that is gone", call);
	demand(d, !d->broken, "%s of a device that failed", call);
	if (d->fail_after > 0 && --d->fail_after == 0)
		r = d->fail_with;
	d->gone = r == -ENODEV;
	d->broken = r == -ETIMEDOUT || r == -EIO || r == -EPROTO;
	if (r == 0)
		d->n_changes++;
	return r;
}

/* --------------------------------------------------------------------------- memory */

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static const struct fuzz_map *find_map(const struct fuzz_driver *d, uint64_t iova, uint64_t size)
{
	for (size_t i = 0; i < d->n_maps; i++) {
		const struct driver_map *is = &d->maps[i].is;

		if (iova >= is->iova && size <= is->size && iova - is->iova <= is->size - size)
			return &d->maps[i];
	}
	return NULL;
}

static uint64_t area_size(const struct fuzz_driver *d, const struct driver_queue *q, int which)
{
	uint64_t event = d->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX) ? 2 : 0;

	if (which == 0)
		return 16ULL * q->size;
	if (is_packed(d))
		return 4;
	return which == 1 ? 4 + 2ULL * q->size + event : 4 + 8ULL * q->size + event;
}

static uint64_t area_at(const struct driver_queue *q, int which)
{
	return which == 0 ? q->desc : which == 1 ? q->driver : q->device;
}

/* Where area @which of a ring is in what was mapped. Return: false: nobody knows. */
static bool locate(const struct fuzz_driver *d, const struct driver_queue *q, int which, uint64_t *ret)
{
	uint32_t perm = which == 2 ? DRIVER_PERM_WRITE : DRIVER_PERM_READ;

	*ret = area_at(q, which);
	return !translates(d) ||
	       iotlb_translate(&d->table, *ret, area_size(d, q, which), perm, ret) == IOTLB_KNOWN;
}

static bool lies_in(
	const struct fuzz_driver *d, const struct driver_queue *q, uint64_t iova, uint64_t size)
{
	uint64_t at;

	for (int i = 0; i < 3; i++) {
		if (locate(d, q, i, &at) && overlap(at, area_size(d, q, i), iova, size))
			return true;
	}
	return false;
}

/* The same of the addresses that it was given. */
static bool asks_in(
	const struct fuzz_driver *d, const struct driver_queue *q, uint64_t first, uint64_t last)
{
	for (int i = 0; i < 3; i++) {
		if (area_at(q, i) <= last && first <= area_at(q, i) + area_size(d, q, i) - 1)
			return true;
	}
	return false;
}

static int put_map(struct fuzz_driver *d, const struct driver_map *map)
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

static int fuzz_map(struct driver_device *device, const struct driver_map *map)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "map");

	return r < 0 ? r : put_map(d, map);
}

static void drop_map(struct fuzz_driver *d, size_t i)
{
	close(d->maps[i].is.fd);
	d->maps[i] = d->maps[--d->n_maps];
}

static int fuzz_unmap(struct driver_device *device, uint64_t iova, uint64_t size)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "unmap");

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
		drop_map(d, i);
		return 0;
	}
	return 0;
}

static int fuzz_set_log(struct driver_device *device, const struct driver_log *log)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "set_log");

	demand(d, d->caps.dirty_log, "set_log of a device that has none");
	if (r < 0)
		return r;
	if (log) {
		demand(d,
			fd_is_open(log->fd) && log->size > 0 &&
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

static bool is_of_a_ring(void *arg, const struct iotlb_entry *e)
{
	const struct fuzz_driver *d = arg;

	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].prepared &&
			asks_in(d, &d->queues[i].is, e->iova, e->iova + (e->size - 1)))
			return true;
	}
	return false;
}

/* Queues with rings there have to be prepared again. Return: 0; -EBUSY one runs. */
static int release_rings(struct fuzz_driver *d, uint64_t first, uint64_t last)
{
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].running && asks_in(d, &d->queues[i].is, first, last))
			return -EBUSY;
	}
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].prepared && asks_in(d, &d->queues[i].is, first, last))
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

static int fuzz_iotlb_update(struct driver_device *device, const struct driver_iotlb *is)
{
	struct fuzz_driver *d = of(device);
	const struct iotlb_entry entry = {
		.iova = is->iova, .size = is->size, .address = is->address, .perm = is->perm
	};
	int r = answer(d, "iotlb_update");
	uint64_t address;

	demand(d, d->caps.iotlb && translates(d), "iotlb_update, and nothing is translated");
	demand(d, range_ok(is->iova, is->size) && range_ok(is->address, is->size),
		"iotlb_update of %#lx bytes at %#lx, %#lx", is->size, is->iova, is->address);
	demand(d, is->perm != 0 && !(is->perm & ~(DRIVER_PERM_READ | DRIVER_PERM_WRITE)),
		"iotlb_update with %#x", is->perm);
	demand(d, find_map(d, is->address, is->size), "iotlb_update to %#lx, which is not mapped",
		is->address);
	if (r == 0 && (iotlb_translate(&d->table, is->iova, is->size, is->perm, &address) !=
				      IOTLB_KNOWN ||
			      address != is->address))
		r = release_rings(d, is->iova, is->iova + (is->size - 1));
	if (r == 0)
		r = iotlb_insert(&d->table, &entry, is_of_a_ring, d);
	if (r < 0)
		return r;
	forget_one(d);
	for (uint32_t i = 0; i < n_queues(d); i++)
		d->queues[i].misses = d->queues[i].misses && d->queues[i].miss.refused;
	return 0;
}

static int fuzz_iotlb_invalidate(struct driver_device *device, uint64_t iova, uint64_t size)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "iotlb_invalidate");

	demand(d, d->caps.iotlb && size > 0, "iotlb_invalidate of %#lx bytes", size);
	if (r == 0)
		r = release_rings(d, iova, iotlb_last(iova, size));
	if (r == 0)
		iotlb_remove(&d->table, iova, iotlb_last(iova, size));
	return r;
}

static int fuzz_queue_miss(struct driver_device *device, uint16_t queue, struct driver_miss *ret)
{
	struct fuzz_driver *d = of(device);

	demand(d, d->is_open && d->caps.iotlb, "queue_miss of a driver that is closed, or can't");
	demand(d, queue < n_queues(d), "queue_miss of queue %u", queue);
	if (!d->queues[queue].misses)
		return -ENOENT;
	*ret = d->queues[queue].miss;
	return 0;
}

/* --------------------------------------------------------------------------- doorbell */

static int fuzz_doorbell(
	struct driver_device *device, bool on, uint16_t queue, int *ret_fd, uint64_t *ret)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "doorbell");

	demand(d, d->caps.doorbell, "doorbell of a device that has none");
	demand(d, !on || queue < n_queues(d), "doorbell of queue %u", queue);
	if (r < 0)
		return r;
	d->doorbell = on;
	if (on) {
		*ret_fd = eventfd(0, EFD_CLOEXEC);
		*ret = queue * 4096ULL;
	}
	return 0;
}

/* ---------------------------------------------------------------------- control queue */

static int fuzz_get_control(struct driver_device *device, struct control_state *ret)
{
	struct fuzz_driver *d = of(device);

	demand(d, d->is_open && d->caps.control_queue, "get_control of a device without");
	*ret = d->control;
	return 0;
}

static bool control_ok(const struct fuzz_driver *d, const struct control_state *c)
{
	return !(c->flags & ~(uint32_t)CONTROL_ALL) && c->pairs <= d->caps.n_queues / 2 &&
	       c->n_unicast <= CONTROL_MAX_MACS && c->n_multicast <= CONTROL_MAX_MACS;
}

static int fuzz_set_control(struct driver_device *device, const struct control_state *state)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "set_control");

	demand(d, d->caps.control_queue, "set_control of a device without");
	demand(d, !d->queues[d->caps.n_queues].running, "set_control while the control queue runs");
	if (r == 0 && (d->refuses_control || !control_ok(d, state)))
		r = -EINVAL;
	d->control_doubtful = r < 0;
	if (r == 0)
		d->control = *state;
	return r;
}

/* ------------------------------------------------------------------------- postcopy */

static int fuzz_postcopy_advise(struct driver_device *device, int *ret_fd)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "postcopy_advise");

	demand(d, d->caps.page_faults, "postcopy of a device that can't");
	if (r < 0)
		return r;
	demand(d, !d->arriving, "postcopy_advise while memory is arriving");
	*ret_fd = eventfd(0, EFD_CLOEXEC);
	d->advised = true;
	return 0;
}

static int fuzz_postcopy_map(
	struct driver_device *device, const struct driver_map *map, uint64_t *ret_address)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "postcopy_map");
	bool fresh = !find_map(d, map->iova, map->size);

	demand(d, d->advised, "postcopy_map before postcopy_advise");
	demand(d, !d->logs, "postcopy_map while pages are logged");
	if (r == 0 && fresh && any_runs(d))
		r = -EBUSY;
	if (r == 0)
		r = put_map(d, map);
	if (r < 0)
		return r;
	d->arriving = true;
	*ret_address = 0x7e0000000000ULL + map->iova;
	return 0;
}

static int fuzz_postcopy_register(struct driver_device *device)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "postcopy_register");

	demand(d, d->advised, "postcopy_register before postcopy_advise");
	return r;
}

static int fuzz_postcopy_end(struct driver_device *device)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "postcopy_end");

	demand(d, d->caps.page_faults, "postcopy of a device that can't");
	if (r == 0)
		d->advised = d->arriving = false;
	return r;
}

/* --------------------------------------------------------------------------- queues */

static bool eventfd_ok(int fd)
{
	return fd == -1 || fd_is_open(fd);
}

static bool position_ok(const struct fuzz_driver *d, const struct driver_queue *q)
{
	struct queue_position p = q->position;

	if (is_packed(d))
		return p.avail < q->size && p.used < q->size;
	return (uint16_t)(p.avail - p.used) <= q->size && !p.avail_wrap && !p.used_wrap;
}

static bool same_facts(const struct driver_queue *a, const struct driver_queue *b)
{
	return a->size == b->size && a->desc == b->desc && a->driver == b->driver &&
	       a->device == b->device;
}

static int prepare_one(struct fuzz_driver *d, const struct driver_queue *q)
{
	static const uint64_t align[2][3] = { { 16, 2, 4 }, { 16, 4, 4 } };
	struct fuzz_queue *queue;

	demand(d, q->index < n_queues(d), "prepare of queue %u", q->index);
	queue = &d->queues[q->index];
	demand(d,
		q->size > 0 && q->size <= d->caps.max_queue_size &&
			(is_packed(d) || (q->size & (q->size - 1)) == 0),
		"prepare of %u descriptors", q->size);
	demand(d, position_ok(d, q), "prepare at %u, %u", q->position.avail, q->position.used);
	demand(d, eventfd_ok(q->kick_fd) && eventfd_ok(q->call_fd) && eventfd_ok(q->err_fd),
		"prepare with descriptors that are closed");
	demand(d,
		d->caps.start_position == DRIVER_START_ANY ||
			queue_position_equal(q->position, queue_position_initial(is_packed(d))),
		"prepare at %u, where the device can't begin", q->position.avail);
	demand(d, !queue->running || same_facts(&queue->is, q),
		"prepare of a running queue, otherwise");
	for (int i = 0; i < 3; i++) {
		uint64_t at;

		demand(d, area_at(q, i) % align[is_packed(d)][i] == 0 || translates(d),
			"prepare: area %d not aligned", i);
		if (!locate(d, q, i, &at) || !find_map(d, at, area_size(d, q, i)))
			return -EFAULT;
	}
	if (!queue->running) {
		queue->is = *q;
		queue->at = q->position;
		queue->misses = false;
	}
	queue->prepared = true;
	return 0;
}

static int fuzz_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "prepare");

	demand(d, n > 0, "prepare of nothing");
	for (size_t i = 0; i < n && r == 0; i++)
		r = prepare_one(d, &queues[i]);
	return r;
}

static int check_set(const struct fuzz_driver *d, const struct queue_set *set, const char *call)
{
	demand(d, !queue_set_empty(set), "%s of nothing", call);
	for (uint32_t i = n_queues(d); i < QUEUE_MAX; i++)
		demand(d, !queue_set_has(set, i), "%s of queue %u", call, i);
	return 0;
}

/* Is there a queue that is in @set or not, and runs or not? */
static bool any_queue(const struct fuzz_driver *d, const struct queue_set *set, bool in, bool running)
{
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (queue_set_has(set, i) == in && d->queues[i].running == running)
			return true;
	}
	return false;
}

static int fuzz_start(struct driver_device *device, const struct queue_set *set)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "start");

	if (check_set(d, set, "start") < 0)
		return -EINVAL;
	demand(d, !d->caps.together || !any_queue(d, set, false, true) || !any_queue(d, set, true, false),
		"start of some queues while others run");
	for (uint32_t i = 0; i < n_queues(d) && r == 0; i++) {
		if (!queue_set_has(set, i))
			continue;
		demand(d, d->queues[i].prepared, "start of queue %u, which is not prepared", i);
		d->queues[i].running = true;
		d->queues[i].stopped = false;
	}
	return r;
}

static int fuzz_stop(
	struct driver_device *device, const struct queue_set *set, struct queue_position *ret)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "stop");

	if (check_set(d, set, "stop") < 0)
		return -EINVAL;
	demand(d, !d->caps.together || !any_queue(d, set, true, true) || !any_queue(d, set, false, true),
		"stop of some queues while others run");
	for (uint32_t i = 0; i < n_queues(d) && r == 0; i++) {
		if (!queue_set_has(set, i))
			continue;
		d->queues[i].stopped = d->queues[i].running || d->queues[i].stopped;
		d->queues[i].running = d->queues[i].misses = false;
		if (!d->caps.ring_positions)
			ret[i] = d->queues[i].at;
	}
	return r;
}

static int fuzz_set_queue_fd(
	struct driver_device *device, uint16_t queue, enum driver_queue_fd which, int fd)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "set_queue_fd");

	demand(d, queue < n_queues(d), "set_queue_fd of queue %u", queue);
	demand(d, which <= DRIVER_FD_ERR && eventfd_ok(fd), "set_queue_fd %d: %d", (int)which, fd);
	return r;
}

static int fuzz_lost_position(struct driver_device *device, const struct driver_queue *queue,
	bool packed, const void *ring, struct queue_position *ret)
{
	struct fuzz_driver *d = of(device);
	volatile uint8_t sum = 0;

	demand(d, d->is_open, "lost_position of a driver that is closed");
	demand(d, queue->index < n_queues(d), "lost_position of queue %u", queue->index);
	for (uint64_t i = 0; i < (packed ? 16ULL * queue->size : 4 + 8ULL * queue->size); i++)
		sum = (uint8_t)(sum + ((const uint8_t *)ring)[i]);
	if (!d->queues[queue->index].running && !(d->caps.ring_positions && d->queues[queue->index].stopped))
		return -ENOENT;
	*ret = d->queues[queue->index].at;
	return 0;
}

/* --------------------------------------------------------------------------- device */

static int fuzz_open(
	const int *fds, size_t n_fds, struct driver_keeper *keeper, struct driver_device **ret)
{
	must(false, "the one instance is made by fuzz_driver_init()");
	return -ENODEV;
}

static void fuzz_close(struct driver_device *device)
{
	if (device)
		of(device)->is_open = false;
}

static int fuzz_reopen(struct driver_device *device, const int *fds, size_t n_fds)
{
	struct fuzz_driver *d = of(device);
	int r;

	must(d->is_open, "reopen of a driver that is closed");
	d->gone = d->broken = false;
	r = answer(d, "reopen");
	if (r == 0)
		fuzz_driver_reset(d);
	return r;
}

static const struct driver_caps *fuzz_caps(struct driver_device *device)
{
	return &of(device)->caps;
}

static int fuzz_reset(struct driver_device *device)
{
	struct fuzz_driver *d = of(device);
	int r;

	d->broken = false;
	r = answer(d, "reset");
	if (r == 0)
		fuzz_driver_reset(d);
	return r;
}

static int fuzz_set_features(struct driver_device *device, uint64_t features)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "set_features");

	demand(d, !(features & ~d->caps.features), "set_features %#lx", features);
	demand(d, !any_runs(d), "set_features while queues run");
	if (r < 0)
		return r;
	d->features = features;
	iotlb_clear(&d->table);
	for (uint32_t i = 0; i < n_queues(d); i++)
		d->queues[i].prepared = false;
	return 0;
}

static int fuzz_get_config(struct driver_device *device, struct driver_net_config *ret)
{
	int r = answer(of(device), "get_config");

	if (r == 0)
		*ret = of(device)->config;
	return r;
}

static int fuzz_set_mtu(struct driver_device *device, uint16_t mtu)
{
	struct fuzz_driver *d = of(device);
	int r = answer(d, "set_mtu");

	demand(d, mtu >= 68, "set_mtu %u", mtu);
	if (r == 0 && mtu > 9000)
		r = -EINVAL;
	if (r == 0)
		d->config.mtu = mtu;
	return r;
}

static int fuzz_announce(struct driver_device *device, const uint8_t mac[6])
{
	must(!(mac[0] & 1), "announce of a group");
	return answer(of(device), "announce");
}

static int fuzz_queue_stats(
	struct driver_device *device, uint16_t queue, struct driver_queue_stats *ret)
{
	struct fuzz_driver *d = of(device);

	demand(d, queue < n_queues(d), "queue_stats of queue %u", queue);
	*ret = (struct driver_queue_stats){ .position = d->queues[queue].at,
		.running = d->queues[queue].running };
	return d->gone ? -ENODEV : 0;
}

static int fuzz_device_stats(struct driver_device *device, struct driver_device_stats *ret)
{
	*ret = (struct driver_device_stats){ .rx_frames = of(device)->n_changes };
	return of(device)->gone ? -ENODEV : 0;
}

static int fuzz_event_fd(struct driver_device *device)
{
	return -1;
}

static int fuzz_next_event(struct driver_device *device, struct driver_event *ret)
{
	struct fuzz_driver *d = of(device);

	if (d->n_events == 0)
		return -EAGAIN;
	*ret = d->events[0];
	memmove(d->events, d->events + 1, --d->n_events * sizeof(d->events[0]));
	d->gone = d->gone || ret->kind == DRIVER_EVENT_GONE;
	d->broken = d->broken || ret->kind == DRIVER_EVENT_FAILED;
	return 0;
}

static const struct driver_ops ops = {
	.name = "fuzz",
	.open = fuzz_open,
	.close = fuzz_close,
	.reopen = fuzz_reopen,
	.caps = fuzz_caps,
	.reset = fuzz_reset,
	.set_features = fuzz_set_features,
	.map = fuzz_map,
	.unmap = fuzz_unmap,
	.set_log = fuzz_set_log,
	.iotlb_update = fuzz_iotlb_update,
	.iotlb_invalidate = fuzz_iotlb_invalidate,
	.queue_miss = fuzz_queue_miss,
	.doorbell = fuzz_doorbell,
	.get_control = fuzz_get_control,
	.set_control = fuzz_set_control,
	.postcopy_advise = fuzz_postcopy_advise,
	.postcopy_map = fuzz_postcopy_map,
	.postcopy_register = fuzz_postcopy_register,
	.postcopy_end = fuzz_postcopy_end,
	.prepare = fuzz_prepare,
	.start = fuzz_start,
	.stop = fuzz_stop,
	.set_queue_fd = fuzz_set_queue_fd,
	.lost_position = fuzz_lost_position,
	.get_config = fuzz_get_config,
	.set_mtu = fuzz_set_mtu,
	.announce = fuzz_announce,
	.queue_stats = fuzz_queue_stats,
	.device_stats = fuzz_device_stats,
	.event_fd = fuzz_event_fd,
	.next_event = fuzz_next_event,
};

/* ----------------------------------------------------------------- what targets ask for */

void fuzz_driver_init(struct fuzz_driver *d, const struct driver_caps *caps)
{
	memset(d, 0, sizeof(*d));
	must(iotlb_init(&d->table) == 0, "no memory");
	d->device.ops = &ops;
	d->caps = *caps;
	d->is_open = true;
	d->config = (struct driver_net_config){
		.mac = { 2, 0, 0, 0, 0, 1 },
		.mtu = 1500,
		.max_pairs = (uint16_t)(caps->n_queues / 2),
		.link_up = true,
	};
}

void fuzz_driver_reset(struct fuzz_driver *d)
{
	while (d->n_maps > 0)
		drop_map(d, 0);
	memset(d->queues, 0, n_queues(d) * sizeof(d->queues[0]));
	d->features = 0;
	iotlb_clear(&d->table);
	memset(&d->control, 0, sizeof(d->control));
	d->logs = d->advised = d->arriving = d->doorbell = d->control_doubtful = false;
}

void fuzz_driver_free(struct fuzz_driver *d)
{
	fuzz_driver_reset(d);
	iotlb_free(&d->table);
	d->is_open = false;
}

bool fuzz_driver_miss(struct fuzz_driver *d, uint16_t index, const struct driver_miss *miss)
{
	struct fuzz_queue *queue = &d->queues[index % n_queues(d)];

	if (!queue->running || queue->misses || !translates(d) || d->gone || d->broken)
		return false;
	queue->misses = true;
	queue->miss = *miss;
	return true;
}

bool fuzz_driver_translates(const struct fuzz_driver *d, uint64_t first, uint64_t last)
{
	for (uint32_t i = 0; i < d->table.n; i++) {
		const struct iotlb_entry *e = &d->table.entries[i];

		if (e->iova <= last && first <= e->iova + (e->size - 1))
			return true;
	}
	return false;
}

void fuzz_driver_control(struct fuzz_driver *d, const uint8_t how[4])
{
	struct control_state *c = &d->control;

	if (!d->caps.control_queue || !d->queues[d->caps.n_queues].running || d->gone || d->broken)
		return;
	c->flags ^= (uint32_t)(how[0] | how[1] << 8) & CONTROL_ALL;
	c->pairs = (uint16_t)(1 + how[2] % (d->caps.n_queues / 2));
	c->n_unicast = how[3] % (CONTROL_MAX_MACS + 1);
	memset(c->unicast, 0, sizeof(c->unicast));
	memset(c->unicast, how[3] & 0xfe, c->n_unicast * sizeof(c->unicast[0]));
	c->vlans[how[3] % ARRAY_SIZE(c->vlans)] ^= BIT_ULL(how[2] % 64);
}

void fuzz_driver_event(struct fuzz_driver *d, enum driver_event_kind kind, uint16_t queue)
{
	if (d->n_events < ARRAY_SIZE(d->events))
		d->events[d->n_events++] = (struct driver_event){ .kind = kind, .queue = queue };
}

static bool rw(struct fuzz_driver *d, uint64_t iova, void *data, size_t size, bool write)
{
	const struct fuzz_map *map;
	off_t at;

	if (translates(d) && iotlb_translate(&d->table, iova, size,
				     write ? DRIVER_PERM_WRITE : DRIVER_PERM_READ, &iova) != IOTLB_KNOWN)
		return false;
	map = find_map(d, iova, size);
	if (!map)
		return false;
	at = (off_t)(map->is.offset + (iova - map->is.iova));
	return (write ? pwrite(map->is.fd, data, size, at) : pread(map->is.fd, data, size, at)) ==
	       (ssize_t)size;
}

static bool work_split(struct fuzz_driver *d, struct fuzz_queue *queue, uint32_t written)
{
	const struct driver_queue *q = &queue->is;
	struct vring_used_elem entry = { .len = written };
	uint16_t next, head;

	if (!rw(d, q->driver + 2, &next, 2, false) || next == queue->at.avail ||
		!rw(d, q->driver + 4 + 2ULL * (queue->at.avail % q->size), &head, 2, false))
		return false;
	entry.id = head;
	if (!rw(d, q->device + 4 + 8ULL * (queue->at.used % q->size), &entry, sizeof(entry), true))
		return false;
	queue->at.avail++;
	queue->at.used++;
	return rw(d, q->device + 2, &queue->at.used, 2, true);
}

static void step(const struct driver_queue *q, uint16_t *at, bool *wrap)
{
	if (++*at == q->size) {
		*at = 0;
		*wrap = !*wrap;
	}
}

static bool work_packed(struct fuzz_driver *d, struct fuzz_queue *queue, uint32_t written)
{
	const struct driver_queue *q = &queue->is;
	struct vring_packed_desc desc;
	struct queue_position begin = queue->at;
	uint32_t n = 0;

	do {
		if (!rw(d, q->desc + 16ULL * queue->at.avail, &desc, sizeof(desc), false) ||
			n++ == q->size ||
			!!(desc.flags & BIT(VRING_PACKED_DESC_F_AVAIL)) != queue->at.avail_wrap ||
			!!(desc.flags & BIT(VRING_PACKED_DESC_F_USED)) == queue->at.avail_wrap) {
			queue->at = begin;
			return false;
		}
		step(q, &queue->at.avail, &queue->at.avail_wrap);
	} while (desc.flags & VRING_DESC_F_NEXT);
	desc.len = written;
	desc.flags = begin.used_wrap
			     ? BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED)
			     : 0;
	if (!rw(d, q->desc + 16ULL * begin.used, &desc, sizeof(desc), true))
		return false;
	while (n-- > 0)
		step(q, &queue->at.used, &queue->at.used_wrap);
	return true;
}

void fuzz_driver_work(struct fuzz_driver *d, uint16_t index, uint32_t n, uint32_t written)
{
	struct fuzz_queue *queue = &d->queues[index % d->caps.n_queues];

	while (queue->running && !queue->misses && n-- > 0) {
		if (!(is_packed(d) ? work_packed(d, queue, written)
				   : work_split(d, queue, written)))
			break;
	}
}

static bool has_map(
	const struct fuzz_driver *d, uint64_t iova, uint64_t size, const struct memory_region *file)
{
	for (size_t i = 0; i < d->n_maps; i++) {
		const struct fuzz_map *map = &d->maps[i];

		if (map->is.iova == iova && map->is.size == size)
			return !file || (map->is.offset == file->offset && map->dev == file->dev &&
						map->ino == file->ino);
	}
	return false;
}

/* Which queue serves a ring; NULL: none can. */
static const struct fuzz_queue *queue_of(
	const struct fuzz_driver *d, const struct device *device, uint32_t ring)
{
	if (ring == device_control_ring(device))
		return &d->queues[d->caps.n_queues];
	return ring < 2 * device_pairs(device) ? &d->queues[ring] : NULL;
}

static void check_rings(const struct fuzz_driver *d, const struct device *device)
{
	uint32_t n_running = 0;

	for (uint32_t i = 0; i < device->n_queues; i++) {
		const struct fuzz_queue *queue = queue_of(d, device, i);
		bool says = device->state->rings[i].running, runs = queue && queue->running;

		must(says == runs, "queue %u: state says %s, device %s", i,
			says ? "it runs" : "it is stopped", runs ? "it runs" : "it is stopped");
		n_running += runs;
		for (int which = 0; runs && which < 3; which++) {
			uint64_t at, size = area_size(d, &queue->is, which);

			must(locate(d, &queue->is, which, &at), "queue %u runs, and its ring is nowhere",
				i);
			must(find_map(d, at, size),
				"queue %u runs, and its ring is not mapped", i);
		}
	}
	for (uint32_t i = 0; i < n_queues(d); i++)
		n_running -= d->queues[i].running;
	must(n_running == 0, "a queue runs that is no ring's");
}

/* What the state says that was switched on, or set, in the device. */
static void check_settings(const struct fuzz_driver *d, const struct device *device)
{
	static const struct control_state nothing;
	const struct device_section *state = device->state;

	must(!state->has_features || state->features == d->features,
		"features are %#lx, the device has %#lx", state->features, d->features);
	must(!!state->doorbell == d->doorbell, "doorbell: state says %u, device %u", state->doorbell,
		d->doorbell);
	must(state->control_used || d->control_doubtful ||
			memcmp(&d->control, &nothing, sizeof(nothing)) == 0,
		"what a control queue had set holds, and nobody knows");
}

void fuzz_driver_matches(const struct fuzz_driver *d, const struct device *device)
{
	const struct device_section *state = device->state;
	size_t n = 0;

	if (device_is_away(device))
		return;
	for (uint32_t i = 0; i < state->memory.n_regions &&
			     !(state->postcopy >= POSTCOPY_LISTENING && state->postcopy_blind);
		i++, n++) {
		const struct memory_region *region = &state->memory.regions[i];

		must(has_map(d, region->gpa, region->size, region), "region at %#lx is not mapped",
			region->gpa);
	}
	check_rings(d, device);
	check_settings(d, device);
	for (uint32_t i = 0; i < device->n_queues; i++) {
		const struct kept_relay *kept = &state->relays[i];

		if (kept->kept_slot == RELAY_NO_SLOT)
			continue;
		must(has_map(d, kept->iova,
			     relay_kept_layout(state->rings[i].size, device_is_packed(device))
				     .shadow_size,
			     NULL),
			"the shadow of queue %u is not mapped", i);
		n++;
	}
	must(d->n_maps == n, "%zu ranges are mapped instead of %zu", d->n_maps, n);
}

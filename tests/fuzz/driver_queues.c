/* SPDX-License-Identifier: BSD-2-Clause */
/* The driver double's queues: prepared, started, stopped. */
#include "tests/fuzz/driver_internal.h"

static bool eventfd_ok(int fd)
{
	return fd == -1 || fuzz_driver_fd_is_open(fd);
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
	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		const struct ring_area_facts facts = ring_area_facts(i, q->size, d->features);
		uint64_t at;

		demand(d, fuzz_driver_area_at(q, i) % facts.align == 0 || translates(d),
			"prepare: area %d not aligned", (int)i);
		if (!fuzz_driver_locate(d, q, i, &at) || !fuzz_driver_find_map(d, at, facts.size))
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

int fuzz_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "prepare");

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

int fuzz_start(struct driver_device *device, const struct queue_set *set)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "start");

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

int fuzz_stop(
	struct driver_device *device, const struct queue_set *set, struct queue_position *ret)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "stop");

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

int fuzz_set_queue_fd(
	struct driver_device *device, uint16_t queue, enum driver_queue_fd which, int fd)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "set_queue_fd");

	demand(d, queue < n_queues(d), "set_queue_fd of queue %u", queue);
	demand(d, which <= DRIVER_FD_ERR && eventfd_ok(fd), "set_queue_fd %d: %d", (int)which, fd);
	return r;
}

int fuzz_lost_position(struct driver_device *device, const struct driver_queue *queue,
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

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues of the guest. A virtio function begins in fresh rings only, says nothing of where it stops, and
 * has one way to stop all queues: its reset. With VIRTIO_F_RING_RESET it stops single ones, too. One of a
 * variant begins and stops anywhere: a position is noted before it is written, and after it was read, and
 * the function is reset only then.
 *
 * What is noted of a queue is what the device was told, or less: it becomes RUNNING before the device
 * hears of it, and IDLE after the device has stopped. A successor finds out from the registers what came
 * of a start that was not finished.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "drivers/virtio/device_internal.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"
#include "vdpa/base/ringareas.h"

static struct virtio_kept_queue *kept_queue(struct virtio_device *v, uint32_t index)
{
	return &v->kept->queues[index];
}

static bool is_packed(const struct virtio_device *v)
{
	return v->kept->features & BIT_ULL(VIRTIO_F_RING_PACKED);
}

bool virtio_queue_runs(const struct virtio_device *v, uint16_t queue)
{
	return v->kept->queues[queue].state == VIRTIO_QUEUE_RUNNING && !v->gone;
}

struct queue_set virtio_running_set(const struct virtio_device *v)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < v->caps.n_queues; i++) {
		if (v->kept->queues[i].state >= VIRTIO_QUEUE_RUNNING)
			queue_set_add(&set, i);
	}
	return set;
}

bool virtio_runs(const struct virtio_device *v)
{
	const struct queue_set set = virtio_running_set(v);

	return !queue_set_empty(&set);
}

/* ------------------------------------------------------------------------------- eventfds */

static int dup_fd(int fd, int *ret)
{
	*ret = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return fd >= 0 && *ret < 0 ? -errno : 0;
}

static int take_fds(struct virtio_device *v, const struct driver_queue *q)
{
	struct virtio_queue_io *io = &v->queues[q->index];
	_cleanup_close_ int kick = -1, call = -1;
	int r = dup_fd(q->kick_fd, &kick);

	if (r == 0)
		r = dup_fd(q->call_fd, &call);
	if (r < 0)
		return r;
	close_keep_errno(io->kick_fd);
	close_keep_errno(io->call_fd);
	io->kick_fd = TAKE_FD(kick);
	io->call_fd = TAKE_FD(call);
	return 0;
}

void virtio_rings_forget(struct virtio_device *v)
{
	for (uint32_t i = 0; i < QUEUE_MAX; i++) {
		v->queues[i].kick_fd = close_keep_errno(v->queues[i].kick_fd);
		v->queues[i].call_fd = close_keep_errno(v->queues[i].call_fd);
	}
}

static int replace_kick(struct virtio_device *v, uint16_t queue, int fd)
{
	bool runs = virtio_queue_runs(v, queue);
	int other, r = dup_fd(fd, &other);

	if (r < 0)
		return r;
	if (runs)
		virtio_kick_unwatch(v, queue);
	close_keep_errno(v->queues[queue].kick_fd);
	v->queues[queue].kick_fd = other;
	return runs ? virtio_kick_watch(v, queue) : 0;
}

static int replace_call(struct virtio_device *v, uint16_t queue, int fd)
{
	bool runs = virtio_queue_runs(v, queue);
	_cleanup_close_ int other = -1;
	int r = dup_fd(fd, &other);

	if (r == 0 && runs)
		r = virtio_irq_route(v, queue, other);
	if (r < 0)
		return r;
	close_keep_errno(v->queues[queue].call_fd);
	v->queues[queue].call_fd = TAKE_FD(other);
	return 0;
}

/* The device never gives a single ring up: it wants to be reset as a whole. */
int virtio_set_queue_fd(struct driver_device *device, uint16_t queue, enum driver_queue_fd which,
	int fd)
{
	struct virtio_device *v = virtio_device(device);

	if (queue >= v->caps.n_queues)
		return -EINVAL;
	switch (which) {
	case DRIVER_FD_KICK:
		return replace_kick(v, queue, fd);
	case DRIVER_FD_CALL:
		return replace_call(v, queue, fd);
	default:
		return 0;
	}
}

/* ------------------------------------------------------------------------------- prepare */

static int check_areas(const struct virtio_device *v, const struct driver_queue *q)
{
	const uint64_t at[RING_AREAS] = { q->desc, q->driver, q->device };

	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		const struct ring_area_facts facts = ring_area_facts(i, q->size, v->kept->features);

		if (at[i] % facts.align)
			return -EINVAL;
	}
	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		const struct ring_area_facts facts = ring_area_facts(i, q->size, v->kept->features);
		const uint32_t perm = (facts.read ? DRIVER_PERM_READ : 0) |
				      (facts.written ? DRIVER_PERM_WRITE : 0);

		if (!dma_reaches(&v->dma, at[i], facts.size, perm))
			return -EFAULT;
	}
	return 0;
}

static bool same_facts(const struct virtio_kept_queue *kept, const struct driver_queue *q)
{
	return kept->size == q->size && kept->desc == q->desc && kept->driver == q->driver &&
	       kept->device == q->device;
}

static bool position_ok(const struct virtio_device *v, const struct driver_queue *q)
{
	if (!v->variant)
		return queue_position_equal(q->position, queue_position_initial(is_packed(v)));
	return (uint16_t)(q->position.avail - q->position.used) <= q->size;
}

static int check_queue(struct virtio_device *v, const struct driver_queue *q)
{
	const struct virtio_kept_queue *kept;
	bool packed = is_packed(v);

	if (q->index >= v->caps.n_queues)
		return -EINVAL;
	kept = kept_queue(v, q->index);
	if (kept->state == VIRTIO_QUEUE_RUNNING)
		return same_facts(kept, q) ? 0 : -EBUSY;
	if (q->size == 0 || q->size > kept->max_size || (!packed && q->size & (q->size - 1)))
		return -EINVAL;
	return position_ok(v, q) ? check_areas(v, q) : -EINVAL;
}

static int prepare_one(struct virtio_device *v, const struct driver_queue *q)
{
	struct virtio_kept_queue *kept;
	int r = check_queue(v, q);

	if (r < 0)
		return r;
	kept = kept_queue(v, q->index);
	if (kept->state == VIRTIO_QUEUE_RUNNING) {
		r = replace_kick(v, q->index, q->kick_fd);
		return r < 0 ? r : replace_call(v, q->index, q->call_fd);
	}
	r = take_fds(v, q);
	if (r < 0)
		return r;
	kept->size = q->size;
	kept->desc = q->desc;
	kept->driver = q->driver;
	kept->device = q->device;
	kept->position = q->position;
	kept->state = VIRTIO_QUEUE_PREPARED;
	return 0;
}

int virtio_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n)
{
	int r = virtio_device(device)->gone ? -ENODEV : 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = prepare_one(virtio_device(device), &queues[i]);
	return r;
}

/* ------------------------------------------------------------------------------- start */

static int enable(struct virtio_device *v, uint16_t index)
{
	const struct virtio_kept_queue *kept = kept_queue(v, index);
	const struct virtio_queue_setup setup = {
		.index = index,
		.size = (uint16_t)kept->size,
		.vector = virtio_irq_vector(v, index),
		.desc = kept->desc,
		.driver = kept->driver,
		.device = kept->device,
	};
	int r = virtio_irq_route(v, index, v->queues[index].call_fd);

	if (r == 0 && v->variant)
		v->variant->set_position(&v->function, index, kept->position);
	if (r == 0)
		r = virtio_queue_enable(&v->function, &setup);
	if (r == 0)
		r = virtio_queue_doorbell(&v->function, index, &v->queues[index].bell);
	return r;
}

/* Those of @set that don't run; -EINVAL one is not prepared. */
static int set_to_start(struct virtio_device *v, const struct queue_set *set, struct queue_set *ret)
{
	struct queue_set todo = { 0 };

	for (uint32_t i = 0; i < QUEUE_MAX; i++) {
		if (!queue_set_has(set, i))
			continue;
		if (i >= v->caps.n_queues || kept_queue(v, i)->state == VIRTIO_QUEUE_IDLE)
			return -EINVAL;
		if (kept_queue(v, i)->state == VIRTIO_QUEUE_PREPARED)
			queue_set_add(&todo, i);
	}
	*ret = todo;
	return 0;
}

/* The function as it is before the first queue, whatever an unfinished start left of it. */
static int begin(struct virtio_device *v)
{
	int r = 0;

	if (v->function.status != 0 && !v->untouched)
		r = virtio_stop_function(v, DRIVER_DEADLINE_RESET);
	if (r == 0 && v->function.status == 0)
		r = virtio_negotiate(v);
	v->untouched = false;
	if (r == 0)
		r = virtio_irqs_begin(v);
	if (r == 0)
		r = virtio_function_set_config_vector(&v->function, 0);
	if (r == 0)
		virtio_log_tell(v);
	return r < 0 ? r : virtio_control_enable(v);
}

static uint16_t pairs_in_use(const struct virtio_device *v)
{
	uint32_t pairs = 1;

	for (uint32_t i = 0; i < v->caps.n_queues; i++) {
		if (v->kept->queues[i].state == VIRTIO_QUEUE_RUNNING)
			pairs = i / 2 + 1;
	}
	return (uint16_t)pairs;
}

static int enable_set(struct virtio_device *v, const struct queue_set *todo)
{
	int r = 0;

	for (uint16_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		if (!queue_set_has(todo, i))
			continue;
		kept_queue(v, i)->state = VIRTIO_QUEUE_RUNNING;
		r = enable(v, i);
	}
	return r;
}

static int watch_kicks(struct virtio_device *v, const struct queue_set *todo)
{
	int r = 0;

	for (uint16_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		if (queue_set_has(todo, i))
			r = virtio_kick_watch(v, i);
	}
	return r;
}

static int start_set(struct virtio_device *v, const struct queue_set *todo, bool first)
{
	int r = first ? begin(v) : 0;

	if (r == 0)
		r = enable_set(v, todo);
	if (r == 0 && v->variant)
		v->variant->set_pairs(&v->function, pairs_in_use(v));
	if (r == 0)
		r = virtio_function_run(&v->function);
	if (r == 0)
		r = virtio_control_set_pairs(v, pairs_in_use(v));
	if (r == 0)
		r = watch_kicks(v, todo);
	return r;
}

/* All or none; what can't be undone alone takes the others along, and the core hears that. */
static int undo_start(struct virtio_device *v, const struct queue_set *todo, bool first, int r)
{
	struct queue_position ignored[QUEUE_MAX];

	if (r == -ENODEV)
		return r;
	if (virtio_stop(&v->device, todo, ignored) < 0)
		return -EIO;
	if (first)
		virtio_stop_function(v, DRIVER_DEADLINE_COMMAND);
	for (uint32_t i = 0; i < v->caps.n_queues; i++) {
		if (queue_set_has(todo, i))
			kept_queue(v, i)->state = VIRTIO_QUEUE_PREPARED;
	}
	return r;
}

int virtio_start(struct driver_device *device, const struct queue_set *set)
{
	struct virtio_device *v = virtio_device(device);
	bool first = !virtio_runs(v);
	struct queue_set todo;
	int r = set_to_start(v, set, &todo);

	if (r < 0 || queue_set_empty(&todo))
		return r;
	if (!first && v->caps.together)
		return -EOPNOTSUPP;
	r = start_set(v, &todo, first);
	return r < 0 ? undo_start(v, &todo, first, r) : 0;
}

/* ------------------------------------------------------------------------------- stop */

static bool set_holds(const struct queue_set *set, const struct queue_set *other)
{
	for (uint32_t i = 0; i < QUEUE_MAX; i++) {
		if (queue_set_has(other, i) && !queue_set_has(set, i))
			return false;
	}
	return true;
}

/*
 * It reaches nothing of the guest's any more; a late interrupt finds nobody. Where it stood it can go on, if
 * that was noted.
 */
static void stopped(struct virtio_device *v, uint16_t index)
{
	kept_queue(v, index)->state = v->variant ? VIRTIO_QUEUE_PREPARED : VIRTIO_QUEUE_IDLE;
	virtio_kick_unwatch(v, index);
	virtio_irq_route(v, index, -1);
}

/* A queue that was never enabled is still where it is to begin. */
static int tell_to_rest(struct virtio_device *v, uint16_t index)
{
	struct virtio_kept_queue *kept = kept_queue(v, index);
	struct virtio_queue_facts facts;
	int r = virtio_queue_read(&v->function, index, &facts);

	if (r < 0 || (!facts.enabled && kept->state != VIRTIO_QUEUE_RESTING))
		return r;
	kept->state = VIRTIO_QUEUE_RESTING;
	if (facts.enabled)
		virtio_queue_disable(&v->function, index);
	return 0;
}

/* What was taken and not given back, the device takes again. */
static int note_position(struct virtio_device *v, uint16_t index)
{
	struct queue_position at;
	int r = virtio_queue_wait_disabled(&v->function, index, DRIVER_DEADLINE_COMMAND);

	if (r < 0)
		return r;
	at = v->variant->position(&v->function, index);
	if (virtio_function_check(&v->function) == -ENODEV)
		return -ENODEV;
	kept_queue(v, index)->position = (struct queue_position){ .avail = at.used, .used = at.used };
	return 0;
}

/* They are all told, and then waited for. */
int virtio_rings_rest(struct virtio_device *v, const struct queue_set *set)
{
	int r = 0;

	for (uint16_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		if (queue_set_has(set, i))
			r = tell_to_rest(v, i);
	}
	for (uint16_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		if (queue_set_has(set, i) && kept_queue(v, i)->state == VIRTIO_QUEUE_RESTING)
			r = note_position(v, i);
	}
	return r;
}

/* Kicks of meanwhile found nobody. */
int virtio_rings_resume(struct virtio_device *v, const struct queue_set *set)
{
	for (uint16_t i = 0; i < v->caps.n_queues; i++) {
		int r;

		if (!queue_set_has(set, i))
			continue;
		r = enable(v, i);
		if (r < 0)
			return r;
		kept_queue(v, i)->state = VIRTIO_QUEUE_RUNNING;
		virtio_kick(v, i);
	}
	return 0;
}

static int reset_queues(struct virtio_device *v, const struct queue_set *set)
{
	int r = 0;

	for (uint16_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		if (queue_set_has(set, i))
			r = virtio_queue_reset(&v->function, i, DRIVER_DEADLINE_COMMAND);
	}
	return r;
}

static int stop_some(struct virtio_device *v, const struct queue_set *set)
{
	int r = v->variant ? virtio_rings_rest(v, set) : reset_queues(v, set);

	if (r < 0)
		return r;
	for (uint16_t i = 0; i < v->caps.n_queues; i++) {
		if (queue_set_has(set, i))
			stopped(v, i);
	}
	if (v->variant)
		v->variant->set_pairs(&v->function, pairs_in_use(v));
	return virtio_control_set_pairs(v, pairs_in_use(v));
}

static int stop_all(struct virtio_device *v, const struct queue_set *set)
{
	int r = v->variant ? virtio_rings_rest(v, set) : 0;

	return r < 0 ? r : virtio_stop_function(v, DRIVER_DEADLINE_RESET);
}

int virtio_stop_function(struct virtio_device *v, unsigned int deadline_ms)
{
	int r;

	v->kept->stopping = true;
	r = virtio_function_reset(&v->function, deadline_ms);
	if (r < 0)
		return r;
	for (uint16_t i = 0; i < v->caps.n_queues; i++) {
		if (kept_queue(v, i)->state >= VIRTIO_QUEUE_RUNNING)
			stopped(v, i);
	}
	v->kept->stopping = false;
	return 0;
}

static int stop_set(struct virtio_device *v, const struct queue_set *todo, const struct queue_set *running)
{
	if (set_holds(todo, running))
		return stop_all(v, todo);
	return v->caps.together ? -EOPNOTSUPP : stop_some(v, todo);
}

/* Without a variant @ret stays as it is: the rings say where they stand, see @ring_positions. */
static void say_positions(struct virtio_device *v, const struct queue_set *set, struct queue_position *ret)
{
	for (uint32_t i = 0; i < v->caps.n_queues && v->variant; i++) {
		if (queue_set_has(set, i) && kept_queue(v, i)->state == VIRTIO_QUEUE_PREPARED)
			ret[i] = kept_queue(v, i)->position;
	}
}

int virtio_stop(struct driver_device *device, const struct queue_set *set, struct queue_position *ret)
{
	struct virtio_device *v = virtio_device(device);
	const struct queue_set running = virtio_running_set(v);
	struct queue_set todo = { 0 };
	int r = 0;

	for (uint32_t i = 0; i < QUEUE_MAX; i++) {
		if (queue_set_has(set, i) && queue_set_has(&running, i))
			queue_set_add(&todo, i);
	}
	if (!queue_set_empty(&todo))
		r = stop_set(v, &todo, &running);
	if (r == 0)
		say_positions(v, set, ret);
	return r;
}

int virtio_lost_position(struct driver_device *device, const struct driver_queue *queue, bool packed,
	const void *ring, struct queue_position *ret)
{
	if (packed || queue->index >= virtio_device(device)->caps.n_queues)
		return -ENOENT;
	*ret = queue_position_published(ring);
	return 0;
}

/* ------------------------------------------------------------------------ an earlier process's */

/* Features come before the first queue. That they are forgotten, and not by us, is what a reset leaves. */
static bool was_reset(const struct virtio_device *v)
{
	return !(v->function.status & VIRTIO_CONFIG_S_FEATURES_OK) && !v->kept->stopping;
}

/* Queues that were to rest for a while do so, and then go on with the log that holds. */
static int wake_resting(struct virtio_device *v, const struct queue_set *resting)
{
	const struct queue_set running = virtio_running_set(v);
	int r = virtio_rings_rest(v, resting);

	if (r < 0)
		return r;
	/* While others run, they are not at rest for another log. */
	if (set_holds(resting, &running))
		virtio_log_tell(v);
	return virtio_rings_resume(v, resting);
}

static int adopt_running(struct virtio_device *v, uint16_t index)
{
	struct virtio_queue_facts facts;
	int r = virtio_queue_read(&v->function, index, &facts);

	if (r < 0)
		return r;
	if (!facts.enabled) {
		kept_queue(v, index)->state = VIRTIO_QUEUE_PREPARED;
		return 0;
	}
	return virtio_queue_doorbell(&v->function, index, &v->queues[index].bell);
}

int virtio_rings_adopt(struct virtio_device *v)
{
	bool works = v->function.status & VIRTIO_CONFIG_S_DRIVER_OK;
	struct queue_set resting = { 0 };
	int r = 0;

	if (virtio_runs(v) && was_reset(v)) {
		virtio_event_note(v->removal_fd);
		v->gone = true;
		return 0;
	}
	for (uint16_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		struct virtio_kept_queue *kept = kept_queue(v, i);

		if (kept->state < VIRTIO_QUEUE_RUNNING)
			continue;
		if (!works)
			kept->state = VIRTIO_QUEUE_PREPARED;
		else if (kept->state == VIRTIO_QUEUE_RESTING)
			queue_set_add(&resting, i);
		else
			r = adopt_running(v, i);
	}
	return r < 0 || queue_set_empty(&resting) ? r : wake_resting(v, &resting);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue. Its ring is one like all others: started and stopped, relayed, logged. What is
 * its own is where it stands, and what commands leave behind in the device.
 *
 * Where it stands depends on what the guest's driver negotiated: behind all pairs, or behind the
 * first one without MQ. Rings have the guest's numbers everywhere but towards the driver, whose
 * control queue is always the last one; the calls that name queues go through here.
 *
 * What commands set is the device's; nobody here keeps a copy. It is carried along where the guest goes
 * on, and forgotten where another driver begins: with a reset that says so (RESET_DEVICE), with other
 * features, or with a control queue that begins anew after it had moved. Status 0 is no such sign:
 * front-ends send it also when they only pause.
 *
 * Source: virtio 1.2, 5.1.2 "Virtqueues".
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"

#define NO_QUEUE UINT32_MAX

#define F_CONTROL                                                                                  \
	(BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |                           \
		BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |            \
		BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) |                                              \
		BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))

static bool has(const struct device *d, unsigned int feature)
{
	return d->state->features & BIT_ULL(feature);
}

/* ----------------------------------------------------------------------------- which ring */

void control_init(struct device *d)
{
	const struct driver_caps *caps = d->driver->ops->caps(d->driver);

	d->has_control = caps->control_queue && d->n_queues < QUEUE_MAX &&
			 d->offered & BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
	d->n_queues += d->has_control;
	if (!d->has_control)
		d->offered &= ~F_CONTROL;
	d->control_pending = false;
}

uint32_t device_pairs(const struct device *d)
{
	return d->n_queues / 2;
}

uint32_t device_control_ring(const struct device *d)
{
	if (!d->has_control || !has(d, VIRTIO_NET_F_CTRL_VQ))
		return NO_QUEUE;
	return has(d, VIRTIO_NET_F_MQ) ? 2 * device_pairs(d) : 2;
}

bool ring_has_use(const struct device *d, uint32_t index)
{
	if (index == device_control_ring(d))
		return true;
	return index < 2 || (index < 2 * device_pairs(d) && has(d, VIRTIO_NET_F_MQ));
}

/* ------------------------------------------------------------------------ driver's numbers */

static uint32_t queue_of(const struct device *d, uint32_t ring)
{
	if (ring == device_control_ring(d))
		return d->driver->ops->caps(d->driver)->n_queues;
	return ring < 2 * device_pairs(d) ? ring : NO_QUEUE;
}

uint32_t device_ring_of(const struct device *d, uint16_t queue)
{
	uint32_t control = device_control_ring(d);

	if (control != NO_QUEUE && queue == queue_of(d, control))
		return control;
	return queue_of(d, queue) == queue ? queue : NO_QUEUE;
}

static struct queue_set queues_of(const struct device *d, const struct queue_set *rings)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (queue_set_has(rings, i) && queue_of(d, i) < QUEUE_MAX)
			queue_set_add(&set, queue_of(d, i));
	}
	return set;
}

int rings_prepare(struct device *d, const struct driver_queue *rings, size_t n)
{
	struct driver_queue queues[QUEUE_MAX];

	for (size_t i = 0; i < n; i++) {
		queues[i] = rings[i];
		queues[i].index = (uint16_t)queue_of(d, rings[i].index);
	}
	return d->driver->ops->prepare(d->driver, queues, n);
}

int rings_start(struct device *d, const struct queue_set *rings)
{
	const struct queue_set set = queues_of(d, rings);

	if (queue_set_has(rings, device_control_ring(d)))
		d->state->control_used = 1;
	return d->driver->ops->start(d->driver, &set);
}

int rings_stop(struct device *d, const struct queue_set *rings, struct queue_position *ret)
{
	const struct queue_set set = queues_of(d, rings);
	uint32_t control = device_control_ring(d);
	int r = d->driver->ops->stop(d->driver, &set, ret);

	if (r == 0 && queue_set_has(rings, control))
		ret[control] = ret[queue_of(d, control)];
	return r;
}

int ring_set_fd(struct device *d, uint32_t ring, enum driver_queue_fd which, int fd)
{
	return d->driver->ops->set_queue_fd(d->driver, (uint16_t)queue_of(d, ring), which, fd);
}

int ring_stats(const struct device *d, uint32_t ring, struct driver_queue_stats *ret)
{
	uint32_t queue = queue_of(d, ring);

	if (queue >= QUEUE_MAX)
		return -ENOENT;
	return d->driver->ops->queue_stats(d->driver, (uint16_t)queue, ret);
}

int ring_miss(const struct device *d, uint32_t ring, struct driver_miss *ret)
{
	uint32_t queue = queue_of(d, ring);

	if (queue >= QUEUE_MAX)
		return -ENOENT;
	return d->driver->ops->queue_miss(d->driver, (uint16_t)queue, ret);
}

int ring_doorbell(struct device *d, uint32_t ring, int *ret_fd, uint64_t *ret)
{
	return d->driver->ops->doorbell(d->driver, true, (uint16_t)queue_of(d, ring), ret_fd, ret);
}

int ring_lost_position(struct device *d, const struct driver_queue *ring, const void *area,
	struct queue_position *ret)
{
	struct driver_queue q = *ring;

	q.index = (uint16_t)queue_of(d, ring->index);
	return d->driver->ops->lost_position(d->driver, &q, device_is_packed(d), area, ret);
}

/* ------------------------------------------------------------------------------- the state */

void control_forget(struct device *d)
{
	static const struct control_state nothing;

	d->control_pending = false;
	if (!d->state->control_used)
		return;
	d->state->control_used = 0;
	if (d->has_control && !device_is_away(d))
		device_check(d, d->driver->ops->set_control(d->driver, &nothing),
			"reset what the control queue set");
}

/* Source: virtio 1.2, 2.7 and 2.8: where a ring begins. Position words: vdpa/position.h. */
static bool has_moved(const struct device *d, uint32_t word)
{
	if (device_is_packed(d))
		return word != 0 && (word & UINT16_MAX) != 0x8000;
	return (word & UINT16_MAX) != 0;
}

void device_ring_goes_on(struct device *d, uint32_t ring, uint32_t word)
{
	if (ring == device_control_ring(d) && has_moved(d, d->state->rings[ring].base) &&
		!has_moved(d, word))
		control_forget(d);
}

void control_keep(struct device *d)
{
	if (d->control_pending || !d->has_control || !d->state->control_used)
		return;
	d->control_pending = d->driver->ops->get_control(d->driver, &d->control) == 0;
	if (!d->control_pending)
		log_warning("nobody knows what the control queue had set");
}

int control_restore(struct device *d)
{
	int r = d->control_pending ? d->driver->ops->set_control(d->driver, &d->control) : 0;

	if (r == 0)
		d->control_pending = false;
	return r;
}

bool device_control_get(const struct device *d, struct control_state *ret)
{
	if (!d->has_control || !d->state->control_used)
		return false;
	if (d->control_pending)
		*ret = d->control;
	else if (d->driver->ops->get_control(d->driver, ret) < 0)
		return false;
	return true;
}

int control_load(struct device *d, const struct control_state *state)
{
	int r;

	if (!d->has_control)
		return -EOPNOTSUPP;
	if (device_is_away(d))
		return -EBUSY;
	r = d->driver->ops->set_control(d->driver, state);
	if (r < 0)
		r = device_check(d, r, "load what the control queue had set");
	if (r == 0 && device_is_away(d))
		return -EBUSY;
	if (r == 0)
		d->state->control_used = 1;
	return r;
}

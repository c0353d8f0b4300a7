/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/driver.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/fuzz/driver_internal.h"
#include "vdpa/control.h"

bool fuzz_driver_any_runs(const struct fuzz_driver *d)
{
	for (uint32_t i = 0; i < n_queues(d); i++) {
		if (d->queues[i].running)
			return true;
	}
	return false;
}

bool fuzz_driver_fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

int fuzz_driver_answer(struct fuzz_driver *d, const char *call)
{
	int r = 0;

	if (d->on_call)
		d->on_call();
	demand(d, d->is_open, "%s of a driver that is closed", call);
	demand(d, !d->gone, "%s of a device that is gone", call);
	demand(d, !d->broken, "%s of a device that failed", call);
	if (d->fail_after > 0 && --d->fail_after == 0) {
		r = d->fail_with;
		d->fail_after = d->fail_more > 0;
		d->fail_more -= d->fail_after;
	}
	d->gone = r == -ENODEV;
	d->broken = r == -ETIMEDOUT || r == -EIO || r == -EPROTO;
	if (r == 0)
		d->n_changes++;
	return r;
}

/* --------------------------------------------------------------------------- doorbell */

static int fuzz_doorbell(
	struct driver_device *device, bool on, uint16_t queue, int *ret_fd, uint64_t *ret)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "doorbell");

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
	int r = fuzz_driver_answer(d, "set_control");

	demand(d, d->caps.control_queue, "set_control of a device without");
	demand(d, !d->queues[d->caps.n_queues].running, "set_control while the control queue runs");
	if (r == 0 && (d->refuses_control || !control_ok(d, state)))
		r = -EINVAL;
	d->control_doubtful = r < 0;
	if (r == 0)
		d->control = *state;
	return r;
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
	r = fuzz_driver_answer(d, "reopen");
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
	r = fuzz_driver_answer(d, "reset");
	if (r == 0)
		fuzz_driver_reset(d);
	return r;
}

static int fuzz_set_features(struct driver_device *device, uint64_t features)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "set_features");

	demand(d, !(features & ~d->caps.features), "set_features %#lx", features);
	demand(d, !fuzz_driver_any_runs(d), "set_features while queues run");
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
	int r = fuzz_driver_answer(of(device), "get_config");

	if (r == 0)
		*ret = of(device)->config;
	return r;
}

static int fuzz_set_mtu(struct driver_device *device, uint16_t mtu)
{
	struct fuzz_driver *d = of(device);
	int r = fuzz_driver_answer(d, "set_mtu");

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
	return fuzz_driver_answer(of(device), "announce");
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
		fuzz_driver_drop_map(d, 0);
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

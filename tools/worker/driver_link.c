/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the device says by itself: it changed, it gave a ring up, it failed, it is gone. Each becomes
 * state first, and is told afterwards. A ring's failure is also looked up in the device's figures,
 * since events may get lost with a process.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "tools/worker/worker.h"
#include "vdpa/base/log.h"
#include "vdpa/saved.h"

size_t driver_link_fds(const struct worker *w, int *ret)
{
	size_t n = 0;

	while (n < DRIVER_MAX_DEVICE_FDS) {
		int fd = fdstore_get(&w->fds, (int32_t)(SHIM_SLOT_DEVICE + n));

		if (fd < 0)
			break;
		ret[n++] = fd;
	}
	return n;
}

void driver_link_watch(struct worker *w)
{
	int fd = w->driver->ops->event_fd(w->driver);

	if (fd < 0 || w->driver_watched || worker_watch(w, fd, EPOLLIN, WORKER_SOURCE_DRIVER) < 0)
		return;
	w->driver_watched = true;
	w->driver_event_fd = fd;
}

static void check_rings(struct worker *w)
{
	for (uint32_t i = 0; i < w->device.n_queues; i++) {
		const struct ring_state *ring = &w->device_section.rings[i];
		struct driver_queue_stats stats;

		if (!ring->running || ring->failed)
			continue;
		device_queue_stats(&w->device, i, &stats);
		if (!stats.failed)
			continue;
		log_warning("queue %u: broke the rules of its ring, the device gave it up", i);
		device_iotlb_look(&w->device, i);
		device_ring_failed(&w->device, i);
		shim_link_event(w, SHIM_EVENT_QUEUE_ERROR,
			"queue %u broke the rules of its ring", i);
	}
}

void driver_link_unwatch(struct worker *w)
{
	if (w->driver_watched)
		epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->driver_event_fd, NULL);
	w->driver_watched = false;
}

static void on_gone(struct worker *w)
{
	log_warning("the device is gone; waiting for it to come back");
	w->device.lost = true;
}

static void on_event(struct worker *w, const struct driver_event *event)
{
	switch (event->kind) {
	case DRIVER_EVENT_CONFIG:
		session_config_changed(&w->session);
		break;
	case DRIVER_EVENT_QUEUE_ERROR:
		check_rings(w);
		break;
	case DRIVER_EVENT_MISS:
		device_iotlb_look_at_all(&w->device);
		break;
	case DRIVER_EVENT_FAILED:
		device_fail(&w->device, "the device reports that it does not work any more");
		break;
	case DRIVER_EVENT_GONE:
		on_gone(w);
		break;
	}
}

void driver_link_receive(struct worker *w)
{
	struct driver_event event;
	bool any = false;

	while (!w->device.lost && w->driver->ops->next_event(w->driver, &event) == 0) {
		on_event(w, &event);
		any = true;
	}
	if (any)
		worker_commit(w);
	if (w->device.lost) /* found out otherwise, perhaps: its last word stays untaken and would wake us */
		driver_link_unwatch(w);
}

void driver_link_device_changed(struct worker *w)
{
	int fds[DRIVER_MAX_DEVICE_FDS];
	size_t n = driver_link_fds(w, fds);

	device_returned(&w->device, fds, n);
	session_config_changed(&w->session); /* nobody knows what became of it meanwhile */
	worker_commit(w);
	driver_link_watch(w);
}

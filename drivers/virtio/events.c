/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What has to be noticed: guests' kicks, which a doorbell in a BAR does not hear; interrupts that are
 * not a guest's own; and that the device is gone, which it does not always say. All of it is behind one
 * epoll descriptor, and handled when the core asks for events.
 *
 * A guest's kick eventfd is never read: each signal is an edge. With no kick eventfd a queue is kicked
 * each POLL_MS, and whoever offers something waits so long at most.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "drivers/virtio/device_internal.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/eventfd.h"
#include "vdpa/base/log.h"

#define EVENTS	    32
#define POLL_MS	    1
#define LOOK_MS	    1000
#define NO_INTERVAL 0

/* Beside queues, by their index. */
enum { SOURCE_CONFIG = QUEUE_MAX, SOURCE_REMOVAL, SOURCE_SHARED, SOURCE_LOOK, SOURCE_POLL };

static int watch(struct virtio_device *v, int fd, uint32_t events, uint64_t source)
{
	struct epoll_event event = { .events = events, .data.u64 = source };

	return epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int add_source(struct virtio_device *v, int fd, uint64_t source, int *ret)
{
	*ret = fd;
	return fd < 0 ? -errno : watch(v, fd, EPOLLIN, source);
}

static int add_eventfd(struct virtio_device *v, uint64_t source, int *ret)
{
	return add_source(v, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), source, ret);
}

static int add_timer(struct virtio_device *v, uint64_t source, int *ret)
{
	return add_source(v, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), source, ret);
}

static void set_timer(int timer, uint64_t interval_ms)
{
	const struct timespec time = {
		.tv_sec = (time_t)(interval_ms / 1000),
		.tv_nsec = (long)(interval_ms % 1000 * NS_PER_MS),
	};
	const struct itimerspec both = { .it_interval = time, .it_value = time };

	timerfd_settime(timer, 0, &both, NULL);
}

int virtio_events_init(struct virtio_device *v)
{
	int r;

	v->config_fd = v->removal_fd = v->shared_fd = v->look_fd = v->poll_fd = -1;
	v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = v->epoll_fd < 0 ? -errno : add_eventfd(v, SOURCE_CONFIG, &v->config_fd);
	if (r == 0)
		r = add_eventfd(v, SOURCE_REMOVAL, &v->removal_fd);
	if (r == 0)
		r = add_eventfd(v, SOURCE_SHARED, &v->shared_fd);
	if (r == 0)
		r = add_timer(v, SOURCE_LOOK, &v->look_fd);
	if (r == 0)
		r = add_timer(v, SOURCE_POLL, &v->poll_fd);
	return r;
}

void virtio_events_free(struct virtio_device *v)
{
	int *const fds[] = { &v->config_fd, &v->removal_fd, &v->shared_fd, &v->look_fd, &v->poll_fd,
		&v->epoll_fd };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		*fds[i] = close_keep_errno(*fds[i]);
}

/* ------------------------------------------------------------------------------- kicks */

/* What can't be read now, the device can't read either. */
void virtio_kick(struct virtio_device *v, uint16_t queue)
{
	struct queue_position next = { 0 };

	if (virtio_function_has(&v->function, VIRTIO_BIT_NOTIFICATION_DATA) &&
		v->keeper->next_available(v->keeper, queue, &next) < 0)
		return;
	virtio_doorbell_ring(&v->function, &v->queues[queue].bell, next);
}

static bool runs(const struct virtio_device *v, uint32_t queue)
{
	return v->kept->queues[queue].state == VIRTIO_QUEUE_RUNNING;
}

static bool must_poll(const struct virtio_device *v)
{
	for (uint32_t i = 0; i < v->caps.n_queues; i++) {
		if (runs(v, i) && v->queues[i].kick_fd < 0)
			return true;
	}
	return false;
}

/* What was offered before anyone listened is found as well. */
int virtio_kick_watch(struct virtio_device *v, uint16_t queue)
{
	int fd = v->queues[queue].kick_fd;
	int r = fd < 0 ? 0 : watch(v, fd, EPOLLIN | EPOLLET, queue);

	if (r < 0)
		return r;
	set_timer(v->poll_fd, must_poll(v) ? POLL_MS : NO_INTERVAL);
	set_timer(v->look_fd, LOOK_MS);
	virtio_kick(v, queue);
	return 0;
}

void virtio_kick_unwatch(struct virtio_device *v, uint16_t queue)
{
	if (v->queues[queue].kick_fd >= 0)
		epoll_ctl(v->epoll_fd, EPOLL_CTL_DEL, v->queues[queue].kick_fd, NULL);
	set_timer(v->poll_fd, must_poll(v) ? POLL_MS : NO_INTERVAL);
	if (!virtio_runs(v))
		set_timer(v->look_fd, NO_INTERVAL);
}

static void kick_polled(struct virtio_device *v)
{
	for (uint16_t i = 0; i < v->caps.n_queues; i++) {
		if (runs(v, i) && v->queues[i].kick_fd < 0)
			virtio_kick(v, i);
	}
}

/* ------------------------------------------------------------------------------- sources */

static void call_all(struct virtio_device *v)
{
	for (uint32_t i = 0; i < v->caps.n_queues; i++) {
		if (runs(v, i))
			eventfd_signal_lent(v->queues[i].call_fd);
	}
}

static void look(struct virtio_device *v)
{
	int r = virtio_function_check(&v->function);

	v->gone = v->gone || r == -ENODEV;
	if (r == 0)
		v->said_failed = false;
	else if (!v->said_failed)
		v->config_changed = true;
}

static void take(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* somebody was faster */
}

void virtio_event_note(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* it is signalled often enough */
}

static bool facts_changed(struct virtio_device *v)
{
	struct virtio_net_facts facts;
	int r;

	memset(&facts, 0, sizeof(facts));
	r = virtio_net_read(&v->function, &facts);
	if (r == 0 && memcmp(&facts, &v->facts, sizeof(facts)) == 0)
		return virtio_function_check(&v->function) < 0;
	v->facts = facts;
	return true;
}

/* Where there is a single vector, mostly it is a queue's. */
static void on_config_vector(struct virtio_device *v)
{
	bool shared = virtio_irq_vector(v, 0) == 0;

	if (shared)
		call_all(v);
	if (!shared || facts_changed(v))
		v->config_changed = true;
}

/*
 * Who takes the function away asks first, and it works on meanwhile. It has to stand still before anybody
 * is told that it is gone: another device goes on from where it stood.
 */
static void give_up(struct virtio_device *v)
{
	int r = virtio_function_reset(&v->function, DRIVER_DEADLINE_COMMAND);

	if (r < 0 && r != -ENODEV && pci_dma_forbid(v->transport->pci) < 0)
		log_error("virtio: a function that is to be taken away does not stop, and may reach memory still");
	v->gone = true;
}

static void on_source(struct virtio_device *v, uint64_t source)
{
	switch (source) {
	case SOURCE_CONFIG:
		take(v->config_fd);
		on_config_vector(v);
		break;
	case SOURCE_REMOVAL:
		take(v->removal_fd);
		give_up(v);
		break;
	case SOURCE_SHARED:
		take(v->shared_fd);
		call_all(v);
		break;
	case SOURCE_LOOK:
		take(v->look_fd);
		look(v);
		break;
	case SOURCE_POLL:
		take(v->poll_fd);
		kick_polled(v);
		break;
	default:
		if (source < v->caps.n_queues && runs(v, (uint32_t)source))
			virtio_kick(v, (uint16_t)source);
	}
}

void virtio_events_forget(struct virtio_device *v)
{
	take(v->config_fd);
	take(v->removal_fd);
	take(v->shared_fd);
}

static void take_all(struct virtio_device *v)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(v->epoll_fd, events, EVENTS, 0);

	for (int i = 0; i < n; i++)
		on_source(v, events[i].data.u64);
}

int virtio_event_fd(struct driver_device *device)
{
	return virtio_device(device)->epoll_fd;
}

int virtio_next_event(struct driver_device *device, struct driver_event *ret)
{
	struct virtio_device *v = virtio_device(device);
	int r;

	take_all(v);
	if (!v->gone && v->config_changed) {
		v->config_changed = false;
		r = virtio_function_check(&v->function);
		if (r != -ENODEV) {
			v->said_failed = r < 0;
			*ret = (struct driver_event){ .kind = r == 0 ? DRIVER_EVENT_CONFIG :
								       DRIVER_EVENT_FAILED };
			return 0;
		}
		v->gone = true;
	}
	if (!v->gone || v->said_gone)
		return -EAGAIN;
	v->said_gone = true;
	*ret = (struct driver_event){ .kind = DRIVER_EVENT_GONE };
	return 0;
}

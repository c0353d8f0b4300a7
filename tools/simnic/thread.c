/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A data thread polls the transmit queues in its active list. A queue that had nothing for a while
 * (spin.h) asks its driver for kicks, is looked at once more, and leaves the list; its kick
 * eventfd in epoll brings it back. With an empty list the thread sleeps in epoll: nothing
 * wakes an idle NIC. Queues without a kick descriptor, or with a doorbell page, never leave.
 *
 * Kick eventfds are watched edge-triggered and never read: each kick is an event, and a descriptor
 * that would block the thread when read can't. Receive queues need no kicks: a frame for which
 * there is no buffer is dropped.
 *
 * The thread holds its lock but for its sleep, and gives way after each queue when the control
 * thread asks.
 */
#include "tools/simnic/thread.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_lcore.h>

#include "tools/simnic/net.h"
#include "tools/simnic/port.h"
#include "tools/simnic/ring.h"
#include "tools/simnic/switch.h"
#include "vdpa/base/cleanup.h"

#define LOOK_US		50  /* a busy thread looks for kicks of sleeping queues this often */
#define UPLINK_SLEEP_MS 1   /* an idle uplink without a descriptor is looked at this often */
#define EVENTS		32

enum { EVENT_WAKE, EVENT_UPLINK, EVENT_QUEUES }; /* epoll data; queues from the last one on */

#define ALL_QUEUES 0xffffU /* of a function, in the place of one queue's index */

static uint64_t cycles(uint64_t us)
{
	return rte_get_tsc_hz() * us / 1000000;
}

void nic_pause(struct nic *nic)
{
	if (nic->pause_depth++ > 0)
		return;
	atomic_fetch_add(&nic->pauses, 1);
	for (unsigned int i = 0; i < nic->n_threads; i++)
		pthread_mutex_lock(&nic->threads[i]->lock);
}

void nic_resume(struct nic *nic)
{
	if (--nic->pause_depth > 0)
		return;
	atomic_fetch_sub(&nic->pauses, 1);
	for (unsigned int i = 0; i < nic->n_threads; i++)
		pthread_mutex_unlock(&nic->threads[i]->lock);
}

void nic_attention(struct nic *nic)
{
	uint64_t one = 1;

	if (write(nic->attention.fd, &one, sizeof(one)) < 0)
		return; /* full: it will look anyway */
}

static void give_way(struct data_thread *t)
{
	pthread_mutex_unlock(&t->lock);
	while (t->nic->pauses)
		sched_yield();
	pthread_mutex_lock(&t->lock);
}

/* ------------------------------------------------------------- the active list */

static void activate(struct data_thread *t, struct vq *q)
{
	if (q->active)
		return;
	q->active = true;
	t->active[t->n_active++] = q;
	t->n_asleep--;
	ring_refuse_kicks(q);
}

static void deactivate(struct data_thread *t, uint32_t at)
{
	t->active[at]->active = false;
	t->active[at] = t->active[--t->n_active];
	t->n_asleep++;
}

static uint64_t event_of(const struct vq *q)
{
	return EVENT_QUEUES + ((uint64_t)q->function->slot << 16 | q->index);
}

/* True when a queue that had nothing to do may leave the active list. */
static bool may_sleep(struct data_thread *t, struct vq *q)
{
	if (q->poll)
		return false;
	if (spin_goes_on(&q->spin, t->now, cycles(SPIN_US)))
		return false;
	if (!ring_ask_kicks(q))
		return true;
	ring_refuse_kicks(q);
	return false;
}

/* Serves the queue at @at of the active list. Return: true when it left the list. */
static bool serve_queue(struct data_thread *t, uint32_t at)
{
	struct rte_mbuf *frames[NIC_BURST];
	struct vq *q = t->active[at];
	uint32_t chains, n;

	n = net_transmit(t, q, frames, &chains);
	if (n > 0)
		switch_input(t, q->function, frames, n);
	if (q->status != SIM_QUEUE_RUNNING || q->function->memory_lost) {
		deactivate(t, at);
		return true;
	}
	if (chains > 0) {
		spin_found(&q->spin, t->now);
		return false;
	}
	if (!q->parked && !may_sleep(t, q))
		return false;
	q->parked = false;
	deactivate(t, at);
	return true;
}

static void serve_queues(struct data_thread *t)
{
	for (uint32_t i = 0; i < t->n_active;) {
		if (!serve_queue(t, i))
			i++;
		if (t->nic->pauses) {
			give_way(t);
			break; /* the list may be another one */
		}
	}
}

/* ----------------------------------------------------------------------- sleep */

/* A device that is gone would wake us for ever. */
static void take_uplink_event(struct data_thread *t, uint32_t events)
{
	if (!(events & (EPOLLERR | EPOLLHUP)))
		return;
	epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, t->nic->uplink->rx_fd, NULL);
	port_lost(t->nic->uplink);
}

static void activate_kicked(struct data_thread *t, struct vq *q)
{
	if (q->status == SIM_QUEUE_RUNNING && q->thread == t && !q->function->memory_lost)
		activate(t, q);
}

static void take_queue_event(struct data_thread *t, uint64_t data)
{
	struct function *f = t->nic->functions[data >> 16];
	uint32_t index = data & 0xffff;

	if (!f)
		return; /* an event of a function that is gone */
	if (index < f->n_queues)
		activate_kicked(t, &f->queues[index]);
	for (uint32_t i = 0; i < f->n_queues && index == ALL_QUEUES && f->postcopy; i++)
		activate_kicked(t, &f->queues[i]);
}

static void take_event(struct data_thread *t, const struct epoll_event *event)
{
	uint64_t value;

	if (event->data.u64 >= EVENT_QUEUES)
		take_queue_event(t, event->data.u64 - EVENT_QUEUES);
	else if (event->data.u64 == EVENT_UPLINK)
		take_uplink_event(t, event->events);
	else if (read(t->wake_fd, &value, sizeof(value)) < 0)
		return; /* already taken */
}

/* Waits at most @timeout milliseconds (-1: for ever) for kicks. */
static void look_for_kicks(struct data_thread *t, int timeout)
{
	struct epoll_event events[EVENTS];
	int n;

	if (timeout != 0)
		pthread_mutex_unlock(&t->lock);
	n = epoll_wait(t->epoll_fd, events, EVENTS, timeout);
	if (timeout != 0) {
		while (t->nic->pauses)
			sched_yield();
		pthread_mutex_lock(&t->lock);
	}
	for (int i = 0; i < n; i++)
		take_event(t, &events[i]);
}

static void sleep_until_kick(struct data_thread *t, struct port *uplink)
{
	look_for_kicks(t, port_sleep_begin(t, uplink, UPLINK_SLEEP_MS));
	port_sleep_end(uplink);
}

static void tell_time(struct data_thread *t)
{
	t->now = rte_rdtsc();
	t->now_s = (uint32_t)(t->now / rte_get_tsc_hz());
}

static void *run(void *arg)
{
	struct data_thread *t = arg;
	struct port *uplink = t->index == 0 ? t->nic->uplink : NULL;
	uint64_t looked = 0, uplink_busy = 0;

	if (rte_thread_register() < 0)
		log_warning("data thread %u works without a packet cache", t->index);
	sem_post(&t->ready);
	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		bool uplink_idle;

		tell_time(t);
		serve_queues(t);
		if (uplink && port_receive(t, uplink))
			uplink_busy = t->now;
		if (t->nic->pauses)
			give_way(t);

		uplink_idle = t->now - uplink_busy > cycles(SPIN_US);
		if (t->n_active == 0 && uplink_idle && !t->nic->options.poll)
			sleep_until_kick(t, uplink);
		else if (t->now - looked > cycles(LOOK_US)) {
			looked = t->now;
			look_for_kicks(t, 0);
		}
	}
	pthread_mutex_unlock(&t->lock);
	rte_thread_unregister();
	return NULL;
}

/* --------------------------------------------------------- for the control thread */

void thread_wake(struct data_thread *t)
{
	uint64_t one = 1;

	if (write(t->wake_fd, &one, sizeof(one)) < 0)
		return; /* full: it is awake */
}

static int watch(struct data_thread *t, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int thread_create(struct nic *nic, unsigned int index, struct data_thread **ret)
{
	struct data_thread *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->nic = nic;
	t->index = index;
	pthread_mutex_init(&t->lock, NULL);
	sem_init(&t->ready, 0, 0);
	t->burst = calloc(1, sizeof(*t->burst));
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = !t->burst || t->epoll_fd < 0 || t->wake_fd < 0 ? -ENOMEM : 0;
	if (r == 0)
		r = watch(t, t->wake_fd, EPOLLIN, EVENT_WAKE);
	if (r == 0 && index == 0 && nic->uplink && nic->uplink->rx_fd >= 0)
		r = watch(t, nic->uplink->rx_fd, EPOLLIN, EVENT_UPLINK);
	if (r < 0) {
		thread_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

int thread_start(struct data_thread *t)
{
	int r = -pthread_create(&t->thread, NULL, run, t);

	while (r == 0 && sem_wait(&t->ready) < 0)
		continue;
	return r;
}

void thread_free(struct data_thread *t)
{
	if (!t)
		return;
	if (t->thread) {
		t->stop = true;
		thread_wake(t);
		pthread_join(t->thread, NULL);
	}
	close_keep_errno(t->epoll_fd);
	close_keep_errno(t->wake_fd);
	free(t->burst);
	free(t->active);
	free(t);
}

int thread_watch_queue(struct data_thread *t, struct vq *q, int kick_fd)
{
	return kick_fd < 0 ? 0 : watch(t, kick_fd, EPOLLIN | EPOLLET, event_of(q));
}

void thread_unwatch_queue(struct data_thread *t, struct vq *q)
{
	if (q->kick_fd >= 0)
		epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, q->kick_fd, NULL);
}

int thread_watch_function(struct data_thread *t, struct function *f, int fd)
{
	return watch(t, fd, EPOLLIN | EPOLLET, EVENT_QUEUES + ((uint64_t)f->slot << 16 | ALL_QUEUES));
}

int thread_add_queue(struct data_thread *t, struct vq *q)
{
	uint32_t n = t->n_active + t->n_asleep;
	int r;

	if (n == t->max_active) {
		uint32_t max = n ? 2 * n : 16;
		struct vq **more = realloc(t->active, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		t->active = more;
		t->max_active = max;
	}
	r = thread_watch_queue(t, q, q->kick_fd);
	if (r < 0)
		return r;
	t->n_asleep++;
	q->active = false;
	activate(t, q);
	thread_wake(t);
	return 0;
}

void thread_remove_queue(struct data_thread *t, struct vq *q)
{
	thread_unwatch_queue(t, q);
	for (uint32_t i = 0; i < t->n_active; i++) {
		if (t->active[i] == q) {
			deactivate(t, i);
			break;
		}
	}
	t->n_asleep--;
}

void thread_wake_queue(struct data_thread *t, struct vq *q)
{
	activate(t, q);
	thread_wake(t);
}

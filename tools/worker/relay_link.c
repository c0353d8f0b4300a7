/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Relays in the loop. While something moves the loop does not sleep: it looks at everybody else between
 * two rounds. When nothing moved for a while both sides are asked for signals, and an idle relay costs
 * nothing.
 */
#include <sys/epoll.h>

#include "tools/worker/worker.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define ROUNDS 16 /* before the loop looks at anything else */

/* The first relay makes the descriptor. */
static void watch(struct worker *w)
{
	int fd = device_relay_fd(&w->device);

	if (w->relay_watched || fd < 0)
		return;
	if (worker_watch(w, fd, EPOLLIN, WORKER_SOURCE_RELAY) < 0)
		log_error("relays can't be waited for");
	w->relay_watched = true;
}

/* A message that is refused later would take the failure back, if it were not lasting by then. */
static void tell_failures(struct worker *w, const struct queue_set *failed)
{
	worker_commit(w);
	for (uint32_t i = 0; i < w->device.n_queues; i++) {
		if (queue_set_has(failed, i))
			shim_link_event(w, SHIM_EVENT_QUEUE_ERROR,
				"queue %u broke the rules of its ring", i);
	}
}

/* Return: true when something moved. */
static bool run(struct worker *w)
{
	bool had_failed = w->device_section.failed, moved;
	struct queue_set failed;

	moved = device_relay_run(&w->device, &failed);
	if (!queue_set_empty(&failed) || w->device_section.failed != had_failed)
		tell_failures(w, &failed);
	return moved;
}

void relay_link_serve(struct worker *w)
{
	int rounds = 0;

	watch(w);
	if (!w->relay_watched)
		return;
	while (rounds < ROUNDS && run(w))
		rounds++;
	w->relay_polls = spin_goes_on(&w->relay_spin, rounds > 0, clock_now_ns(), SPIN_US * NS_PER_US) ||
		!device_relay_sleep(&w->device);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Relays in the loop. While something moves the loop does not sleep: it looks at everybody else between
 * two rounds. When nothing moved for a while, but much before, it naps: neither side is asked for signals,
 * which would come with the first chain, and whoever shares the processor gets many done meanwhile. Else
 * both are asked for signals, and an idle relay costs nothing.
 */
#include <sys/epoll.h>

#include "tools/worker/worker.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define ROUNDS 16 /* before the loop looks at anything else */
#define MANY   32 /* chains since the last sleep: who has that many has more soon */

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

/* Return: chains that moved. */
static uint32_t run(struct worker *w)
{
	bool had_failed = w->device_section.failed;
	struct queue_set failed;
	uint32_t moved;

	moved = device_relay_run(&w->device, &failed);
	if (!queue_set_empty(&failed) || w->device_section.failed != had_failed)
		tell_failures(w, &failed);
	return moved;
}

/* Return: chains that moved; not all that could, if there were many. */
static uint32_t run_rounds(struct worker *w)
{
	uint32_t moved = 0, n = 1;

	for (int round = 0; round < ROUNDS && n > 0; round++) {
		n = run(w);
		moved += n;
	}
	return moved;
}

void relay_link_serve(struct worker *w)
{
	uint64_t now;
	uint32_t moved;

	watch(w);
	if (!w->relay_watched)
		return;
	moved = run_rounds(w);
	w->relay_moved += moved;
	now = clock_now_ns();
	w->relay_naps = false;
	if (moved > 0)
		spin_found(&w->relay_spin, now);
	w->relay_polls = moved > 0 || spin_goes_on(&w->relay_spin, now, SPIN_US * NS_PER_US);
	if (w->relay_polls)
		return;
	if (w->relay_moved >= MANY) {
		device_relay_nap(&w->device);
		w->relay_naps = true;
	} else {
		w->relay_polls = !device_relay_sleep(&w->device);
	}
	w->relay_moved = 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Relays in the loop. While something moves the loop does not sleep: it looks at everybody else between
 * two rounds. When nothing moved for SPIN_NS, both sides are asked for signals, and an idle relay costs
 * nothing.
 */
#include <sys/epoll.h>

#include "tools/worker/worker.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define SPIN_NS (50 * NS_PER_US)
#define ROUNDS	16 /* before the loop looks at anything else */

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

void relay_link_serve(struct worker *w)
{
	uint64_t now;
	int rounds = 0;

	watch(w);
	if (!w->relay_watched)
		return;
	while (rounds < ROUNDS && device_relay_run(&w->device))
		rounds++;
	now = clock_now_ns();
	if (rounds > 0)
		w->relay_moved_ns = now;
	w->relay_polls = now - w->relay_moved_ns < SPIN_NS || !device_relay_sleep(&w->device);
}

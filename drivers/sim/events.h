/* SPDX-License-Identifier: BSD-2-Clause */
/* One descriptor that is readable while there is an event, wherever that waits. */
#ifndef DRIVERS_SIM_EVENTS_H
#define DRIVERS_SIM_EVENTS_H

#include <stdbool.h>

struct sim_events {
	int epoll_fd;	/* what the core waits for */
	int pending_fd; /* readable while an event waits on this side of the mailbox */
	int sock;	/* the mailbox; a duplicate, so that it can be taken out again; -1: none */
};

/** sim_events_init() - nothing to wait for yet. Return: 0 or a negative errno. */
int sim_events_init(struct sim_events *events);

/** sim_events_free() - also what sim_events_init() left half-built. */
void sim_events_free(struct sim_events *events);

/** sim_events_watch() - wait for this mailbox instead of the last one; -1: for none. */
int sim_events_watch(struct sim_events *events, int sock);

/** sim_events_set_pending() - whether an event waits on this side. */
void sim_events_set_pending(struct sim_events *events, bool pending);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The one structure of the supervisor. One thread, one event loop; nothing in it waits. */
#ifndef VDPAD_VDPAD_H
#define VDPAD_VDPAD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include <jansson.h>

#include "tools/vdpad/config.h"
#include "tools/vdpad/name.h"
#include "tools/vdpad/process.h"

struct device;
struct nic;
struct uids;

TAILQ_HEAD(device_list, device);
TAILQ_HEAD(nic_list, nic);

/* A device that STATE names but whose file can't be understood: its processes are left alone. */
struct skipped {
	SLIST_ENTRY(skipped) link;
	char name[NAME_SIZE];
};
SLIST_HEAD(skipped_list, skipped);

struct pci_returning;
SLIST_HEAD(pci_returning_list, pci_returning);

/** event_sink - who is told of events. @event: borrowed; @name: whom it is about. */
typedef void (*event_sink)(void *arg, json_t *event, const char *name);

struct vdpad {
	sd_event *event;
	struct config config;
	char run_dir[PATH_MAX], state_dir[PATH_MAX]; /* absolute */
	char programs[N_PROGRAMS][PROGRAM_PATH_SIZE];
	struct uids *uids; /* NULL: we are not root, everything runs as we do */
	event_sink events; /* NULL: nobody but the log is told */
	void *events_arg;
	struct nic_list nics;
	struct device_list devices;
	struct skipped_list skipped;
	struct pci_returning_list returning; /* PCI functions, to the drivers that they had */
	unsigned int n_starting; /* devices */
	uint64_t started_ns;
	sd_event_source *ready_timer; /* while devices are waited for */
	sd_event_source *socket_timer; /* strangers.c: when sockets that were served are looked at again */
	uint64_t socket_wait_ms;       /* the last wait; 0: none yet */
	void (*ready)(struct vdpad *v); /* NULL: it was called */
};

#define VDPAD_PATH_SIZE (PATH_MAX + 64)

/* ready.c */

/**
 * ready_begin() - NICs and devices are being looked for.
 * @ready: called once when all were found or will not be, or when that takes too long
 */
int ready_begin(struct vdpad *v, void (*ready)(struct vdpad *v));

/** ready_check() - something was found, or will not be. */
void ready_check(struct vdpad *v);

/* events.c */

/**
 * event_send() - tell everybody who monitors, and the log.
 * @kind: "added", "connected"...; see docs/control-socket.md
 * @what: "dev" or "mgmtdev"
 * @name: of it
 * @text: for people; may be ""
 */
void event_send(struct vdpad *v, const char *kind, const char *what, const char *name,
	const char *text);

/** event_time_ms() - "time_ms" of an event that is told now. */
json_int_t event_time_ms(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The one structure of a worker, and what its parts offer each other. One thread, one epoll. */
#ifndef TOOLS_WORKER_WORKER_H
#define TOOLS_WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/session.h"
#include "tools/shim/wire.h"
#include "vdpa/base/spin.h"
#include "vdpa/device.h"
#include "vdpa/health.h"
#include "vdpa/page.h"

/* What people outside are told about; compared after each round of the loop. */
struct worker_view {
	bool connected, running, failed, lost;
	uint32_t switches; /* of sides */
};

/* A driver, of the device or of its standby. */
struct worker_side {
	enum device_side side;
	struct driver_keeper keeper;
	int fds[DRIVER_MAX_DEVICE_FDS]; /* of the standby; the device's are in the fdstore */
	struct driver_device *driver;
	int error; /* why it was opened by what is kept of it only; 0: it was not */
	bool watched;
	int event_fd; /* while watched */
};

struct worker {
	int shim;	  /* socket to the shim */
	int epoll;
	bool stopping;	  /* the shim is gone or said nonsense */
	struct shim_spec spec;
	uint64_t started_ns;

	struct fdstore_keeper fd_keeper;
	struct fdstore fds;
	struct page page;
	struct device_section device_section; /* working copies */
	struct session_section session_section;

	struct worker_side sides[DEVICE_N_SIDES];
	bool serves;	  /* worker_start() is over */
	uint32_t switches; /* of sides, as the front-end was told */
	struct device device;
	struct session session;
	bool relay_watched;
	bool relay_polls;	/* the loop is not to sleep */
	bool relay_naps;	/* or not for longer than RELAY_LINK_NAP_NS */
	uint32_t relay_moved;	/* chains, since it slept */
	struct spin relay_spin;
	bool more_messages; /* the session did not get to the end of them */
	uint64_t accept_again_ns; /* 0: whoever connects is accepted at once */

	struct health *health;
	struct worker_view view; /* as it was told last */
	struct migration_record told; /* as the migration was told last */
};

/* start.c */

/**
 * worker_start() - take over from a predecessor, or begin: page, descriptors, device, connection.
 * Return: 0; a negative errno, logged: this process can't serve.
 */
int worker_start(struct worker *w);

/* shim_link.c: what shim and worker say to each other */

/** shim_link_init() - make the shim the keeper of descriptors. */
void shim_link_init(struct worker *w);

/** shim_link_begin() - receive everything up to SHIM_GO. Return: 0 or a negative errno. */
int shim_link_begin(struct worker *w);

/** shim_link_wait_for_device() - wait until the shim brings a device. Return: 0 or -errno. */
int shim_link_wait_for_device(struct worker *w);

/** shim_link_receive() - loop: handle all that the shim said. */
void shim_link_receive(struct worker *w);

/** shim_link_send() - tell the shim @kind, without payload. */
void shim_link_send(struct worker *w, enum shim_kind kind);

/** shim_link_event() - tell vdpad. */
void shim_link_event(struct worker *w, enum shim_event_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* connection.c: front-ends come and go */

/** connection_watch() - have the loop wait for the connection and the listener. */
int connection_watch(struct worker *w);

/** connection_accept() - loop: somebody connects. */
void connection_accept(struct worker *w);

/** connection_resume_accept() - loop: after an accept that failed, when its time has come. */
void connection_resume_accept(struct worker *w);

/** connection_take() - the shim connected to a front-end; it is in its slot. */
void connection_take(struct worker *w);

/** connection_receive() - loop: messages of the front-end. */
void connection_receive(struct worker *w);

/** connection_check_deadline() - loop. */
void connection_check_deadline(struct worker *w);

/** connection_transfer() - loop: the device's state can be moved on. */
void connection_transfer(struct worker *w);

/** connection_notify() - loop: rings have something to say that goes out as messages. */
void connection_notify(struct worker *w);

/** connection_watch_inband() - loop: wait for that, if there are such rings. */
void connection_watch_inband(struct worker *w);

/** connection_watch_transfer() - loop: wait until it can be moved on, if there is one under way. */
void connection_watch_transfer(struct worker *w);

/* driver_link.c: what the device says, or its standby */

/** driver_link_init() - before the shim sends anything. */
void driver_link_init(struct worker *w);

/** driver_link_open() - all drivers that the specification names; waits for devices. Return: 0 or -errno. */
int driver_link_open(struct worker *w);

/** driver_link_add_standby() - after device_init(). */
void driver_link_add_standby(struct worker *w);

/** driver_link_watch() - have the loop wait for events. */
void driver_link_watch(struct worker *w);

/** driver_link_hear() - at the start: what devices have to say of the time when nobody was here. */
void driver_link_hear(struct worker *w);

/** driver_link_receive(), driver_link_receive_standby() - loop: handle all events. */
void driver_link_receive(struct worker *w);
void driver_link_receive_standby(struct worker *w);

/** driver_link_changed() - the shim has other descriptors of @side, which are taken over; @n of them. */
void driver_link_changed(struct worker *w, enum device_side side, int *fds, size_t n);

/** driver_link_wish() - the specification may say who is to serve. @now: as device_set_wish(). */
void driver_link_wish(struct worker *w, bool now);

/** driver_link_resume() - go on with a change of sides that a predecessor was in the middle of. */
void driver_link_resume(struct worker *w);

/** driver_link_follow() - loop: change sides if it is due. */
void driver_link_follow(struct worker *w);

/* relay_link.c: rings that software stands in for */

#define RELAY_LINK_NAP_NS 75000 /* about as long as a ring of 256 takes a NIC with frames of 1518 bytes */

/** relay_link_serve() - loop: move what there is. Sets relay_polls while the loop is not to sleep. */
void relay_link_serve(struct worker *w);

/* report.c: what others may see */

/**
 * report_position() - where a ring stands: the guest's, also when the device works on a shadow of it.
 * @stats: the device's figures of it
 */
struct queue_position report_position(const struct worker *w, uint32_t index,
	const struct driver_queue_stats *stats);

/** report_health() - write the health block. */
void report_health(struct worker *w);

/** report_changes() - loop: tell vdpad what became different since the last call. */
void report_changes(struct worker *w);

/* report_migration.c */

/** report_migration_begin() - what a predecessor told is in the health block. */
void report_migration_begin(struct worker *w);

/** report_migration_due() - is the record another one than was told? */
bool report_migration_due(const struct worker *w);

/** report_migration() - tell vdpad what became of a migration; the health block is written next. */
void report_migration(struct worker *w);

/* dump.c */

/** dump_write() - write a report for support to @fd, JSON; no payload of the guest's. */
int dump_write(struct worker *w, int fd);

/* main.c: the loop. */

/** worker_commit() - make what changed lasting; a worker that can't ends. */
void worker_commit(struct worker *w);

/* What it waits for; in the order in which it serves them. */
enum worker_source {
	WORKER_SOURCE_SHIM,
	WORKER_SOURCE_DRIVER,
	WORKER_SOURCE_STANDBY,
	WORKER_SOURCE_CONNECTION,
	WORKER_SOURCE_LISTENER,
	WORKER_SOURCE_TRANSFER,
	WORKER_SOURCE_INBAND,
	WORKER_SOURCE_RELAY,
	WORKER_N_SOURCES,
};

/** worker_watch() - have the loop wait for @fd. @events: EPOLL bits. Return: 0 or -errno. */
int worker_watch(struct worker *w, int fd, uint32_t events, enum worker_source source);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one structure of a shim, and what its parts offer each other. A shim is one thread around
 * one poll(2); nothing here blocks, and nothing is allocated after start.
 */
#ifndef TOOLS_SHIM_SHIM_H
#define TOOLS_SHIM_SHIM_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/shim/wire.h"
#include "vdpa/base/bits.h"

#define SHIM_MAX_DEVICE_FDS (SHIM_SLOT_FREE - SHIM_SLOT_DEVICE)

/* More deaths than this within the window, and the worker is given up. */
#define SHIM_MAX_DEATHS	     5
#define SHIM_DEATH_WINDOW_NS (10ULL * 1000 * 1000 * 1000)
/* An upgraded worker that is not ready by then is replaced by the old program. */
#define SHIM_UPGRADE_NS	     (10ULL * 1000 * 1000 * 1000)
/* Events of a worker beyond this many a second are dropped: it may be hostile. */
#define SHIM_MAX_EVENTS	     64
/* Requests of vdpad that wait for the worker's answer. */
#define SHIM_MAX_PENDING     8

/* To start a worker with its own identity, and to end it. */
#define SHIM_CAPABILITIES \
	(BIT_ULL(CAP_SETUID) | BIT_ULL(CAP_SETGID) | BIT_ULL(CAP_KILL))
/* Client mode: the front-end's socket belongs to the front-end's user. Dropped in server mode. */
#define SHIM_CAPABILITIES_CLIENT BIT_ULL(CAP_DAC_OVERRIDE)

/* What the loop waits for; the number is the place in shim.poll_fd. */
enum shim_source {
	SOURCE_LISTEN,	/* vdpad's next connection */
	SOURCE_CONTROL, /* vdpad */
	SOURCE_WORKER,	/* messages of the worker */
	SOURCE_EXIT,	/* the worker's pidfd */
	SOURCE_WATCH,	/* inotify: the front-end's socket may have appeared (client mode) */
	SOURCE_REFUSE,	/* vhost-user listener while given up: nobody else would answer */
	N_SOURCES,
};

struct shim {
	char name[SHIM_NAME_SIZE];
	enum shim_state state;
	bool configured, stopping;
	struct shim_spec spec;
	uint32_t restarts;
	char reason[SHIM_REASON_SIZE];

	int poll_fd[N_SOURCES];	 /* -1: nothing to wait for */
	int slots[SHIM_MAX_SLOTS]; /* -1: empty */
	int health_readonly;	 /* the health block for vdpad */

	struct {
		pid_t pid;	 /* 0: there is none */
		bool ready;	 /* it said SHIM_READY */
		bool killed;	 /* by us on purpose: not a crash */
		uint32_t started;
		char path[sizeof(((struct shim_spec *)0)->worker_path)];
				 /* the program that runs; the specification may be ahead */
		char good_path[sizeof(((struct shim_spec *)0)->worker_path)];
				 /* the last program that got ready; "" before */
		uint64_t deaths[SHIM_MAX_DEATHS]; /* when, a ring */
		uint32_t n_deaths;
		uint64_t events_since;
		uint32_t n_events;
		uint32_t upgrade_seq;	    /* request that waits for it; 0: its vdpad is gone */
		uint64_t upgrade_deadline;  /* 0: no upgrade is under way */
		int upgrade_error;	    /* what became of the new program, before falling back */
		char upgrade_reason[SHIM_REASON_SIZE]; /* the same in words */
	} worker;

	/* Requests the worker has. Their numbers are ours: one vdpad's may be the next one's too. */
	struct {
		uint32_t seq;	 /* vdpad's; 0: it is gone */
		uint32_t number; /* for the worker; 0: free */
	} pending[SHIM_MAX_PENDING];
	uint32_t last_number;

	struct {
		uint64_t retry_at;	 /* 0: no retry is due */
		uint64_t connected_at;
		uint32_t attempt;	 /* connections in a row that failed or did not last */
		int last_error;		 /* said in the log already */
	} client;
};

/* slots.c: the kept descriptors */

/** slots_init() - all empty. */
void slots_init(struct shim *s);

/** slots_make_files() - page and health block: sealed memory files in their slots. Return: 0/-errno. */
int slots_make_files(struct shim *s);

/** slot_put() - keep @fd, taking it over; what was in @slot is closed. @slot < SHIM_MAX_SLOTS. */
void slot_put(struct shim *s, uint32_t slot, int fd);

/** slot_drop() - close what is in @slot. */
void slot_drop(struct shim *s, uint32_t slot);

/**
 * slots_put_device() - descriptors anew, of the device or its standby; takes them over.
 * @first: SHIM_SLOT_DEVICE or SHIM_SLOT_STANDBY; @n: at most SHIM_MAX_DEVICE_FDS
 */
void slots_put_device(struct shim *s, enum shim_slot first, int *fds, size_t n);

/** slots_send() - all full slots to a new worker. Return: 0, or what fdmsg_send() returned. */
int slots_send(const struct shim *s, int sock);

/** connection_end() - end the front-end's connection for every holder of it, and forget it. */
void connection_end(struct shim *s);

/* spawn.c: a new process */

/**
 * spawn_worker() - start a program as the worker.
 * @path:	program, absolute
 * @name:	for its --name
 * @uid, @gid:	its identity; 0: as the shim
 * @ret_sock:	our end of its socket; a send that takes over 2 s fails with -EAGAIN
 * @ret_pidfd:	of the process
 *
 * Return: its pid; a negative errno when any step up to execve(2) failed, then nobody is left.
 */
pid_t spawn_worker(const char *path, const char *name, uid_t uid, gid_t gid, int *ret_sock,
	int *ret_pidfd);

/* worker.c: the worker's life */

/** worker_start() - a worker from spec.worker_path. Return: 0, or -errno and none is there. */
int worker_start(struct shim *s);

/** worker_start_or_give_up() - worker_start() until one starts or the limit of deaths is reached. */
void worker_start_or_give_up(struct shim *s);

/** worker_kill() - end the worker; @wanted: on purpose, so that it is no crash. */
void worker_kill(struct shim *s, bool wanted);

/** worker_upgrade() - replace the worker; @seq is answered when it is ready or fell back. */
void worker_upgrade(struct shim *s, uint32_t seq);

/** worker_is_ready() - it said so: this program is good, an upgrade is over. */
void worker_is_ready(struct shim *s);

/** worker_exited() - loop: the pidfd is readable. Drains its messages, then starts the next one. */
void worker_exited(struct shim *s);

/** worker_revive() - start again after having given up; keeps the record of deaths clean. */
int worker_revive(struct shim *s);

/** worker_check_deadline() - loop: an upgrade may have taken too long. */
void worker_check_deadline(struct shim *s, uint64_t now);

/** worker_send() - a message to the worker; one that does not read for 2 s is killed.
 * Return: 0; -EHOSTDOWN there is none; another negative errno. */
int worker_send(struct shim *s, enum shim_kind kind, const void *payload, size_t size,
	const int *fds, size_t n_fds);

/* worker_messages.c: what the worker says, hostile */

/** worker_receive() - loop: take one message. Return: 1 taken, 0 nothing more, -errno: gone. */
int worker_receive(struct shim *s);

/* control.c: vdpad */

/** control_accept() - loop: a new connection of vdpad replaces the older one. */
void control_accept(struct shim *s);

/** control_receive() - loop: one request of vdpad. */
void control_receive(struct shim *s);

/** control_reply() - answer request @seq, if vdpad is still there. */
void control_reply(struct shim *s, uint32_t seq, int status);

/** control_refuse() - the same with words; @status is negative. */
void control_refuse(struct shim *s, uint32_t seq, int status, const char *why);

/** control_event() - tell vdpad, if it is there. */
void control_event(struct shim *s, enum shim_event_kind kind, const char *text);

/** control_fail_pending() - answer all that waits for the worker with @status. */
void control_fail_pending(struct shim *s, int status);

/** control_reply_pending() - the worker's answer to what was passed on under @number. */
void control_reply_pending(struct shim *s, uint32_t number, int status);

/* message.c: one form for both sides */

/** message_send() - header and payload in one message. Return: as fdmsg_send(). */
int message_send(int sock, const struct shim_header *header, const void *payload, const int *fds,
	size_t n_fds);

/** text_ends() - true when @text holds a NUL within @size. */
bool text_ends(const char *text, size_t size);

/* client.c: client mode */

/** client_connect() - connect to the front-end now; waits by inotify and retries if that fails. */
void client_connect(struct shim *s);

/** client_disconnected() - the connection ended; connect again, slower if it did not last. */
void client_disconnected(struct shim *s);

/** client_stop() - wait for nothing any more. */
void client_stop(struct shim *s);

/** client_watch_event() - loop: something changed in a folder. */
void client_watch_event(struct shim *s);

/** client_check_deadline() - loop: a retry may be due. */
void client_check_deadline(struct shim *s, uint64_t now);

#endif

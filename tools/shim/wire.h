/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What vdpad, a shim and its worker say to each other: fixed-form messages with descriptors over
 * SOCK_SEQPACKET sockets (vdpa/base/fdmsg.h). A message is a header and the payload of its kind,
 * exactly that long.
 *
 * The shim keeps descriptors in numbered slots. A slot the worker fills outlives it; the next
 * worker gets all slots before its first instruction of work. The shim does not know what is in
 * them, except for the few named below.
 */
#ifndef TOOLS_SHIM_WIRE_H
#define TOOLS_SHIM_WIRE_H

#include <stdint.h>

#define SHIM_WIRE_VERSION 1

#define SHIM_MAX_SLOTS	1540
#define SHIM_FDS_A_MESSAGE 32
#define SHIM_NAME_SIZE	64
#define SHIM_PATH_SIZE	108 /* of a socket address */
#define SHIM_REASON_SIZE 128

enum shim_slot {
	SHIM_SLOT_PAGE = 0,   /* state page: memfd of SHIM_PAGE_SIZE, made by the shim, sealed */
	SHIM_SLOT_HEALTH = 1, /* health block: memfd of HEALTH_SIZE, made by the shim, sealed */
	SHIM_SLOT_LISTEN = 2, /* listening vhost-user socket (server mode) */
	SHIM_SLOT_CONN = 3,   /* connected vhost-user socket */
	SHIM_SLOT_DEVICE = 4, /* up to 4 descriptors of the device, in the driver's order */
	SHIM_SLOT_FREE = 8,   /* from here on: the worker's */
	SHIM_SLOT_STANDBY = 1536, /* up to 4 of the standby; behind the worker's, which older versions
				   * knew already */
};

#define SHIM_PAGE_SIZE (512 * 1024)

enum shim_kind {
	/* vdpad to shim; each gets a SHIM_REPLY */
	SHIM_HELLO = 1,	    /* reply carries shim_status, fd: the health block, read-only */
	SHIM_CONFIGURE,	    /* shim_spec, fds: [listener if server mode] then the device's; once */
	SHIM_DEVICE_FDS,    /* fds: the device's, anew: it was reset or replaced */
	SHIM_SET_SPEC,	    /* shim_spec: worker_path, log_level and SHIM_SPEC_CHANGES take effect */
	SHIM_UPGRADE,	    /* replace the worker by a new one from spec.worker_path, at once; a reply
			     * that refuses may carry shim_reason: what became of it */
	SHIM_STOP,	    /* device deleted: end the connection and the worker, then exit */
	SHIM_STANDBY_FDS,   /* fds: the standby's, anew; also before SHIM_CONFIGURE. A shim that knows of
			     * no standby refuses it: -EOPNOTSUPP */

	/* vdpad through the shim to the worker; reply comes from the worker, or from the shim
	 * with -EHOSTDOWN when there is none */
	SHIM_REFRESH = 32,  /* write the health block now */
	SHIM_DUMP,	    /* fd: file to write a report to, JSON */

	/* shim to worker */
	SHIM_START = 64,    /* shim_spec; first message to a worker */
	SHIM_SLOTS,	    /* shim_slots, fds: what the slots hold; several */
	SHIM_GO,	    /* all said, work */
	SHIM_SPEC_CHANGED,  /* shim_spec */
	SHIM_DEVICE_CHANGED,/* fds: the device's, anew */
	SHIM_CONNECTED,	    /* fd: a new vhost-user connection (client mode), already in its slot */
	SHIM_STANDBY_CHANGED,/* fds: the standby's, anew */

	/* worker to shim */
	SHIM_STORE = 96,    /* shim_slots, fds: put them there; what was there is closed */
	SHIM_DROP,	    /* shim_slots: close these */
	SHIM_READY,	    /* the worker serves; its crashes are counted from here */
	SHIM_DISCONNECTED,  /* connection ended: drop SHIM_SLOT_CONN; client mode: connect again */
	SHIM_WORKER_EVENT,  /* shim_event: passed on to vdpad */

	/* shim to vdpad */
	SHIM_REPLY = 128,   /* answer to the request with the same seq; status in the header */
	SHIM_EVENT,	    /* shim_event; seq 0 */
};

struct shim_header {
	uint32_t kind;	 /* enum shim_kind */
	uint32_t seq;	 /* of a request from vdpad, not 0; its reply repeats it */
	int32_t status;	 /* in SHIM_REPLY: 0 or a negative errno */
	uint32_t size;	 /* payload bytes that follow */
};

/* Flags of shim_spec. */
#define SHIM_SPEC_CLIENT   1 /* connect instead of listening */
#define SHIM_SPEC_NOTIFIER 2 /* a front-end may have pages of the device, to kick it */
#define SHIM_SPEC_RELAY	   4 /* rings are to be relayed */
#define SHIM_SPEC_SIM	   8 /* the standby is to serve */
#define SHIM_SPEC_NOW	   16 /* of SHIM_SET_SPEC: follow these two without waiting for a good moment, also if
			       * they were so before; not kept */
#define SHIM_SPEC_CHANGES  (SHIM_SPEC_RELAY | SHIM_SPEC_SIM)
#define SHIM_SPEC_ALL	   (SHIM_SPEC_CLIENT | SHIM_SPEC_NOTIFIER | SHIM_SPEC_CHANGES | SHIM_SPEC_NOW)

/* All that shim and worker need to know of a device. */
struct shim_spec {
	char name[SHIM_NAME_SIZE];
	char driver[16];		/* "sim" */
	char socket_path[SHIM_PATH_SIZE]; /* vhost-user socket; client mode connects to it */
	char worker_path[256];		/* absolute path of the worker's program */
	uint32_t flags;			/* SHIM_SPEC_ */
	uint32_t uid, gid;		/* the worker's; 0: stay as the shim is */
	uint32_t log_level;		/* enum log_level */
	uint64_t features;		/* offer at most these; all ones: what the device has */
	uint16_t max_pairs;		/* offer at most these; 0: what the device has */
	char standby[6];		/* driver of the standby; "": there is none */
};

enum shim_state {
	SHIM_WAITING,	/* not configured yet */
	SHIM_WORKING,	/* a worker is there */
	SHIM_RESTARTING,/* between two workers */
	SHIM_GIVEN_UP,	/* the worker crashed too often; see the reason */
};

struct shim_status {
	uint32_t version;	/* SHIM_WIRE_VERSION */
	uint32_t state;		/* enum shim_state */
	int32_t pid;		/* of the shim */
	int32_t worker_pid;	/* 0: none */
	uint32_t restarts;	/* workers that were started after the first one */
	uint32_t pad;
	char reason[SHIM_REASON_SIZE]; /* why SHIM_GIVEN_UP */
	struct shim_spec spec;
};

struct shim_slots {
	uint32_t n;
	uint32_t slot[SHIM_FDS_A_MESSAGE];
};

enum shim_event_kind {
	SHIM_EVENT_CONNECTED = 1, /* by the worker: a front-end is there; text: its pid */
	SHIM_EVENT_DISCONNECTED,  /* text: why */
	SHIM_EVENT_RUNNING,	  /* queues run */
	SHIM_EVENT_STOPPED,	  /* no queue runs any more */
	SHIM_EVENT_FAILED,	  /* device failed; text: why */
	SHIM_EVENT_RECOVERED,	  /* device works again after it was lost */
	SHIM_EVENT_QUEUE_ERROR,	  /* text: which queue and why */
	SHIM_EVENT_MIGRATION_LOGGING, /* these: text: how, and what it took so far */
	SHIM_EVENT_MIGRATION_STOPPED,
	SHIM_EVENT_MIGRATION_RESUMED,
	SHIM_EVENT_MIGRATION_HANDED_OVER,
	SHIM_EVENT_MIGRATION_CANCELLED,
	SHIM_EVENT_MIGRATION_BROKEN_OFF,
	SHIM_EVENT_FAILOVER,	  /* another side serves; text: from where to where, and why */
	SHIM_EVENT_WORKER_DIED = 64, /* by the shim; text: signal or status */
	SHIM_EVENT_WORKER_STARTED,   /* text: pid */
	SHIM_EVENT_GIVEN_UP,	     /* text: the reason */
};

struct shim_event {
	uint32_t kind; /* enum shim_event_kind */
	char text[SHIM_REASON_SIZE];
};

struct shim_reason {
	char text[SHIM_REASON_SIZE];
};

union shim_payload {
	struct shim_spec spec;
	struct shim_status status;
	struct shim_slots slots;
	struct shim_event event;
	struct shim_reason reason;
};

struct shim_message {
	struct shim_header header;
	union shim_payload payload;
};

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The health block: what a worker lets the supervisor see, in a memory file of its own. The worker
 * writes it, vdpad maps it read-only and believes nothing of it: health_read() copies it once and
 * checks the copy.
 *
 * The writer makes @generation odd, writes, and makes it even again. A writer that died in between
 * leaves it odd; then the copy is what it is and says so.
 */
#ifndef VDPA_HEALTH_H
#define VDPA_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vdpa/migration.h"
#include "vdpa/queue.h"

#define HEALTH_MAGIC   0x76645048U /* "HPdv" in memory */
#define HEALTH_VERSION 1
#define HEALTH_SIZE    (64 * 1024) /* of the file */
#define HEALTH_REASON_SIZE 128

enum device_state {
	DEVICE_IDLE,	   /* no front-end, or none that finished negotiating */
	DEVICE_CONFIGURED, /* features known, no queue runs */
	DEVICE_RUNNING,	   /* at least one queue runs */
	DEVICE_FAILED,	   /* the device does not work; see the reason */
	DEVICE_N_STATES,
};

enum datapath {
	DATAPATH_NONE,	 /* no queue runs */
	DATAPATH_DIRECT, /* the device serves the guest's rings */
	DATAPATH_RELAY,	 /* software stands between */
	DATAPATH_SIM,	 /* the standby serves */
	DATAPATH_N,
};

enum relay_reason {
	RELAY_REASON_NONE,
	RELAY_REASON_LOG,      /* pages are logged, and the device has no log that does */
	RELAY_REASON_POSITION, /* the device can't start where the rings stood */
	RELAY_REASON_INFLIGHT, /* the front-end wants chains in flight noted */
	RELAY_REASON_PACKED,   /* the device can't tell where it stands in a packed ring */
	RELAY_REASON_WISH,     /* the operator wants it */
	RELAY_N_REASONS,
};

struct health_queue {
	uint32_t size;
	uint8_t enabled;
	uint8_t running;
	uint8_t failed;
	uint8_t pad;
	uint16_t avail;	     /* position; packed: without wrap counters */
	uint16_t used;
	uint8_t avail_wrap;
	uint8_t used_wrap;
	uint16_t pad2;
	uint64_t received_desc;
	uint64_t completed_desc;
	uint64_t bytes;
	uint64_t drops;
	uint64_t errors;
	uint64_t calls;
};

struct health {
	uint32_t magic;
	uint32_t version;
	uint64_t generation;
	uint64_t written_ns;	   /* CLOCK_MONOTONIC */
	uint64_t started_ns;	   /* of this worker */
	uint64_t connected_ns;	   /* of the front-end; 0: none is connected */
	uint64_t running_ns;	   /* since when queues run; 0: none does */
	int32_t worker_pid;
	int32_t frontend_pid;
	uint32_t frontend_uid;
	uint32_t state;		   /* enum device_state */
	uint32_t datapath;	   /* enum datapath */
	uint32_t n_queues;
	uint32_t max_queue_size;
	uint32_t virtio_status;	   /* as the guest's driver set it */
	uint64_t device_features;  /* offered by the device */
	uint64_t features;	   /* negotiated; 0 before */
	uint64_t protocol_features;/* of vhost-user */
	uint64_t messages, refused, connections;
	uint64_t memory_bytes;	   /* mapped for the device */
	uint32_t memory_regions;
	uint8_t mac[6];
	uint16_t mtu;
	uint16_t max_pairs;
	uint16_t link_up;
	uint32_t lost;		   /* 1: the device is away, another one is waited for */
	uint32_t relay_reason;	   /* enum relay_reason; of rings that are relayed */
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t spoof_drops, flood_drops, no_queue_drops;
	uint8_t last_spoof_mac[6];
	uint8_t pad2[2];
	char reason[HEALTH_REASON_SIZE]; /* why DEVICE_FAILED or the last refusal, else empty */
	struct health_queue queues[QUEUE_MAX];
	struct migration_record migration; /* the one that goes on, or the last one */
	uint32_t has_standby;	   /* 1: there is one; all that follows is 0 otherwise */
	uint32_t on_standby;	   /* 1: it serves, or would if rings ran */
	uint32_t switches;	   /* how often the other one took over */
	uint32_t other_well;	   /* 1: the one that does not serve is well */
	char failover_reason[HEALTH_REASON_SIZE]; /* why it is so, and what is awaited; "" */
};

_Static_assert(sizeof(struct health) <= HEALTH_SIZE, "the health block fits its file");

/**
 * health_read() - copy a health block and check the copy.
 * @block: mapped file of HEALTH_SIZE bytes, another process may write it at any time
 * @ret:   the copy: magic and version are right, enumerations and counts are in range, texts end
 * @ret_torn: true when the writer was interrupted; may be NULL
 *
 * Return: 0; -EBADMSG when the block is not a health block of this version.
 */
int health_read(const volatile struct health *block, struct health *ret, bool *ret_torn);

#endif

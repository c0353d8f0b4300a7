/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device as a whole: functions, queues, data threads.
 *
 * Two contexts touch these structures. The control thread (sockets, commands) and the data threads
 * (rings, frames). A data thread holds its own lock while it looks at anything but its sleep; the
 * control thread changes what data threads read only between nic_pause() and nic_resume(), when
 * it holds all of these locks. So no member below needs more than the comment at its group says.
 */
#ifndef SIMNIC_NIC_H
#define SIMNIC_NIC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "drivers/sim/mailbox.h"
#include "tools/simnic/dirty.h"
#include "tools/simnic/flood.h"
#include "tools/simnic/iommu.h"
#include "tools/simnic/loop.h"
#include "tools/simnic/macs.h"
#include "tools/simnic/options.h"
#include "tools/simnic/signaller.h"
#include "vdpa/base/spin.h"
#include "vdpa/queue.h"

#define NIC_MAX_FUNCTIONS 1024
#define NIC_BURST	  32
#define NIC_MAX_THREADS	  16

#define HELD_MAX 40 /* chains: a burst, and those that stay */

struct backlog;
struct data_thread;
struct function;
struct postcopy;

/* Chains of a transmit queue that were read and are given back later. */
struct held {
	uint32_t n;
	uint64_t since; /* cycles, when the last one came */
	struct {
		uint16_t id;
		uint16_t n_desc;
	} chains[HELD_MAX];
};

enum vq_kind {
	VQ_RECEIVE,
	VQ_TRANSMIT,
	VQ_CONTROL, /* served by the control thread */
};

/* One virtqueue. */
struct vq {
	/* fixed while the function lives */
	struct function *function;
	enum vq_kind kind;
	struct data_thread *thread; /* serves it; NULL unless it transmits */
	struct sim_queue_regs *regs; /* in the BAR: written, never read */
	uint16_t index;

	/* changed while paused */
	enum sim_queue_status status; /* a data thread sets SIM_QUEUE_ERROR */
	uint32_t size;
	struct sim_queue_setup setup; /* its addresses as they were given */
	uint64_t desc_iova, driver_iova, device_iova; /* in the function's memory */
	void *desc, *driver, *device; /* the same in our memory */
	uint32_t desc_size, driver_size, device_size; /* bytes */
	int kick_fd, call_fd, err_fd;
	bool packed, event_idx, indirect, mergeable;
	bool batch_used;     /* one used entry may stand for several chains: in order, transmit */
	bool mixes;	     /* receive: chains of a burst are filled in any order */
	bool holds;	     /* transmit: chains come back later, in any order, see held.h */
	bool takes_offloads; /* a transmitted frame's header is read */
	uint8_t header_size; /* of virtio-net */
	bool poll;	     /* must not sleep: no kick descriptor, or doorbell page */
	bool postcopy;	     /* pages may be missing: look before each touch */

	/* the serving data thread; receive queues: under lock */
	rte_spinlock_t lock;
	bool active; /* in the thread's list */
	struct queue_position at;
	struct iommu_hit hit; /* the region that was used last; cleared while paused */
	struct spin spin;     /* cycles */
	const char *fault;    /* why the ring is given up */
	struct held held;     /* taken and not yet given back; empty unless @holds */
	bool ring_missing;    /* @postcopy: the ring was not there yet */
	bool parked;	      /* a page was missing: nothing to do before it is there */
	bool waits;	      /* for an address translation; cleared while paused */
	struct backlog *backlog; /* receive: frames that wait for one; NULL: none ever do */
	const uint8_t *_Atomic wanted; /* that page, where it is asked for; the helper clears it */
	uint32_t wrong_index; /* test interface: so much is added to the next used index */
};

static inline bool vq_is_receive(const struct vq *q)
{
	return q->kind == VQ_RECEIVE;
}

static inline bool vq_is_transmit(const struct vq *q)
{
	return q->kind == VQ_TRANSMIT;
}

static inline bool vq_is_control(const struct vq *q)
{
	return q->kind == VQ_CONTROL;
}

/* A virtio-net function of the NIC. */
struct function {
	/* fixed */
	struct nic *nic;
	uint32_t slot; /* in nic->functions */
	uint16_t n_queues; /* with the control queue, which is the last one */
	struct vq *control_queue; /* NULL: it has none */
	int bar_fd;
	uint8_t *bar;
	struct sim_regs *regs; /* in the BAR */

	/* changed while paused */
	struct sim_function identity;
	uint64_t features; /* negotiated */
	uint64_t mac; /* in force, as macs_word() */
	struct sim_control control; /* what the guest's driver set; what follows comes of it */
	uint64_t rx_features; /* @features, with the offloads towards the guest that are on */
	bool chose_mac;	      /* @mac is the driver's choice, not the operator's */
	bool filters;	      /* there are frames that the driver does not want */
	uint16_t mtu;
	struct iommu iommu;
	struct dirty_bits log; /* covers all of @iommu that is writable */
	uint16_t n_rx_running;
	uint16_t rx_running[SIM_MAX_PAIRS];
	uint64_t running_since; /* order of starts; 0: no receive queue runs */
	bool doorbell;
	int doorbell_fd; /* the page; -1: nobody asked for it */
	struct postcopy *postcopy; /* NULL: all memory is complete */

	/* data threads, under flood_lock */
	rte_spinlock_t flood_lock;
	struct flood flood;

	/* data threads to control thread */
	atomic_bool memory_lost;
	atomic_uint_least64_t faulty[SIM_MAX_QUEUES / 64];
	atomic_uint_least64_t waiting_queues[SIM_MAX_QUEUES / 64]; /* those that just began to */
	atomic_bool faulty_any;

	/* control thread */
	struct source mailbox;
	struct waiting *waiting; /* a command that the test interface delays; NULL: none */
	struct source control_kick; /* a copy of the control queue's descriptor */
	int64_t control_tokens;	    /* so much may be done now; see control_queue.c */
	uint64_t control_stamp;	    /* when they were counted, cycles */
	bool control_waits;	    /* to be looked at when the timer goes off */
	bool failed_said;
	bool renew_due; /* a driver of before knows this BAR, and its queues were taken away */

	struct vq queues[];
};

struct nic {
	/* fixed after start */
	struct options options;
	struct loop loop;
	struct rte_mempool *pool;
	struct data_thread *threads[NIC_MAX_THREADS];
	unsigned int n_threads;
	struct port *uplink; /* NULL: none */
	bool page_faults;    /* there is a userfaultfd for us */
	struct signaller signaller;
	uid_t owner;	     /* may use the admin socket, as root may */

	/* changed while paused */
	struct function *functions[NIC_MAX_FUNCTIONS];
	uint32_t n_slots; /* all used slots are below */
	struct macs macs;
	uint64_t start_count;

	/* control thread */
	uint32_t n_functions;
	struct source attention; /* data threads write here when a queue or memory failed */
	struct source listener;
	struct source signals;
	struct source test_listener;
	struct source control_timer; /* for control queues that have to wait */
	bool control_armed;
	uint32_t n_control; /* control queues that run */
	struct misbehaviour *misbehaviours;
	struct data_thread *own; /* what the control thread needs to send frames itself */

	atomic_uint n_backlog; /* frames that wait, of all functions */
	atomic_uint pauses;
	unsigned int pause_depth;
};

/** nic_pause(), nic_resume() - keep data threads away; nests. Control thread only. */
void nic_pause(struct nic *nic);
void nic_resume(struct nic *nic);

/** nic_attention() - make the control thread look at the functions. Any thread. */
void nic_attention(struct nic *nic);

/**
 * nic_rescan() - tell the switch which functions have which MACs, after a change of functions,
 * their MACs, or their running receive queues. Paused.
 */
void nic_rescan(struct nic *nic);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device model: one virtio-net device, its rings and its memory, between whoever configures it
 * and the driver that runs it.
 *
 * struct device_section is all that must survive the process; it is a section of the state page.
 * Functions here change the working copy and drive the driver; the caller commits or rolls back.
 * Every one of them may be repeated by a successor that finds the state of before: driver
 * calls are idempotent.
 *
 * A ring runs when it is wanted: started, enabled, completely described, in memory, and the
 * guest's driver is ready. device_update() compares what is wanted with what runs and makes the
 * difference, all queues of a kind in one driver call.
 */
#ifndef VDPA_DEVICE_H
#define VDPA_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/driver.h"
#include "vdpa/fdstore.h"
#include "vdpa/health.h"
#include "vdpa/memory.h"
#include "vdpa/migration.h"
#include "vdpa/page.h"
#include "vdpa/queue.h"

#define DEVICE_SECTION_VERSION 1
#define DEVICE_REASON_SIZE   112
#define DEVICE_DRIVER_STATE_SIZE 256
#define DEVICE_DRIVER_SLOTS 8
#define DEVICE_NO_LOG 0 /* no slot that a log could have */

/* A device may have a standby: another function, of any driver, that takes its rings over. */
enum device_side {
	DEVICE_PRIMARY,
	DEVICE_STANDBY,
	DEVICE_N_SIDES,
};

/* What the operator wants rings to be served by. */
enum datapath_wish {
	WISH_DIRECT, /* the device, without software in between where it can */
	WISH_RELAY,  /* the device, by relay */
	WISH_SIM,    /* the standby */
	WISH_N,
};

#define RING_F_LOG 1U /* of ring_state.addr_flags: writes to the used ring count at log_addr */

struct ring_state {
	uint64_t desc_uva;  /* front-end's addresses */
	uint64_t avail_uva; /* packed: driver event area */
	uint64_t used_uva;  /* packed: device event area */
	uint64_t log_addr;
	uint32_t addr_flags;
	uint32_t size;	    /* descriptors; 0: not set */
	uint32_t base;	    /* position word, see vdpa/position.h; of a running ring: at its start */
	int32_t kick_slot;  /* FDSTORE_NONE: none */
	int32_t call_slot;
	int32_t err_slot;
	uint8_t has_addr;
	uint8_t started;    /* the front-end gave a kick */
	uint8_t enabled;
	uint8_t running;    /* the device serves it */
	uint8_t failed;	    /* broke the rules; until the front-end stops it */
	uint8_t resubmits;  /* the inflight area says where another back-end left it */
	uint8_t pad[2];
};

/* Where a ring's three areas are, in guest-physical space; as for struct driver_queue. */
struct ring_place {
	uint64_t desc, driver, device;
};

#define RELAY_NO_SLOT 0 /* no slot that anything of a relay could have */

/* What outlives the process of a relayed ring. All zero: the ring is not relayed. */
struct kept_relay {
	int32_t kept_slot; /* shadow ring and chains in flight, see vdpa/relay.h */
	int32_t kick_slot; /* eventfd that wakes the device */
	int32_t call_slot; /* eventfd that the device signals */
	uint32_t pad;
	uint64_t iova;	   /* where the device reaches the shadow ring */
};

#define DEVICE_NO_INFLIGHT 0 /* no slot that an inflight area could have */

/* Memory that the front-end keeps, to say which chains are in flight; see vdpa/inflight.h. */
struct kept_inflight {
	int32_t slot;	   /* of its file; DEVICE_NO_INFLIGHT: there is none */
	uint16_t n_rings;  /* that have a part */
	uint16_t ring_size; /* descriptors, of each */
	uint64_t offset;   /* bytes */
};

/*
 * Figures of before, on another host, and rings that a relay gave up; what the device counts itself is
 * added to them. All are uint64_t.
 */
struct carried_device {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t spoof_drops, flood_drops, no_queue_drops;
};

struct carried_queue {
	uint64_t received_desc, completed_desc, bytes, drops, errors, calls;
};

/* How far a guest is that arrives by postcopy, see device_postcopy.c. */
enum postcopy_phase {
	POSTCOPY_NONE,	    /* all of its memory is here */
	POSTCOPY_ADVISED,   /* it may come to that */
	POSTCOPY_LISTENING, /* memory that is mapped from now on lacks pages */
	POSTCOPY_TOLD,	    /* the front-end was told the device's addresses of it */
	POSTCOPY_ARRIVING,  /* and answers for them: queues run */
	POSTCOPY_N_PHASES,
};

/* Which side serves, and why; see device_failover.c. All zero: the device, as it always was. */
struct kept_failover {
	uint8_t active;	   /* enum device_side */
	uint8_t wish;	   /* enum datapath_wish, as it was followed last */
	uint8_t relayed;   /* rings are relayed because of it */
	uint8_t stale;	   /* the other side was not reset: it may still reach the guest's memory */
	uint8_t returned;  /* the last change was to the side that is wanted */
	uint8_t now;	   /* the wish is followed without waiting for a good moment */
	uint16_t mtu;	   /* as the front-end set it; 0: never */
	uint32_t relapses; /* of the wanted side, one soon after the other */
	uint32_t switches; /* how often the other side took over */
	uint64_t switched_ns; /* the last time; CLOCK_MONOTONIC */
	uint64_t well_ns;  /* since when the side that does not serve is well; 0: it is not */
	char reason[DEVICE_REASON_SIZE]; /* of the last time */
	uint8_t standby[DEVICE_DRIVER_STATE_SIZE]; /* driver_keeper's state, of the standby's driver */
	int32_t standby_slots[DEVICE_DRIVER_SLOTS]; /* DEVICE_NO_KEPT: none */
};

#define DEVICE_NO_KEPT 0 /* no slot that a standby's driver could have kept something in */

struct device_section {
	uint64_t features;	/* accepted by the guest's driver, device bits only */
	uint8_t has_features;
	uint8_t status;		/* virtio device status */
	uint8_t waits_for_driver; /* rings run only with DRIVER_OK in @status */
	uint8_t failed;
	uint32_t n_rings;	/* that the device has; the others are as they were at the beginning */
	char reason[DEVICE_REASON_SIZE]; /* why it failed */
	uint8_t driver[DEVICE_DRIVER_STATE_SIZE]; /* driver_keeper's state */
	int32_t driver_slots[DEVICE_DRIVER_SLOTS]; /* what the driver had kept, by its number */
	struct ring_state rings[QUEUE_MAX];
	struct memory_table memory;
	uint8_t logging;	/* the front-end wants each page marked that is written */
	uint8_t suspended;	/* all rings stand still, since the front-end takes them one by one */
	uint8_t returning;	/* the device that serves is another one, which was not given all yet */
	uint8_t pad2[1];
	int32_t log_slot;	/* of the log's file; DEVICE_NO_LOG: there is none */
	uint64_t log_offset;
	uint64_t log_size;	/* bytes */
	uint64_t log_asked_ns;	/* when logging was wanted; CLOCK_MONOTONIC */
	struct migration_record migration;
	struct kept_relay relays[QUEUE_MAX]; /* of rings that run relayed */
	struct kept_inflight inflight;
	struct carried_device carried;
	struct carried_queue carried_queues[QUEUE_MAX];
	uint8_t postcopy;	/* enum postcopy_phase */
	uint8_t postcopy_blind;	/* the device that was advised is gone */
	uint8_t doorbell;	/* guests may ring the device itself */
	uint8_t control_used;	/* the device has what a driver set through its control queue */
	uint8_t pad3[4];
	uint64_t postcopy_told_ns; /* CLOCK_MONOTONIC */
	struct kept_failover failover;
	struct ring_place places[QUEUE_MAX]; /* of rings that run and needed translations for it; else zero */
};

struct device_iotlb;
struct device_relays;
struct dirty_log;
struct inflight_map;

/* One of the two that can serve. */
struct device_side_link {
	struct driver_device *driver; /* NULL: there is no such side */
	int fds[DRIVER_MAX_DEVICE_FDS]; /* lent */
	size_t n_fds;
};

struct device {
	struct device_section *state; /* working copy of the page's section */
	struct driver_device *driver; /* of the side that serves */
	struct device_side_link sides[DEVICE_N_SIDES];
	bool broken;		    /* it counts as lost, but answers wrongly, or */
	bool hung;		    /* not at all */
	bool announce_due;	    /* the network has to learn where the device is now */
	char trouble[DEVICE_REASON_SIZE]; /* why it counts as lost, in words */
	uint64_t revive_ns;	    /* when to try the other side again, CLOCK_MONOTONIC; 0: not */
	uint32_t revivals;	    /* that were tried in vain */
	struct fdstore *fds;
	uint64_t offered;	    /* virtio features */
	uint32_t n_queues;	    /* offered; an odd number when there is a control queue */
	bool has_control;	    /* it is offered */
	bool control_pending;	    /* @control has to be given to a device that begins anew */
	struct control_state control;
	uint32_t max_queue_size;
	bool lost;		    /* the device is away; it will come back by device_returned() */
	bool doorbell_allowed;	    /* by its operator; set after device_init() */
	bool relay_waits;	    /* a ring needs a relay, which waits for the end of postcopy */
	struct dirty_log *log;	    /* the state's log, mapped; NULL: none */
	struct inflight_map *inflight; /* the state's inflight area, mapped; NULL: none */
	struct device_relays *relays; /* NULL: no ring was relayed yet */
	struct device_iotlb *iotlb;   /* NULL: nothing was translated yet */

	/* Asks the front-end for a translation, or tells it of a refused access. Never waits, nor fails. */
	void (*say_miss)(struct device *d, const struct driver_miss *miss);

	/* Makes the state lasting in the middle of a change. Return: 0; negative: the process ends. */
	int (*checkpoint)(struct device *d);
};

/** device_section_init() - a device nobody has talked to. */
void device_section_init(struct device_section *state);

/**
 * device_section_check() - is this state one that the program could have written?
 * Return: 0, or -EBADMSG. For states that come from another process.
 */
int device_section_check(const struct device_section *state);

/** device_section_spans() - for struct page_section: rings and regions that are there. */
size_t device_section_spans(const void *section, struct page_span *ret);

/** device_section_slots() - set @used[slot] for every slot that @state names. */
void device_section_slots(const struct device_section *state, uint8_t *used);

/**
 * device_init() - bring state, driver and descriptors together.
 * @features, @max_pairs: what the operator lets the device offer at most; 0 pairs: all
 */
void device_init(struct device *d, struct device_section *state, struct driver_device *driver,
	struct fdstore *fds, uint64_t features, uint16_t max_pairs);

/**
 * device_set_side_fds() - the descriptors of @side, lent as for the driver's @open. For sides that have a
 * partner.
 */
void device_set_side_fds(struct device *d, enum device_side side, const int *fds, size_t n_fds);

/**
 * device_add_standby() - after device_init(): @driver stands by, and may be serving already by the state.
 * What is offered is what both can.
 * @errors: of each side: 0; -ENODEV it is gone; another one: it is broken
 * @features, @max_pairs: as device_init()
 */
void device_add_standby(struct device *d, struct driver_device *driver,
	const int errors[DEVICE_N_SIDES], uint64_t features, uint16_t max_pairs);

bool device_has_standby(const struct device *d);

/** device_side_is_well() - it works, as far as is known. */
bool device_side_is_well(const struct device *d, enum device_side side);

/** device_active_side() - which one serves. */
enum device_side device_active_side(const struct device *d);

/**
 * device_set_wish() - what the operator wants. device_update() follows.
 * @now: also if it was so before: what can be done is done without waiting for a good moment
 */
void device_set_wish(struct device *d, enum datapath_wish wish, bool now);

/**
 * device_resume_failover() - go on after a predecessor, before anything else is asked of either side: the
 * one that does not serve is reset, if that was due.
 */
void device_resume_failover(struct device *d);

/** device_side_gone(), device_side_failed() - @side says so. device_update() does what is to be done. */
void device_side_gone(struct device *d, enum device_side side);
void device_side_failed(struct device *d, enum device_side side);

/** device_side_returned() - as device_returned(), of @side. */
int device_side_returned(struct device *d, enum device_side side, const int *fds, size_t n_fds);

/**
 * device_failover_is_due() - has device_update() a reason to change sides now, or to find that neither can
 * serve? Looks after the other side when its time has come.
 */
bool device_failover_is_due(struct device *d);

/**
 * device_standby_can_answer() - the device is lost, and device_update() would go on with its standby.
 * Unlike device_failover_is_due() it looks after nobody: for the middle of a message, which may be refused.
 */
bool device_standby_can_answer(const struct device *d);

/** device_failover_deadline_ns() - when to ask again, CLOCK_MONOTONIC; 0: nothing is awaited. */
uint64_t device_failover_deadline_ns(const struct device *d);

/**
 * device_failover_reason() - why the side serves that does, and what is awaited, in words.
 * @ret: "" where there is nothing to say
 */
void device_failover_reason(const struct device *d, char *ret, size_t size);

bool device_is_packed(const struct device *d);

/** device_pairs() - receive and transmit pairs offered. */
uint32_t device_pairs(const struct device *d);

/**
 * device_control_ring() - the ring that is the control queue, as negotiated; UINT32_MAX: there is none.
 * Source: virtio 1.2, 5.1.2.
 */
uint32_t device_control_ring(const struct device *d);

/** device_ring_of() - the ring that the driver which serves calls @queue; UINT32_MAX: nobody's. */
uint32_t device_ring_of(const struct device *d, uint16_t queue);

/**
 * device_control_get() - what the guest's driver set through it, now or in its life before.
 * Return: false: nothing was ever set, or nobody knows.
 */
bool device_control_get(const struct device *d, struct control_state *ret);

/**
 * device_ring_goes_on() - the front-end is about to say where @ring, which does not run, goes on: @word,
 * not yet in the state. A control queue that begins anew is another driver's.
 */
void device_ring_goes_on(struct device *d, uint32_t ring, uint32_t word);
bool device_runs(const struct device *d);

/** device_state() - the state as people call it. */
enum device_state device_state(const struct device *d);

/** device_is_away() - lost or failed: nothing can be asked of the driver. */
bool device_is_away(const struct device *d);

/**
 * device_net_config(), device_set_mtu(), device_announce() - as the driver's calls of that name.
 * Return: 0; -EIO when the device failed; -EBUSY while it is away; another refusal of the driver's.
 */
int device_net_config(struct device *d, struct driver_net_config *ret);
int device_set_mtu(struct device *d, uint16_t mtu);
/** device_can_announce() - a device that cannot leaves it to its guest. */
bool device_can_announce(const struct device *d);
int device_announce(struct device *d, const uint8_t mac[6]);

/** device_update() - start and stop rings until what runs is what is wanted.
 * Return: 0; -EIO when the device failed, which the state then says. */
int device_update(struct device *d);

/**
 * device_set_memory() - replace the guest's memory, by difference.
 * @table: checked here; slots of its files are in fdstore
 *
 * What is the same stays mapped and rings there go on; rings in what goes away or moves stop for
 * the change, and run again if they still have memory. On failure all is as before.
 *
 * Return: 0; -EINVAL; -ENOSPC; -EIO.
 */
int device_set_memory(struct device *d, const struct memory_table *table);

/** device_can_postcopy() - can it work in memory whose pages are still on their way? */
bool device_can_postcopy(const struct device *d);

/**
 * device_postcopy_advise() - it may come to postcopy.
 * @ret_fd: the userfaultfd of the device, the caller's; that of an earlier call is closed
 * Return: 0; -EOPNOTSUPP; -EBUSY the device is away, or it is too late; -EIO.
 */
int device_postcopy_advise(struct device *d, int *ret_fd);

/**
 * device_postcopy_listen() - from here on nobody touches the guest's memory unless it can wait. May be
 * repeated while there is none.
 * Return: 0; -EBUSY not advised, memory is mapped, or pages are logged.
 */
int device_postcopy_listen(struct device *d);

/** device_postcopy_listens() - until device_postcopy_end(). */
bool device_postcopy_listens(const struct device *d);

/**
 * device_postcopy_tell() - where the device has one of its regions, for the front-end to know. While it
 * listens; no ring runs until device_postcopy_acknowledged().
 * Return: 0; -EBUSY the device is away; a refusal of the driver's; -EIO.
 */
int device_postcopy_tell(struct device *d, const struct memory_region *region, uint64_t *ret);

/** device_postcopy_waits() - for device_postcopy_acknowledged(). */
bool device_postcopy_waits(const struct device *d);

/** device_postcopy_acknowledged() - the front-end knows the addresses, if there were any. Return: 0; -EIO. */
int device_postcopy_acknowledged(struct device *d);

/** device_postcopy_end() - every page is there. Without anything before: no effect.
 * Return: 0; -EIO. */
int device_postcopy_end(struct device *d);

/** device_postcopy_reason() - why queues wait, in words; NULL: none does. */
const char *device_postcopy_reason(const struct device *d);

/** device_can_log() - can every page that is written be marked? */
bool device_can_log(const struct device *d);

/** device_log_open() - map the log that the state names. Return: 0, or a negative errno. */
int device_log_open(struct device *d);

/**
 * device_set_log() - where to mark pages.
 * @slot: of the log's file; the state's on success
 * @offset, @size: bytes; one bit for each 4096 bytes of guest-physical address
 *
 * When it returns, nothing is marked in the log of before any more, and every write is marked in the
 * one or the other. Return: 0; -EINVAL no memory, too short, or too small for the guest's memory or
 * the log addresses of its rings; -EIO.
 */
int device_set_log(struct device *d, int32_t slot, uint64_t offset, uint64_t size);

/** device_forget_log() - no log, no logging; nothing runs. */
void device_forget_log(struct device *d);

/**
 * device_negotiate() - what the guest's driver accepted, and whether each page is marked from now on: both or none.
 * @features: without the bits that belong to the transport
 * @logging: the front-end wants pages marked that are written
 * Return: 0; -EINVAL features that are not offered, there is no log and rings run, or it is too small; -EBUSY other
 * features than before while a ring runs, or the guest is still arriving by postcopy; -EIO. A change of the ring
 * layout forgets all ring descriptions. A device that takes the features, and then not the log, has failed.
 */
int device_negotiate(struct device *d, uint64_t features, bool logging);

/** device_can_note_inflight() - is it of use to note which chains are in flight? */
bool device_can_note_inflight(const struct device *d);

/** device_inflight_open() - map the area that the state names. Return: 0, or a negative errno. */
int device_inflight_open(struct device *d);

/** device_inflight_size() - bytes of an area with parts for @n_rings rings of @ring_size descriptors. */
uint64_t device_inflight_size(const struct device *d, uint32_t n_rings, uint32_t ring_size);

/**
 * device_set_inflight() - where to note chains in flight, in the place of the area before.
 * @slot: of the area's file; the state's on success
 * @offset, @size: bytes
 * @n_rings: 1..@d->n_queues; @ring_size: descriptors, 1..@d->max_queue_size
 * @resubmits: it is of a back-end before: rings go on where it says
 * Return: 0; -EINVAL no memory, too short, or no such shape; -EBUSY rings run, or pages are logged; an
 *         errno of filemap_open(). On failure nothing has changed.
 */
int device_set_inflight(struct device *d, int32_t slot, uint64_t offset, uint64_t size,
	uint32_t n_rings, uint32_t ring_size, bool resubmits);

/** device_forget_inflight() - chains are noted nowhere; nothing runs. */
void device_forget_inflight(struct device *d);

/** device_log_reaches() - does the log do for a ring with these flags and log address? */
bool device_log_reaches(const struct device *d, uint32_t index, uint32_t flags, uint64_t log_addr);

/**
 * device_relays_resume() - go on with the relays of a predecessor. A ring whose relay can't go on has
 * failed.
 */
void device_relays_resume(struct device *d);

/** device_eventfds_resume() - another process: tell a driver that forgets them the eventfds of running rings. */
void device_eventfds_resume(struct device *d);

/** device_relays_close() - release what this process has of them; what is kept stays. */
void device_relays_close(struct device *d);

/** device_relay_fd() - readable when a relay may have something to do; -1: no ring was relayed yet. */
int device_relay_fd(const struct device *d);

/**
 * device_relay_run() - move what there is, or a part of it.
 * @ret_failed: rings whose relay gave them up by this call; the state says so, and that they ever did is
 *		counted: the caller makes it lasting
 * Return: how many chains were given to the device or back to the guest; not 0: look again soon.
 */
uint32_t device_relay_run(struct device *d, struct queue_set *ret_failed);

/** device_says_positions() - does the device say where its queues stand? Else the used rings do. */
bool device_says_positions(const struct device *d);

/**
 * device_next_available() - where the next buffers of a ring will be put, by the ring that the device works on:
 * the guest's, or a relay's. See @next_available of struct driver_keeper.
 * @ret: @avail and @avail_wrap are written on success
 * Return: 0; -ENOENT no such ring was described, or it is a packed one of the guest's; -EBUSY; -EFAULT.
 */
int device_next_available(const struct device *d, uint32_t index, struct queue_position *ret);

/**
 * device_relay_position() - where a relayed ring stands in the guest's ring; the device knows its shadow only.
 * Return: false: this process relays no such ring, @ret is untouched.
 */
bool device_relay_position(const struct device *d, uint32_t index, struct queue_position *ret);

struct relay_stats;

/** device_relay_stats() - what its relay did. Return: false: as for device_relay_position(). */
bool device_relay_stats(const struct device *d, uint32_t index, struct relay_stats *ret);

/** device_relay_nap() - ask for no signals: the caller looks again soon by itself. */
void device_relay_nap(struct device *d);

/**
 * device_relay_sleep() - ask for signals.
 * Return: false: something came meanwhile, or a ring has to be polled: run again.
 */
bool device_relay_sleep(struct device *d);

/** device_datapath() - who serves the rings that run. */
enum datapath device_datapath(const struct device *d);

/** device_is_relayed() - software stands between a ring that runs and who serves it. */
bool device_is_relayed(const struct device *d);

/** device_relay_reason() - why software stands between; RELAY_REASON_NONE when it does not. */
enum relay_reason device_relay_reason(const struct device *d);

/**
 * device_suspend() - stop all rings that run, together, until device_unsuspend(). For a front-end that
 * is about to take back one after the other: none moves on while others were taken already.
 * Return: 0; -EIO.
 */
int device_suspend(struct device *d);

/** device_unsuspend() - those that are wanted run again with the next device_update(). */
void device_unsuspend(struct device *d);

/** device_stop_ring() - stop serving @index for good; its position is in the state then. */
int device_stop_ring(struct device *d, uint32_t index);

/** device_set_ring_fd() - replace a ring's eventfd by the one in @slot, FDSTORE_NONE for none. */
int device_set_ring_fd(struct device *d, uint32_t index, enum driver_queue_fd which, int32_t slot);

/**
 * device_stop_all() - as if every ring were stopped; descriptions stay. For a guest's reset, which
 * makes a failed device work again. Return: 0; -EIO when the device failed, or still does.
 */
int device_stop_all(struct device *d);

/** device_clear() - forget all that a guest's driver set; memory stays. */
int device_clear(struct device *d);

/** device_release() - forget everything; the device reaches no memory afterwards. */
int device_release(struct device *d);

/** device_fail() - the device does not work; @format says why. */
void device_fail(struct device *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** device_ring_failed() - the device gave @index up. */
void device_ring_failed(struct device *d, uint32_t index);

/** device_has_doorbell() - may a guest be given a page of the device, to kick it without us? */
bool device_has_doorbell(const struct device *d);

/**
 * device_open_doorbell() - let the guest kick @index by a page.
 * @ret_fd: the file, the caller's; @ret: where in it
 * From now on rings that are relayed are polled: what is rung nobody hears but the device.
 * Return: 0; -EOPNOTSUPP; -EBUSY the device is away; -EIO; another refusal.
 */
int device_open_doorbell(struct device *d, uint32_t index, int *ret_fd, uint64_t *ret);

/** device_close_doorbell() - nobody has a page any more. Return: 0; -EIO. */
int device_close_doorbell(struct device *d);

/**
 * device_iotlb_update() - the front-end translates a range of the driver's addresses.
 * @iova, @size: the range, bytes; @uva: where it is for the front-end; @perm: DRIVER_PERM_ bits
 * Return: 0; -EOPNOTSUPP nothing is to be translated; -EINVAL nonsense, or not all in memory; -EIO.
 */
int device_iotlb_update(struct device *d, uint64_t iova, uint64_t size, uint64_t uva, uint32_t perm);

/**
 * device_iotlb_invalidate() - a range is not translated any more. When it returns, the device uses
 * nothing of it, and rings that lie there stand still.
 * @size: may reach beyond the end of the address space. Return: 0; -EOPNOTSUPP; -EINVAL; -EIO.
 */
int device_iotlb_invalidate(struct device *d, uint64_t iova, uint64_t size);

/** device_iotlb_look() - what does @index wait for, or was given up for? Asks, or tells. */
void device_iotlb_look(struct device *d, uint32_t index);

/** device_iotlb_look_at_all() - the same of all rings: one waits, or a predecessor may have died before it asked. */
void device_iotlb_look_at_all(struct device *d);

/* What the front-end was asked to translate, and has not. */
struct device_iotlb_asked {
	uint64_t iova;
	uint32_t perm;	/* DRIVER_PERM_ bits */
	uint32_t times;
};

/** device_iotlb_asked() - the one with number @i. Return: false: there are not so many. */
bool device_iotlb_asked(const struct device *d, uint32_t i, struct device_iotlb_asked *ret);

/** device_iotlb_entries() - how many translations this process knows. */
uint32_t device_iotlb_entries(const struct device *d);

/** device_iotlb_close() - release the table of this process; the device keeps its own. */
void device_iotlb_close(struct device *d);

/** device_iotlb_deadline_ns() - when to ask again, CLOCK_MONOTONIC; 0: nothing is awaited. */
uint64_t device_iotlb_deadline_ns(const struct device *d);
void device_iotlb_ask_again(struct device *d);

/**
 * device_returned() - a device that was lost is there again: give it all that it had, and go on
 * where each ring stood.
 */
int device_returned(struct device *d, const int *fds, size_t n_fds);

/**
 * device_resume_return() - go on after a predecessor that died in device_returned(): the device is reset, and
 * given all. It may also be lost, or be found to be another one; then that comes first.
 */
void device_resume_return(struct device *d);

#endif

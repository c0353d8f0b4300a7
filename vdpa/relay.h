/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay: one queue's ring passed on in software, so that each page the device writes can be
 * logged. The device works on a shadow ring, of the guest's layout, size and features; chains are
 * copied to it and their completions back, buffers stay where they are.
 *
 * What must outlive the process is in one block, which the caller keeps: `kept` memory, of which
 * the device reaches the part that is its shadow ring. All calls are made by one thread.
 *
 *   relay_open(FRESH) -> relay_device_queue() -> driver's prepare, start
 *   loop: relay_run() until nothing moves; relay_sleep(); wait for the guest's kick and our call
 *   driver's stop -> relay_finish() -> the position where any device goes on in the guest's ring
 *
 * After a crash: relay_open(RESUME) with the same block; the device ran on meanwhile.
 */
#ifndef VDPA_RELAY_H
#define VDPA_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vdpa/dirty_log.h"
#include "vdpa/driver.h"
#include "vdpa/guestmem.h"
#include "vdpa/queue.h"

struct relay;

/* Bytes of kept memory; each is a whole number of pages. */
struct relay_kept_layout {
	uint64_t size;          /* all of it */
	uint64_t shadow_offset; /* what the device is to reach */
	uint64_t shadow_size;
};

/** relay_kept_layout() - how much memory a relay needs. @size: as ring_size_ok() has it. */
struct relay_kept_layout relay_kept_layout(uint32_t size, bool packed);

/**
 * struct relay_setup - the ring to pass on.
 * @memory:	 the guest's; outlives the relay
 * @features:	 negotiated with the guest
 * @size:	 descriptors
 * @desc, @driver, @device: guest-physical, as in struct driver_queue
 * @position:	 RELAY_FRESH: where the device before stood in the guest's ring. Chains between used
 *		 and available are taken for lost: make both equal where that device works in order
 * @shadow_iova: where the device reaches the shadow part
 * @inflight:	 this ring's part of the inflight area (vdpa/inflight.h), or NULL; outlives the relay
 * @resubmits:	 RELAY_FRESH: the part is of another back-end; what it left in flight is given to the
 *		 device once more, before anything else, and the part says where to go on
 * @call_fd:	 the guest's eventfd, may be -1; hostile; lent
 * @device_fd:	 eventfd that wakes the device, non-blocking, may be -1; lent
 */
struct relay_setup {
	struct guestmem *memory;
	uint64_t features;
	uint32_t size;
	uint64_t desc, driver, device;
	struct queue_position position;
	uint64_t shadow_iova;
	uint8_t *inflight;
	bool resubmits;
	int call_fd;
	int device_fd;
};

enum relay_begin {
	RELAY_FRESH,  /* @kept holds nothing yet */
	RELAY_RESUME, /* @kept is of a relay whose process ended */
};

/* What one relay_run() did. */
struct relay_work {
	uint32_t offered;  /* chains given to the device */
	uint32_t returned; /* chains given back to the guest */
	bool more;         /* the budget was the limit: run again */
};

struct relay_stats {
	uint64_t offered, returned; /* chains, since the relay was fresh */
	uint64_t offer_batches, return_batches;
	uint64_t kicks, calls;
	uint64_t waits;     /* times the shadow ring had no room for a chain */
	uint64_t clamped;   /* completions that said more bytes than the chain takes */
	uint64_t resubmitted; /* chains of another back-end that were given to the device */
	uint64_t forced;    /* chains completed empty because they could not be taken back */
	uint32_t in_flight; /* chains that the device has */
};

/**
 * relay_open() - take over one queue.
 * @kept: as large as relay_kept_layout() says, on a page boundary; the caller's
 * @ret:  released by relay_close()
 *
 * A relay that resumes signals both sides once, since its predecessor may have died before it did.
 * It marks what the predecessor may have written when relay_set_log() names a log.
 *
 * Return: 0; -EINVAL a size or position that no ring has; -EFAULT an area of the ring is not in one
 *         region of guest memory, or not aligned; -EEXIST guest memory lies where the shadow ring
 *         is to be; -EBADMSG @kept is nothing a relay of this ring has left, or @inflight contradicts
 *         itself; -ENOMEM.
 */
int relay_open(
	const struct relay_setup *setup, void *kept, enum relay_begin begin, struct relay **ret);

/** relay_close() - release the relay, not what is kept. Accepts NULL. */
void relay_close(struct relay *r);

/**
 * relay_device_queue() - the shadow ring, for driver's prepare.
 * @q: size, desc, driver, device and position are written; the position is that of a fresh ring
 *     until something was returned
 *
 * A device that stopped, or another one, goes on at that position with what was not completed.
 *
 * Return: 0; -EBUSY completions wait, or one left out chains that were offered before it: run, or
 *         finish and open a fresh relay.
 */
int relay_device_queue(const struct relay *r, struct driver_queue *q);

/**
 * relay_set_log() - from now on mark pages in @log, NULL for nowhere. Also while it runs.
 * @log:      stays the caller's, who may close the one before afterwards
 * @ring:     also mark what is written to the ring itself
 * @log_addr: address in the log of the used ring (packed: of the device event area)
 * Return: 0; -EINVAL the log does not reach the ring; then nothing has changed.
 */
int relay_set_log(struct relay *r, struct dirty_log *log, bool ring, uint64_t log_addr);

/** relay_set_call_fd() - another eventfd of the guest's, -1 for none; it is signalled once. */
void relay_set_call_fd(struct relay *r, int fd);

/**
 * relay_run() - move what there is, in both directions, and signal who wants that.
 * @budget: chains to offer at most; all completions that wait are handed over
 *
 * Return: 0; -EBADMSG the guest's ring breaks the rules; -EPROTO the device's does; -EFAULT guest
 *         memory is gone; -EEXIST guest memory came to where the shadow ring is. After a failure
 *         relay_reason() has it in words, and relay_run() goes on failing; relay_finish() works.
 */
int relay_run(struct relay *r, uint32_t budget, struct relay_work *ret);

/**
 * relay_run_after() - as relay_run(), but the device gets no chain of @r's before what the guest
 *		       had offered in @first's ring earlier, as far as the shadow ring has room.
 * @first: NULL: no other ring. It was run since guest memory changed; when it fails here its own
 *	   relay_run() says so.
 */
int relay_run_after(struct relay *r, struct relay *first, uint32_t budget, struct relay_work *ret);

/** relay_reason() - why relay_run() failed, or NULL. */
const char *relay_reason(const struct relay *r);

/** relay_nap() - ask both sides for no notifications: the caller runs it again soon by itself. */
void relay_nap(struct relay *r);

/**
 * relay_sleep() - ask both sides for notifications.
 * Return: true: nothing is to be done until the guest kicks or the device calls; false: run again.
 */
bool relay_sleep(struct relay *r);

/**
 * relay_finish() - the device has stopped: leave the guest's ring to another one.
 * @device: where it stopped in the shadow ring, which tells what it may have written to without
 *	    completing it; NULL when nobody knows
 * @ret:    where a device can go on in the guest's ring; written on success
 *
 * Hands all completions over. Takes back what the device did not complete, as far as that was made
 * available after all that it did complete. What lies between is completed with length 0; there is
 * nothing of that kind when the device works in order.
 *
 * The guest is asked to kick; kicks that came meanwhile are gone, so wake the next device once.
 * May be repeated, also after a crash, with the same result.
 *
 * Return: 0; -EPROTO the device's completions make no sense; -EFAULT guest memory is gone.
 */
int relay_finish(struct relay *r, const struct queue_position *device, struct queue_position *ret);

/** relay_position() - where the relay stands in the guest's ring. */
struct queue_position relay_position(const struct relay *r);

/** relay_next_offered() - where the next chain will be offered in the shadow ring: @avail, and packed @avail_wrap. */
struct queue_position relay_next_offered(const struct relay *r);

void relay_stats(const struct relay *r, struct relay_stats *ret);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay, apart from what a layout does differently.
 *
 * Each direction moves batches from one mark to the next, in this order:
 *   1. chains or completions are read once, checked, and noted in kept memory;
 *   2. the mark where the batch will end is proposed;
 *   3. entries are written where nobody looks yet, then the one index or flags that show them;
 *   4. after a full barrier the other side's wish for a signal is read, and pages are marked;
 *   5. the proposed mark holds, by one store; cells of returned chains are free.
 *
 * Buffers' pages are marked in step 1: what the device wrote is visible by then. The ring's own are
 * marked after step 3, as dirty_log.h says why; a successor marks all of the ring.
 *
 * A process may end between any two stores. Was it before 3 was over, nobody has seen the batch and
 * the next process begins it again from the same sources, which cells that are not free protect;
 * was it after, the ring itself says so and the proposed mark is made to hold. So each chain is
 * offered once and returned once. How the ring says so: relay_split.c, relay_packed.c. Whatever
 * was not signalled is signalled by the next process at once.
 *
 * Completions are handed over as far as they can be seen, never a part: a device shows the buffers
 * of one frame together, and so does the relay.
 */
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/eventfd.h"
#include "vdpa/base/ringareas.h"
#include "vdpa/relay_internal.h"
#include "vdpa/ring.h"

static void signal_device(struct relay *r)
{
	uint64_t one = 1;

	r->stats.kicks++;
	if (r->setup.device_fd >= 0 && write(r->setup.device_fd, &one, sizeof(one)) < 0)
		return; /* full: signalled already */
}

static void signal_guest(struct relay *r)
{
	r->stats.calls++;
	eventfd_signal_lent(r->setup.call_fd);
}

static void *area(struct relay *r, enum ring_area which, uint64_t gpa)
{
	const struct ring_area_facts facts = ring_area_facts(which, r->size, r->setup.features);
	void *at = gpa % facts.align == 0 ? guestmem_at(r->memory, gpa, facts.size) : NULL;

	return (uintptr_t)at % facts.align == 0 ? at : NULL;
}

int relay_bind_memory(struct relay *r)
{
	const struct relay_setup *s = &r->setup;

	if (guestmem_overlaps(
		    r->memory, s->shadow_iova, relay_kept_layout(r->size, r->packed).shadow_size))
		return -EEXIST;
	r->desc = area(r, RING_DESC, s->desc);
	r->driver = area(r, RING_DRIVER, s->driver);
	r->device = area(r, RING_DEVICE, s->device);
	if (!r->desc || !r->driver || !r->device)
		return -EFAULT;
	r->generation = r->memory->generation;
	return 0;
}

static bool setup_ok(const struct relay_setup *s, bool packed)
{
	return ring_size_ok(s->size, packed) &&
	       range_ok(s->shadow_iova, relay_kept_layout(s->size, packed).shadow_size);
}

static bool position_ok(const struct relay_setup *s, bool packed)
{
	const struct queue_position *p = &s->position;

	return packed ? p->avail < s->size && p->used < s->size
		      : (uint16_t)(p->avail - p->used) <= s->size;
}

static struct relay *relay_new(const struct relay_setup *s)
{
	struct relay *r = calloc(1, sizeof(*r));
	uint32_t capacity = 1;

	if (!r)
		return NULL;
	while (capacity < s->size)
		capacity *= 2;
	r->setup = *s;
	r->memory = s->memory;
	r->size = s->size;
	r->mask = (uint16_t)(s->size - 1);
	r->packed = s->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	r->indirect = s->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	r->event_idx = s->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	r->in_order = s->features & BIT_ULL(VIRTIO_F_IN_ORDER);
	r->layout = r->packed ? &relay_packed : &relay_split;
	r->free_mask = capacity - 1;
	r->free = calloc(capacity, sizeof(*r->free));
	r->order = calloc(capacity, sizeof(*r->order));
	r->batch = calloc(s->size, sizeof(*r->batch));
	r->inflight.at = s->inflight;
	r->inflight.size = s->size;
	r->inflight.packed = r->packed;
	if (s->inflight && r->packed)
		r->descs = calloc(s->size, sizeof(*r->descs));
	if (r->free && r->order && r->batch && (r->descs || !s->inflight || !r->packed))
		return r;
	relay_close(r);
	return NULL;
}

void relay_close(struct relay *r)
{
	if (!r)
		return;
	free(r->free);
	free(r->order);
	free(r->batch);
	free(r->descs);
	free(r);
}

static void cleanup_relay(struct relay **r)
{
	relay_close(*r);
}

int relay_open(
	const struct relay_setup *setup, void *kept, enum relay_begin begin, struct relay **ret)
{
	bool packed = setup->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	__attribute__((cleanup(cleanup_relay))) struct relay *r = NULL;
	int e;

	if (!setup_ok(setup, packed) || (begin == RELAY_FRESH && !position_ok(setup, packed)))
		return -EINVAL;
	r = relay_new(setup);
	if (!r)
		return -ENOMEM;
	e = relay_bind_memory(r);
	if (e < 0)
		return e;
	relay_kept_locate(r, kept);
	if (begin == RELAY_FRESH) {
		relay_kept_init(r);
	} else {
		e = relay_kept_check(r);
		if (e < 0)
			return e;
		r->resumed = true;
		signal_device(r);
		signal_guest(r);
	}
	e = relay_inflight_open(r, begin);
	if (e < 0)
		return e;
	*ret = TAKE_PTR(r);
	return 0;
}

int relay_set_log(struct relay *r, struct dirty_log *log, bool ring, uint64_t log_addr)
{
	if (log && ring && !r->layout->log_reaches(r, log, log_addr))
		return -EINVAL;
	r->log = log;
	r->log_ring = ring;
	r->log_addr = log_addr;
	if (r->resumed && log && ring) {
		r->layout->log_all(r);
		r->resumed = false;
	}
	return 0;
}

void relay_set_call_fd(struct relay *r, int fd)
{
	r->setup.call_fd = fd;
	signal_guest(r);
}

static void offer_all(struct relay *r)
{
	while (r->fault == 0 && relay_offer_batch(r, RELAY_BATCH) == RELAY_BATCH)
		;
}

/* What was read of @first after the batch holds all that the guest had offered before it. */
static uint32_t offer_batch(struct relay *r, struct relay *first, uint32_t max)
{
	struct relay_mark next = r->offered;
	uint32_t n;
	bool wanted;

	r->waits_for_room = false;
	n = r->layout->offer(r, max, &next);
	r->stats.waits += r->waits_for_room;
	if (n == 0)
		return 0;
	if (first)
		offer_all(first);

	relay_propose(&r->kept->offered, &next);
	relay_step_hook(RELAY_STEP_OFFER_PROPOSED);
	r->layout->offer_publish(r, &next);
	relay_step_hook(RELAY_STEP_OFFER_PUBLISHED);
	wanted = r->layout->device_wants_kick(r, &next);
	relay_hold(&r->kept->offered, &r->offered, &next);
	relay_step_hook(RELAY_STEP_OFFER_HOLDS);
	r->stats.offer_batches++;
	if (wanted)
		signal_device(r);
	relay_step_hook(RELAY_STEP_DEVICE_KICKED);
	return n;
}

uint32_t relay_offer_batch(struct relay *r, uint32_t max)
{
	return offer_batch(r, NULL, max);
}

int relay_return_batch(struct relay *r)
{
	struct relay_mark next = r->returned;
	bool wanted;
	int e;

	r->n_batch = 0;
	e = r->layout->collect(r, &next);
	if (r->n_batch == 0)
		return e;

	relay_propose(&r->kept->returned, &next);
	relay_inflight_return(r, &next);
	relay_step_hook(RELAY_STEP_RETURN_PROPOSED);
	r->layout->return_publish(r, &next);
	relay_step_hook(RELAY_STEP_RETURN_PUBLISHED);
	wanted = r->layout->guest_wants_call(r, &next);
	r->layout->log_returned(r, &next);
	relay_inflight_returned(r, &next);
	relay_step_hook(RELAY_STEP_RETURN_LOGGED);
	relay_hold(&r->kept->returned, &r->returned, &next);
	relay_step_hook(RELAY_STEP_RETURN_HOLDS);
	relay_free_batch(r);
	r->stats.return_batches++;
	if (wanted)
		signal_guest(r);
	relay_step_hook(RELAY_STEP_GUEST_CALLED);
	return e;
}

static void refuse_notifications(struct relay *r)
{
	r->layout->ask_guest(r, false);
	r->layout->ask_device(r, false);
}

/* Of two runs in a row that found work the second tells both sides not to notify. */
static void note_work(struct relay *r, const struct relay_work *work)
{
	if (work->offered == 0 && work->returned == 0)
		return;
	r->busy++;
	if (r->busy == 2)
		refuse_notifications(r);
}

static int check_memory(struct relay *r)
{
	int e = 0;

	if (guestmem_lost(r->memory))
		return relay_fault(r, -EFAULT, "a file of the guest's memory was cut short");
	if (r->generation != r->memory->generation)
		e = relay_bind_memory(r);
	if (e == 0)
		return 0;
	return relay_fault(r, e,
		e == -EEXIST ? "guest memory came to where the shadow ring is"
			     : "the ring is not in the guest's memory any more");
}

static bool guest_has(const struct relay *r)
{
	return relay_backlog_left(r, r->offered.chains) > 0 || r->layout->guest_has(r);
}

int relay_run_after(struct relay *r, struct relay *first, uint32_t budget, struct relay_work *ret)
{
	struct relay_work work = { 0 };

	*ret = work;
	if (r->fault == 0 && check_memory(r) == 0)
		relay_return_batch(r);
	if (r->fault < 0)
		return r->fault;
	work.returned = r->n_batch;
	while (work.offered < budget && r->fault == 0) {
		uint32_t left = budget - work.offered,
			 max = left < RELAY_BATCH ? left : RELAY_BATCH;
		uint32_t n = offer_batch(r, first, max);

		work.offered += n;
		if (n < max)
			break;
	}
	work.more = work.offered == budget && guest_has(r);
	note_work(r, &work);
	check_memory(r);
	*ret = work;
	return r->fault;
}

int relay_run(struct relay *r, uint32_t budget, struct relay_work *ret)
{
	return relay_run_after(r, NULL, budget, ret);
}

const char *relay_reason(const struct relay *r)
{
	return r->reason;
}

void relay_nap(struct relay *r)
{
	if (r->fault < 0 || r->busy >= 2)
		return;
	r->busy = 2;
	refuse_notifications(r);
}

bool relay_sleep(struct relay *r)
{
	if (r->fault < 0)
		return true;
	r->busy = 0;
	r->layout->ask_guest(r, true);
	r->layout->ask_device(r, true);
	relay_step_hook(RELAY_STEP_ASKED);
	return !r->layout->device_has(r) && (r->waits_for_room || !guest_has(r));
}

struct queue_position relay_position(const struct relay *r)
{
	return (struct queue_position){
		.avail = r->offered.guest,
		.used = r->returned.guest,
		.avail_wrap = r->offered.guest_wrap,
		.used_wrap = r->returned.guest_wrap,
	};
}

void relay_stats(const struct relay *r, struct relay_stats *ret)
{
	*ret = r->stats;
	ret->offered = r->offered.chains;
	ret->returned = r->returned.chains;
	ret->resubmitted = r->n_backlog - relay_backlog_left(r, r->offered.chains);
	ret->in_flight = relay_in_flight(r);
}

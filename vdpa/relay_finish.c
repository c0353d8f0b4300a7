/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's end: what the guest's ring must say so that another device can go on in it.
 *
 * A position tells nothing but how far a device got. So chains can be taken back only from the
 * newest on, as far as none in between was completed. Those before are completed in the shadow ring
 * in the device's name, empty, and then handed over like any others, so that a crash in the middle
 * is no different from one in the middle of relaying.
 */
#include "vdpa/relay_internal.h"

uint32_t relay_n_untaken(const struct relay *r)
{
	uint64_t at = r->offered.chains;

	while (at > 0 && r->offered.chains - at < r->size) {
		uint16_t id = relay_order_at(r, at);

		if (!relay_is_in_flight(r, id) || r->flights[id].offered != at)
			break;
		at--;
	}
	return (uint32_t)(r->offered.chains - at);
}

static int return_all(struct relay *r)
{
	int e;

	do {
		e = relay_return_batch(r);
	} while (e == 0 && r->n_batch > 0);
	return e;
}

/* Completes what was made available before something that the device completed. */
static int complete_stragglers(struct relay *r, uint64_t before)
{
	struct relay_mark at = r->returned;
	uint64_t first = at.chains + 1;

	for (uint32_t i = 0; i < r->size; i++) {
		uint16_t id = r->in_order ? relay_order_at(r, first + i) : (uint16_t)i;

		if (!relay_is_in_flight(r, id) || r->flights[id].offered > before ||
			(r->in_order && r->flights[id].offered != first + i))
			continue;
		if (r->log)
			relay_log_buffers(r, id, r->flights[id].writable);
		r->layout->complete(r, id, &at);
		r->stats.forced++;
		relay_step_hook(RELAY_STEP_FORCED);
	}
	return return_all(r);
}

/* The newest @n chains are the guest's again. What the device had taken it may have written to. */
static void take_back(
	struct relay *r, uint32_t n, const struct queue_position *device, struct relay_mark *mark)
{
	uint64_t n_taken = device ? r->layout->n_taken(r, device) : r->offered.chains;

	for (uint64_t at = r->offered.chains; at > r->offered.chains - n; at--) {
		uint16_t id = relay_order_at(r, at);

		if (r->log && at <= n_taken)
			relay_log_buffers(r, id, r->flights[id].writable);
		r->layout->step_back(r, &r->flights[id], mark);
	}
}

/*
 * What another back-end left can't be taken back: the ring has no place for it. What of it was not
 * offered yet is offered now, to nobody, and completed.
 */
static int complete_backlog(struct relay *r)
{
	int e = complete_stragglers(r, r->n_backlog);

	while (e == 0 && relay_backlog_left(r, r->offered.chains) > 0) {
		if (relay_offer_batch(r, relay_backlog_left(r, r->offered.chains)) == 0)
			return r->fault ? r->fault : -EPROTO;
		e = complete_stragglers(r, r->n_backlog);
	}
	return e;
}

int relay_finish(struct relay *r, const struct queue_position *device, struct queue_position *ret)
{
	struct relay_mark mark;
	uint32_t n;
	int e;

	if (r->generation != r->memory->generation && relay_bind_memory(r) < 0)
		return relay_fault(r, -EFAULT, "the ring is not in the guest's memory any more");
	e = return_all(r);
	if (e == 0 && r->n_backlog > 0)
		e = complete_backlog(r);
	if (e < 0)
		return e;
	n = relay_n_untaken(r);
	mark = r->offered;
	take_back(r, n, device, &mark);
	e = complete_stragglers(r, r->offered.chains - n);
	if (e < 0)
		return e;
	relay_inflight_taken_back(r);
	r->layout->ask_guest(r, true);
	relay_step_hook(RELAY_STEP_FINISHED);
	if (guestmem_lost(r->memory))
		return relay_fault(r, -EFAULT, "a file of the guest's memory was cut short");
	*ret = (struct queue_position){
		.avail = mark.guest,
		.used = r->returned.guest,
		.avail_wrap = mark.guest_wrap,
		.used_wrap = r->returned.guest_wrap,
	};
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay as the keeper of an inflight area: a chain is noted before the device sees it, and
 * struck out after the guest has it back, so that another back-end, which knows nothing but the area
 * and the ring, goes on with the same chains.
 *
 * What another back-end left comes first. Its chains are behind the available position already, so
 * they are offered without moving it, and the first chains offered are they: how many of them were
 * is no state of its own.
 *
 * A successor in the same conversation does not read the area: it knows from what is kept which
 * chains are in flight, and has the area say that.
 */
#include <stdlib.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/relay_internal.h"

static struct queue_position used_at(const struct relay_mark *mark)
{
	return (struct queue_position){ .used = mark->guest, .used_wrap = mark->guest_wrap };
}

/* Has the area say what is in flight. */
static int begin_with(struct relay *r, struct inflight_chain *chains)
{
	uint32_t n = 0;

	for (uint32_t id = 0; id < r->size; id++) {
		if (relay_is_in_flight(r, (uint16_t)id))
			chains[n++] = (struct inflight_chain){ r->flights[id].noted, r->flights[id].n_guest };
	}
	for (uint64_t i = r->offered.chains; i < r->n_backlog && n < r->size; i++)
		chains[n++] = r->backlog[i];
	return inflight_begin(&r->inflight, chains, n, used_at(&r->returned));
}

/* Numbers of chains go on behind all that there may be in the area. */
static void choose_counter(struct relay *r, enum relay_begin begin)
{
	if (begin == RELAY_FRESH)
		r->kept->first_counter = r->inflight.counter;
	else
		r->inflight.counter = r->kept->first_counter + r->offered.chains;
}

static int find_backlog(struct relay *r)
{
	struct queue_position at = r->setup.position;
	int e = inflight_find(&r->inflight, r->desc, &at, r->backlog, &r->n_backlog);

	if (e < 0)
		return e;
	r->kept->n_backlog = r->n_backlog;
	relay_kept_place(r, at);
	r->layout->reclaim(r);
	r->resumed = true;
	return 0;
}

int relay_inflight_open(struct relay *r, enum relay_begin begin)
{
	_cleanup_free_ struct inflight_chain *chains = NULL;
	int e = 0;

	if (!r->inflight.at)
		return r->n_backlog > r->offered.chains ? -EBADMSG : 0;
	chains = calloc(r->size, sizeof(*chains));
	if (!chains)
		return -ENOMEM;
	if (begin == RELAY_FRESH && r->setup.resubmits)
		e = find_backlog(r);
	choose_counter(r, begin);
	return e < 0 ? e : begin_with(r, chains);
}

void relay_inflight_take(struct relay *r, struct relay_flight *f)
{
	if (f->offered <= r->n_backlog) { /* noted already */
		f->noted = r->backlog[f->offered - 1].name;
	} else if (r->packed) {
		f->noted = inflight_take_packed(&r->inflight, r->descs, f->n_guest);
	} else {
		f->noted = f->guest_id;
		inflight_take_split(&r->inflight, f->guest_id);
	}
}

void relay_inflight_return(struct relay *r, const struct relay_mark *next)
{
	if (!r->inflight.at)
		return;
	for (uint32_t i = 0; i < r->n_batch; i++) {
		const struct relay_flight *f = &r->flights[r->batch[i].id];

		inflight_link(&r->inflight, f->noted, f->n_guest);
	}
	inflight_propose(&r->inflight, used_at(next));
}

void relay_inflight_returned(struct relay *r, const struct relay_mark *next)
{
	if (!r->inflight.at)
		return;
	for (uint32_t i = 0; i < r->n_batch; i++)
		inflight_clear(&r->inflight, r->flights[r->batch[i].id].noted);
	inflight_settle(&r->inflight, used_at(next));
}

void relay_inflight_taken_back(struct relay *r)
{
	if (!r->inflight.at)
		return;
	for (uint32_t id = 0; id < r->size; id++) {
		if (relay_is_in_flight(r, (uint16_t)id))
			inflight_link(&r->inflight, r->flights[id].noted, r->flights[id].n_guest);
	}
	inflight_propose(&r->inflight, used_at(&r->returned));
	for (uint32_t id = 0; id < r->size; id++) {
		if (relay_is_in_flight(r, (uint16_t)id))
			inflight_clear(&r->inflight, r->flights[id].noted);
	}
	inflight_settle(&r->inflight, used_at(&r->returned));
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's section of the state page: what it looks like at the beginning, what is believed of one
 * that another process wrote, which slots it names, and which of its bytes mean something.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "vdpa/device_internal.h"
#include "vdpa/ring.h"

void ring_state_init(struct ring_state *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->kick_slot = FDSTORE_NONE;
	ring->call_slot = FDSTORE_NONE;
	ring->err_slot = FDSTORE_NONE;
}

void device_section_init(struct device_section *state)
{
	memset(state, 0, sizeof(*state));
	for (size_t i = 0; i < DEVICE_DRIVER_SLOTS; i++)
		state->driver_slots[i] = FDSTORE_NONE;
	for (size_t i = 0; i < QUEUE_MAX; i++)
		ring_state_init(&state->rings[i]);
}

void device_section_forget(struct device_section *state)
{
	const uint32_t n_rings = state->n_rings;
	const struct migration_record migration = state->migration;
	const struct carried_device carried = state->carried;
	const struct kept_failover failover = state->failover;
	struct carried_queue carried_queues[QUEUE_MAX];
	uint8_t driver[sizeof(state->driver)];
	int32_t driver_slots[DEVICE_DRIVER_SLOTS];

	memcpy(carried_queues, state->carried_queues, sizeof(carried_queues));
	memcpy(driver, state->driver, sizeof(driver));
	memcpy(driver_slots, state->driver_slots, sizeof(driver_slots));
	device_section_init(state);
	state->n_rings = n_rings;
	state->migration = migration;
	state->carried = carried;
	state->failover = failover;
	memcpy(state->carried_queues, carried_queues, sizeof(carried_queues));
	memcpy(state->driver, driver, sizeof(driver));
	memcpy(state->driver_slots, driver_slots, sizeof(driver_slots));
}

static bool slot_ok(int32_t slot)
{
	return slot >= FDSTORE_NONE && slot < FDSTORE_MAX_SLOTS;
}

static bool relay_slots_ok(const struct kept_relay *kept)
{
	return kept->kept_slot >= RELAY_NO_SLOT && slot_ok(kept->kept_slot) &&
	       kept->kick_slot >= RELAY_NO_SLOT && slot_ok(kept->kick_slot) &&
	       kept->call_slot >= RELAY_NO_SLOT && slot_ok(kept->call_slot);
}

static int failover_check(const struct kept_failover *f)
{
	if (f->active >= DEVICE_N_SIDES || f->wish >= WISH_N || f->relayed > 1 || f->stale > 1 ||
		f->returned > 1 || f->now > 1 || memchr(f->reason, '\0', sizeof(f->reason)) == NULL)
		return -EBADMSG;
	for (size_t i = 0; i < DEVICE_DRIVER_SLOTS; i++) {
		if (f->standby_slots[i] < DEVICE_NO_KEPT || !slot_ok(f->standby_slots[i]))
			return -EBADMSG;
	}
	return 0;
}

int device_section_check(const struct device_section *state)
{
	bool packed = state->features & BIT_ULL(VIRTIO_F_RING_PACKED);

	if (state->memory.n_regions > MEMORY_MAX_REGIONS || state->n_rings > QUEUE_MAX ||
		memory_table_check(&state->memory) < 0 ||
		memchr(state->reason, '\0', sizeof(state->reason)) == NULL)
		return -EBADMSG;
	for (size_t i = 0; i < state->memory.n_regions; i++) {
		if (!slot_ok(state->memory.regions[i].slot))
			return -EBADMSG;
	}
	for (size_t i = 0; i < DEVICE_DRIVER_SLOTS; i++) {
		if (!slot_ok(state->driver_slots[i]))
			return -EBADMSG;
	}
	if (failover_check(&state->failover) < 0)
		return -EBADMSG;
	if (migration_check(&state->migration) < 0 || state->logging > 1 || state->suspended > 1 ||
		state->log_slot < DEVICE_NO_LOG || !slot_ok(state->log_slot) ||
		state->inflight.slot < DEVICE_NO_INFLIGHT || !slot_ok(state->inflight.slot))
		return -EBADMSG;
	if (state->postcopy >= POSTCOPY_N_PHASES || state->postcopy_blind > 1 || state->doorbell > 1 ||
		state->control_used > 1)
		return -EBADMSG;
	for (size_t i = 0; i < QUEUE_MAX; i++) {
		const struct ring_state *ring = &state->rings[i];
		bool serves = ring->running || state->relays[i].kept_slot != RELAY_NO_SLOT;

		if (!slot_ok(ring->kick_slot) || !slot_ok(ring->call_slot) ||
			!slot_ok(ring->err_slot) ||
			(ring->size > 0 && !ring_size_ok(ring->size, packed || !serves)))
			return -EBADMSG;
		if (!relay_slots_ok(&state->relays[i]) ||
			(state->relays[i].kept_slot != RELAY_NO_SLOT && ring->size == 0))
			return -EBADMSG;
	}
	return 0;
}

size_t device_section_spans(const void *section, struct page_span *ret)
{
	const struct device_section *state = section;
	const size_t rings = offsetof(struct device_section, rings);
	const size_t memory = offsetof(struct device_section, memory);
	const size_t regions = offsetof(struct memory_table, regions);
	const size_t relays = offsetof(struct device_section, relays);
	const size_t carried = offsetof(struct device_section, carried_queues);
	const size_t places = offsetof(struct device_section, places);

	ret[0] = (struct page_span){ .size = rings + state->n_rings * sizeof(state->rings[0]) };
	ret[1] = (struct page_span){ .start = memory,
		.size = regions + state->memory.n_regions * sizeof(state->memory.regions[0]) };
	ret[2] = (struct page_span){ .start = memory + sizeof(state->memory),
		.size = relays + state->n_rings * sizeof(state->relays[0]) - memory -
			sizeof(state->memory) };
	ret[3] = (struct page_span){ .start = offsetof(struct device_section, inflight),
		.size = carried + state->n_rings * sizeof(state->carried_queues[0]) -
			offsetof(struct device_section, inflight) };
	ret[4] = (struct page_span){ .start = offsetof(struct device_section, postcopy),
		.size = places + state->n_rings * sizeof(state->places[0]) -
			offsetof(struct device_section, postcopy) };
	return 5;
}

static void mark_slot(int32_t slot, uint8_t *used)
{
	if (slot >= 0)
		used[slot] = 1;
}

static void mark_relay_slots(const struct kept_relay *kept, uint8_t *used)
{
	if (kept->kept_slot == RELAY_NO_SLOT)
		return;
	mark_slot(kept->kept_slot, used);
	mark_slot(kept->kick_slot, used);
	mark_slot(kept->call_slot, used);
}

void device_section_slots(const struct device_section *state, uint8_t *used)
{
	for (size_t i = 0; i < QUEUE_MAX; i++) {
		mark_slot(state->rings[i].kick_slot, used);
		mark_slot(state->rings[i].call_slot, used);
		mark_slot(state->rings[i].err_slot, used);
		mark_relay_slots(&state->relays[i], used);
	}
	for (size_t i = 0; i < state->memory.n_regions; i++)
		mark_slot(state->memory.regions[i].slot, used);
	for (size_t i = 0; i < DEVICE_DRIVER_SLOTS; i++)
		mark_slot(state->driver_slots[i], used);
	for (size_t i = 0; i < DEVICE_DRIVER_SLOTS; i++) {
		if (state->failover.standby_slots[i] != DEVICE_NO_KEPT)
			mark_slot(state->failover.standby_slots[i], used);
	}
	if (state->log_slot != DEVICE_NO_LOG)
		mark_slot(state->log_slot, used);
	if (state->inflight.slot != DEVICE_NO_INFLIGHT)
		mark_slot(state->inflight.slot, used);
}

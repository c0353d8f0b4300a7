/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether the driver double has, and runs, what the state says. */
#include <string.h>

#include "tests/fuzz/driver_internal.h"
#include "vdpa/relay.h"

static bool has_map(
	const struct fuzz_driver *d, uint64_t iova, uint64_t size, const struct memory_region *file)
{
	for (size_t i = 0; i < d->n_maps; i++) {
		const struct fuzz_map *map = &d->maps[i];

		if (map->is.iova == iova && map->is.size == size)
			return !file || (map->is.offset == file->offset && map->dev == file->dev &&
						map->ino == file->ino);
	}
	return false;
}

/* Which queue serves a ring; NULL: none can. */
static const struct fuzz_queue *queue_of(
	const struct fuzz_driver *d, const struct device *device, uint32_t ring)
{
	if (ring == device_control_ring(device))
		return &d->queues[d->caps.n_queues];
	return ring < 2 * device_pairs(device) ? &d->queues[ring] : NULL;
}

static void check_rings(const struct fuzz_driver *d, const struct device *device)
{
	uint32_t n_running = 0;

	for (uint32_t i = 0; i < device->n_queues; i++) {
		const struct fuzz_queue *queue = queue_of(d, device, i);
		bool says = device->state->rings[i].running, runs = queue && queue->running;

		must(says == runs, "queue %u: state says %s, device %s", i,
			says ? "it runs" : "it is stopped", runs ? "it runs" : "it is stopped");
		n_running += runs;
		for (enum ring_area which = RING_DESC; runs && which < RING_AREAS; which++) {
			const uint64_t size = ring_area_facts(which, queue->is.size, d->features).size;
			uint64_t at;

			must(fuzz_driver_locate(d, &queue->is, which, &at), "queue %u runs, and its ring is nowhere",
				i);
			must(fuzz_driver_find_map(d, at, size),
				"queue %u runs, and its ring is not mapped", i);
		}
	}
	for (uint32_t i = 0; i < n_queues(d); i++)
		n_running -= d->queues[i].running;
	must(n_running == 0, "a queue runs that is no ring's");
}

/* What the state says that was switched on, or set, in the device. */
static void check_settings(const struct fuzz_driver *d, const struct device *device)
{
	static const struct control_state nothing;
	const struct device_section *state = device->state;

	must(!state->has_features || state->features == d->features,
		"features are %#lx, the device has %#lx", state->features, d->features);
	must(!!state->doorbell == d->doorbell, "doorbell: state says %u, device %u", state->doorbell,
		d->doorbell);
	must(state->control_used || d->control_doubtful ||
			memcmp(&d->control, &nothing, sizeof(nothing)) == 0,
		"what a control queue had set holds, and nobody knows");
}

void fuzz_driver_matches(const struct fuzz_driver *d, const struct device *device)
{
	const struct device_section *state = device->state;
	size_t n = 0;

	if (device_is_away(device))
		return;
	for (uint32_t i = 0; i < state->memory.n_regions &&
			     !(state->postcopy >= POSTCOPY_LISTENING && state->postcopy_blind);
		i++, n++) {
		const struct memory_region *region = &state->memory.regions[i];

		must(has_map(d, region->gpa, region->size, region), "region at %#lx is not mapped",
			region->gpa);
	}
	check_rings(d, device);
	check_settings(d, device);
	for (uint32_t i = 0; i < device->n_queues; i++) {
		const struct kept_relay *kept = &state->relays[i];

		if (kept->kept_slot == RELAY_NO_SLOT)
			continue;
		must(has_map(d, kept->iova,
			     relay_kept_layout(state->rings[i].size, device_is_packed(device))
				     .shadow_size,
			     NULL),
			"the shadow of queue %u is not mapped", i);
		n++;
	}
	must(d->n_maps == n, "%zu ranges are mapped instead of %zu", d->n_maps, n);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others may see of this worker: the health block, and events when something that people care
 * about became different. The block is written when somebody asks and when the state changes, never
 * for its own sake: an idle worker sleeps.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/worker/worker.h"
#include "vdpa/base/clock.h"
#include "vdpa/position.h"
#include "vdpa/ring.h"
#include "vdpa/saved.h"

/* Of a device that says none: what it gave back, by the guest's used ring; a packed ring is relayed. */
static struct queue_position position_of_ring(const struct worker *w, uint32_t index)
{
	struct queue_position p = { 0 };
	struct ring_words words;

	if (ring_read_words(&w->device, index, &words) == 0)
		p.avail = p.used = words.device[1];
	return p;
}

struct queue_position report_position(const struct worker *w, uint32_t index,
	const struct driver_queue_stats *stats)
{
	const struct ring_state *ring = &w->device_section.rings[index];
	struct queue_position p = { .avail = (uint16_t)ring->base, .used = (uint16_t)ring->base };

	if (ring->running && device_relay_position(&w->device, index, &p))
		return p;
	if (ring->running && stats->running && !device_says_positions(&w->device))
		return position_of_ring(w, index);
	if (ring->running && stats->running)
		return stats->position;
	if (device_is_packed(&w->device) && ring->size > 0 &&
		position_from_packed(ring->base, ring->size, &p) == 0)
		return p;
	return p;
}

static void fill_queue(const struct worker *w, uint32_t index, struct health_queue *q)
{
	const struct ring_state *ring = &w->device_section.rings[index];
	struct driver_queue_stats stats;
	struct queue_position position;

	device_queue_stats(&w->device, index, &stats);
	position = report_position(w, index, &stats);
	*q = (struct health_queue){
		.size = ring->size,
		.enabled = ring->enabled,
		.running = ring->running && !w->device.lost,
		.failed = ring->failed,
		.avail = position.avail,
		.used = position.used,
		.avail_wrap = position.avail_wrap,
		.used_wrap = position.used_wrap,
		.received_desc = stats.received_desc,
		.completed_desc = stats.completed_desc,
		.bytes = stats.bytes,
		.drops = stats.drops,
		.errors = stats.errors,
		.calls = stats.calls,
	};
}

static void fill_device(struct worker *w, struct health *h)
{
	const struct device_section *device = &w->device_section;
	struct driver_device_stats stats;
	struct driver_net_config config = { 0 };

	device_stats(&w->device, &stats);
	if (device_net_config(&w->device, &config) < 0)
		memset(&config, 0, sizeof(config));
	h->device_features = w->device.offered;
	h->features = device->has_features ? device->features : 0;
	h->virtio_status = device->status;
	h->memory_regions = device->memory.n_regions;
	for (uint32_t i = 0; i < device->memory.n_regions; i++)
		h->memory_bytes += device->memory.regions[i].size;
	memcpy(h->mac, config.mac, sizeof(h->mac));
	h->mtu = config.mtu;
	h->max_pairs = (uint16_t)device_pairs(&w->device);
	h->link_up = config.link_up;
	h->rx_frames = stats.rx_frames;
	h->rx_bytes = stats.rx_bytes;
	h->tx_frames = stats.tx_frames;
	h->tx_bytes = stats.tx_bytes;
	h->spoof_drops = stats.spoof_drops;
	h->flood_drops = stats.flood_drops;
	h->no_queue_drops = stats.no_queue_drops;
	memcpy(h->last_spoof_mac, stats.last_spoof_mac, sizeof(h->last_spoof_mac));
}

static void fill_failover(struct worker *w, struct health *h)
{
	bool on_standby = device_active_side(&w->device) == DEVICE_STANDBY;

	h->switches = w->device_section.failover.switches;
	h->has_standby = device_has_standby(&w->device);
	if (!h->has_standby)
		return;
	h->on_standby = on_standby;
	h->other_well = device_side_is_well(&w->device, on_standby ? DEVICE_PRIMARY : DEVICE_STANDBY);
	device_failover_reason(&w->device, h->failover_reason, sizeof(h->failover_reason));
}

static void fill(struct worker *w, struct health *h)
{
	const struct session_section *session = &w->session_section;
	const char *waits = device_postcopy_reason(&w->device);

	memset(h, 0, sizeof(*h));
	h->magic = HEALTH_MAGIC;
	h->version = HEALTH_VERSION;
	h->written_ns = clock_now_ns();
	h->started_ns = w->started_ns;
	h->connected_ns = session->connected_ns;
	h->running_ns = session->running_ns;
	h->worker_pid = getpid();
	h->frontend_pid = session->frontend_pid;
	h->frontend_uid = session->frontend_uid;
	h->state = device_state(&w->device);
	h->datapath = device_datapath(&w->device);
	h->relay_reason = device_relay_reason(&w->device);
	h->lost = w->device.lost;
	h->n_queues = w->device.n_queues;
	h->max_queue_size = w->device.max_queue_size;
	h->protocol_features = session->protocol_features;
	h->messages = session->messages;
	h->refused = session->refused;
	h->connections = session->connections;
	snprintf(h->reason, sizeof(h->reason), "%s",
		w->device_section.failed ? w->device_section.reason
		: w->device.lost	 ? "the device is gone; waiting for it to come back"
		: waits			 ? waits
					 : session->refusal);
	h->migration = w->device_section.migration;
	fill_device(w, h);
	fill_failover(w, h);
	for (uint32_t i = 0; i < w->device.n_queues; i++)
		fill_queue(w, i, &h->queues[i]);
}

/* Source: the rule of the generation is at struct health. */
void report_health(struct worker *w)
{
	static struct health copy;
	uint64_t generation = w->health->generation | 1;

	fill(w, &copy);
	report_migration(w);
	copy.generation = generation;
	w->health->generation = generation;
	atomic_thread_fence(memory_order_release);
	memcpy(w->health, &copy, offsetof(struct health, queues) +
					 w->device.n_queues * sizeof(copy.queues[0]));
	memcpy(&w->health->migration, &copy.migration, sizeof(copy) - offsetof(struct health, migration));
	atomic_thread_fence(memory_order_release);
	w->health->generation = generation + 1;
}

static void running_changed(struct worker *w, bool running)
{
	w->session_section.running_ns = running ? clock_now_ns() : 0;
	worker_commit(w);
	shim_link_event(w, running ? SHIM_EVENT_RUNNING : SHIM_EVENT_STOPPED, "%s",
		running ? "queues run" : "no queue runs");
}

void report_changes(struct worker *w)
{
	const struct worker_view now = {
		.connected = w->session_section.connected,
		.running = device_runs(&w->device) && !w->device.lost,
		.failed = w->device_section.failed,
		.lost = w->device.lost,
		.switches = w->device_section.failover.switches,
	};
	const struct worker_view before = w->view;

	if (memcmp(&now, &before, sizeof(now)) == 0 && !report_migration_due(w))
		return;
	w->view = now;
	if (now.running != (w->session_section.running_ns != 0))
		running_changed(w, now.running);
	if (now.failed && !before.failed)
		shim_link_event(w, SHIM_EVENT_FAILED, "%s", w->device_section.reason);
	if (now.lost && !before.lost)
		shim_link_event(w, SHIM_EVENT_FAILED,
			"the device is gone; waiting for it to come back");
	if ((before.lost && !now.lost) || (before.failed && !now.failed))
		shim_link_event(w, SHIM_EVENT_RECOVERED, "the device works again");
	if (now.switches != before.switches)
		shim_link_event(w, SHIM_EVENT_FAILOVER, "from the %s: %s",
			device_active_side(&w->device) == DEVICE_STANDBY ? "device to its standby" :
									   "standby to the device",
			w->device_section.failover.reason);
	report_health(w);
}

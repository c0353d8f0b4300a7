/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report for support, as far as it is about the device: what is in the state page, what the
 * device says, and what this process knows beyond, of relays and translations. Of a ring there are
 * three accounts, which may differ: "guest" is what stands in the guest's memory, "position" where
 * it is served, "device" what the device says, of the ring that it has: of a relayed one that is a
 * shadow.
 */
#include <inttypes.h>

#include "tools/worker/dump.h"
#include "vdpa/relay.h"
#include "vdpa/ring.h"
#include "vdpa/saved.h"

static void put_position(FILE *f, const struct queue_position *at)
{
	fprintf(f, "\"avail\":%u,\"avail_wrap\":%d,\"used\":%u,\"used_wrap\":%d", at->avail,
		at->avail_wrap, at->used, at->used_wrap);
}

static void put_device_ring(FILE *f, const struct driver_queue_stats *stats)
{
	fprintf(f, ",\"device\":{\"running\":%d,\"failed\":%d,", stats->running, stats->failed);
	put_position(f, &stats->position);
	fprintf(f,
		",\"received\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"bytes\":%" PRIu64
		",\"drops\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"calls\":%" PRIu64 "}",
		stats->received_desc, stats->completed_desc, stats->bytes, stats->drops,
		stats->errors, stats->calls);
}

/* What stands in the guest's memory, as read this moment; null: it can't be read. */
static void put_words(const struct device *d, FILE *f, uint32_t index)
{
	struct ring_words words;

	if (ring_read_words(d, index, &words) < 0)
		fputs(",\"guest\":null", f);
	else if (device_is_packed(d))
		fprintf(f,
			",\"guest\":{\"driver_event\":%u,\"driver_flags\":%u,"
			"\"device_event\":%u,\"device_flags\":%u}",
			words.driver[0], words.driver[1], words.device[0], words.device[1]);
	else
		fprintf(f,
			",\"guest\":{\"avail_flags\":%u,\"avail\":%u,"
			"\"used_flags\":%u,\"used\":%u}",
			words.driver[0], words.driver[1], words.device[0], words.device[1]);
}

static void put_relay(const struct device *d, FILE *f, uint32_t index)
{
	struct relay_stats s;

	if (!device_relay_stats(d, index, &s)) {
		fputs(",\"relay\":null", f);
		return;
	}
	fprintf(f,
		",\"relay\":{\"iova\":%" PRIu64 ",\"offered\":%" PRIu64 ",\"returned\":%" PRIu64
		",\"offer_batches\":%" PRIu64 ",\"return_batches\":%" PRIu64 ",\"kicks\":%" PRIu64
		",\"calls\":%" PRIu64 ",\"waits\":%" PRIu64 ",\"clamped\":%" PRIu64
		",\"resubmitted\":%" PRIu64 ",\"forced\":%" PRIu64 ",\"in_flight\":%" PRIu32 "}",
		d->state->relays[index].iova, s.offered, s.returned, s.offer_batches,
		s.return_batches, s.kicks, s.calls, s.waits, s.clamped, s.resubmitted, s.forced,
		s.in_flight);
}

static void put_ring(struct worker *w, FILE *f, uint32_t index)
{
	const struct ring_state *ring = &w->device_section.rings[index];
	struct driver_queue_stats stats;
	struct queue_position position;

	device_queue_stats(&w->device, index, &stats);
	position = report_position(w, index, &stats);
	fprintf(f,
		"{\"index\":%" PRIu32 ",\"size\":%" PRIu32 ",\"desc\":%" PRIu64
		",\"avail\":%" PRIu64 ",\"used\":%" PRIu64 ",\"log\":%" PRIu64 ",\"flags\":%" PRIu32
		",\"base\":%" PRIu32
		",\"has_addr\":%u,\"started\":%u,\"enabled\":%u,\"running\":%u,\"failed\":%u",
		index, ring->size, ring->desc_uva, ring->avail_uva, ring->used_uva, ring->log_addr,
		ring->addr_flags, ring->base, ring->has_addr, ring->started, ring->enabled,
		ring->running, ring->failed);
	fprintf(f, ",\"kick\":%s,\"call\":%s,\"err\":%s,\"position\":{",
		ring->kick_slot >= 0 ? "true" : "false", ring->call_slot >= 0 ? "true" : "false",
		ring->err_slot >= 0 ? "true" : "false");
	put_position(f, &position);
	fputs("}", f);
	put_words(&w->device, f, index);
	put_device_ring(f, &stats);
	put_relay(&w->device, f, index);
	fputs("}", f);
}

static void put_memory(struct worker *w, FILE *f)
{
	const struct memory_table *table = &w->device_section.memory;

	fputs(",\"memory\":[", f);
	for (uint32_t i = 0; i < table->n_regions; i++) {
		const struct memory_region *m = &table->regions[i];

		fprintf(f,
			"%s{\"gpa\":%" PRIu64 ",\"size\":%" PRIu64 ",\"uva\":%" PRIu64
			",\"offset\":%" PRIu64 ",\"dev\":%" PRIu64 ",\"ino\":%" PRIu64 "}",
			i ? "," : "", m->gpa, m->size, m->uva, m->offset, m->dev, m->ino);
	}
	fputs("]", f);
}

static void put_log(const struct device_section *d, FILE *f)
{
	if (d->log_slot == DEVICE_NO_LOG)
		fputs(",\"dirty_log\":null", f);
	else
		fprintf(f, ",\"dirty_log\":{\"offset\":%" PRIu64 ",\"size\":%" PRIu64 "}",
			d->log_offset, d->log_size);
	fprintf(f, ",\"logging\":%u,\"suspended\":%u", d->logging, d->suspended);
}

static void put_inflight(const struct kept_inflight *area, FILE *f)
{
	if (area->slot == DEVICE_NO_INFLIGHT)
		fputs(",\"inflight\":null", f);
	else
		fprintf(f, ",\"inflight\":{\"rings\":%u,\"ring_size\":%u,\"offset\":%" PRIu64 "}",
			area->n_rings, area->ring_size, area->offset);
}

static void put_macs(FILE *f, const char *name, const uint8_t (*macs)[6], uint32_t n)
{
	fprintf(f, ",\"%s\":[", name);
	for (uint32_t i = 0; i < n && i < CONTROL_MAX_MACS; i++)
		fprintf(f, "%s\"%02x:%02x:%02x:%02x:%02x:%02x\"", i ? "," : "", macs[i][0],
			macs[i][1], macs[i][2], macs[i][3], macs[i][4], macs[i][5]);
	fputs("]", f);
}

static void put_vlans(FILE *f, const struct control_state *c)
{
	bool any = false;

	fputs(",\"vlans\":[", f);
	for (uint32_t i = 0; i < CONTROL_VLANS; i++) {
		if (!(c->vlans[i / 64] & BIT_ULL(i % 64)))
			continue;
		fprintf(f, "%s%" PRIu32, any ? "," : "", i);
		any = true;
	}
	fputs("]", f);
}

/* What the guest's driver set through the control queue. */
static void put_control(const struct device *d, FILE *f)
{
	static struct control_state c;

	if (!device_control_get(d, &c)) {
		fputs(",\"control\":null", f);
		return;
	}
	fprintf(f, ",\"control\":{\"flags\":%" PRIu32 ",\"pairs\":%u,\"offloads\":%" PRIu64,
		c.flags, c.pairs, c.offloads);
	put_macs(f, "mac", &c.mac, 1);
	put_macs(f, "unicast", c.unicast, c.n_unicast);
	put_macs(f, "multicast", c.multicast, c.n_multicast);
	put_vlans(f, &c);
	fputs("}", f);
}

static void put_migration(const struct migration_record *m, FILE *f)
{
	fprintf(f, ",\"migration\":{\"number\":%" PRIu32 ",\"phase\":", m->number);
	dump_text(f, migration_phase_name((enum migration_phase)m->phase));
	fputs(",\"method\":", f);
	dump_text(f, migration_method_name((enum migration_method)m->method));
	fputs(",\"outcome\":", f);
	dump_text(f, migration_outcome_name((enum migration_outcome)m->outcome));
	fprintf(f,
		",\"asked_ns\":%" PRIu64 ",\"logged_ns\":%" PRIu64 ",\"stop_ns\":%" PRIu64
		",\"stopped_ns\":%" PRIu64 ",\"ended_ns\":%" PRIu64 "}",
		m->asked_ns, m->logged_ns, m->stop_ns, m->stopped_ns, m->ended_ns);
}

static void put_iotlb(const struct device *d, FILE *f)
{
	struct device_iotlb_asked a;

	fprintf(f, ",\"iotlb\":{\"entries\":%" PRIu32 ",\"asked\":[", device_iotlb_entries(d));
	for (uint32_t i = 0; device_iotlb_asked(d, i, &a); i++)
		fprintf(f, "%s{\"iova\":%" PRIu64 ",\"perm\":%" PRIu32 ",\"times\":%" PRIu32 "}",
			i ? "," : "", a.iova, a.perm, a.times);
	fputs("]}", f);
}

static void put_failover(struct worker *w, FILE *f)
{
	const struct kept_failover *failover = &w->device_section.failover;
	char reason[HEALTH_REASON_SIZE];

	device_failover_reason(&w->device, reason, sizeof(reason));
	fprintf(f,
		",\"failover\":{\"standby\":%d,\"active\":%u,\"wish\":%u,\"relayed\":%d,\"stale\":%u,"
		"\"switches\":%" PRIu32 ",\"relapses\":%" PRIu32 ",\"well_ns\":%" PRIu64 ",\"reason\":",
		device_has_standby(&w->device), failover->active, failover->wish,
		device_is_relayed(&w->device), failover->stale, failover->switches,
		failover->relapses, failover->well_ns);
	dump_text(f, reason);
	fputs("}", f);
}

static void put_state(struct worker *w, FILE *f)
{
	static const char *const datapaths[DATAPATH_N] = {
		[DATAPATH_NONE] = "none",
		[DATAPATH_DIRECT] = "direct",
		[DATAPATH_RELAY] = "relay",
		[DATAPATH_SIM] = "sim",
	};
	const struct device_section *d = &w->device_section;

	fprintf(f,
		"\"device\":{\"offered\":%" PRIu64 ",\"features\":%" PRIu64
		",\"status\":%u,\"failed\":%u,\"lost\":%d,\"postcopy\":%u,\"blind\":%u"
		",\"datapath\":\"%s\",\"reason\":",
		w->device.offered, d->features, d->status, d->failed, w->device.lost, d->postcopy,
		d->postcopy_blind, datapaths[device_datapath(&w->device)]);
	dump_text(f, d->reason);
	put_failover(w, f);
	put_memory(w, f);
	put_log(d, f);
	put_inflight(&d->inflight, f);
	put_control(&w->device, f);
	fputs(",\"rings\":[", f);
	for (uint32_t i = 0; i < w->device.n_queues; i++) {
		fputs(i ? ",\n" : "\n", f);
		put_ring(w, f, i);
	}
	fputs("]}", f);
}

void dump_device(struct worker *w, FILE *f)
{
	put_state(w, f);
	put_migration(&w->device_section.migration, f);
	put_iotlb(&w->device, f);
}

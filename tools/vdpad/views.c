/* SPDX-License-Identifier: BSD-2-Clause */
/* What is shown of a device. Each view is a list of keys in the order in which people read them. */
#include "tools/vdpad/views.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

#include "tools/vdpad/backing.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/nic.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/standby.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/features.h"

/* Names, and numbers for bits that have none. */
static json_t *bits_json(uint64_t bits, const char *(*name)(unsigned int bit))
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < 64; i++) {
		if (bits & BIT_ULL(i))
			json_array_append_new(list, name(i) ? json_string(name(i))
							    : json_integer((json_int_t)i));
	}
	return list;
}

static void put_text(json_t *object, const char *key, const char *text)
{
	json_object_set_new(object, key, json_string(text));
}

/* What a worker says may be any number; none is negative, which who asked would take for nonsense. */
static void put_number(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)(value < INT64_MAX ? value : INT64_MAX)));
}

static void put_switch(json_t *object, const char *key, bool value)
{
	json_object_set_new(object, key, json_boolean(value));
}

static void put_mac(json_t *object, const char *key, const uint8_t mac[ETHERADDR_SIZE])
{
	char text[ETHERADDR_TEXT_SIZE];

	etheraddr_format(mac, text);
	put_text(object, key, text);
}

/* Return: false when there is no health block that makes sense. */
static bool read_health(const struct device *dev, struct health *ret)
{
	return dev->health && health_read(dev->health, ret, NULL) == 0 && ret->worker_pid != 0;
}

/* @features: negotiated. Source: virtio 1.2, 5.1.2. */
static const char *queue_type(uint64_t features, uint32_t pairs, uint32_t index)
{
	bool has_control = features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ);

	if (index >= 2 * pairs ||
		(index == 2 && has_control && !(features & BIT_ULL(VIRTIO_NET_F_MQ))))
		return "control_vq";
	return index % 2 ? "tx" : "rx";
}

json_t *view_nic(struct nic *nic)
{
	static const char *const uplink_states[] = { "none", "up", "down" };
	json_t *view = json_object();
	struct device *dev;
	uint64_t n = 0;

	TAILQ_FOREACH(dev, &nic->vdpad->devices, link)
		n += dev->nic == nic;
	put_text(view, "handle", nic->handle);
	put_text(view, "state", nic_state_name(nic->state));
	if (nic->reason[0])
		put_text(view, "reason", nic->reason);
	json_object_set_new(view, "classes", json_pack("[s]", "net"));
	put_number(view, "max_vqs", 2 * nic->info.max_pairs);
	json_object_set_new(view, "features", bits_json(nic->info.features, feature_name));
	put_number(view, "devices", n);
	put_text(view, "uplink", nic->config->uplink);
	put_text(view, "uplink_state",
		uplink_states[nic->info.uplink < ARRAY_SIZE(uplink_states) ? nic->info.uplink : 0]);
	put_number(view, "pid", (uint64_t)nic->pid);
	put_number(view, "restarts", nic->restart.total);
	return view;
}

static struct device *device_on(struct vdpad *v, const struct pci_nic *nic)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &v->devices, link) {
		if (dev->backing == &backing_pci &&
			strcmp(backing_function(dev->spec.mgmtdev), nic->name) == 0)
			return dev;
	}
	return NULL;
}

/* What the worker of its device says of a function, for as much as nobody else does. */
static void put_worker_s(json_t *view, const struct device *dev, const struct pci_nic *nic)
{
	static struct health health;

	if (!dev || !read_health(dev, &health))
		return;
	if (dev->spec.max_pairs == 0)
		put_number(view, "max_vqs", 2U * health.max_pairs);
	if (!nic->has_features)
		json_object_set_new(view, "features", bits_json(health.device_features, feature_name));
}

json_t *view_pci(struct vdpad *v, const struct pci_nic *nic)
{
	const struct device *dev = device_on(v, nic);
	const struct pci_host host = pci_host(v);
	char handle[PCI_HANDLE_SIZE];
	json_t *view = json_object();
	struct failure why;
	bool usable = dev || pci_check(&host, nic, false, &why) == 0;

	snprintf(handle, sizeof(handle), PCI_BUS "/%s", nic->name);
	put_text(view, "handle", handle);
	put_text(view, "state", usable ? "up" : "down");
	if (!usable)
		put_text(view, "reason", why.text);
	json_object_set_new(view, "classes", json_pack("[s]", "net"));
	if (nic->has_features)
		json_object_set_new(view, "features", bits_json(nic->features, feature_name));
	put_worker_s(view, dev, nic);
	put_number(view, "devices", dev != NULL);
	put_text(view, "kind", nic->kind);
	if (nic->driver[0])
		put_text(view, "driver", nic->driver);
	if (nic->group[0])
		put_text(view, "iommu_group", nic->group);
	if (nic->pf[0]) {
		snprintf(handle, sizeof(handle), PCI_BUS "/%s", nic->pf);
		put_text(view, "pf", handle);
	}
	return view;
}

json_t *view_device(const struct device *dev)
{
	struct device_facts facts;

	device_facts(dev, &facts);
	return json_pack("{s:s,s:s,s:s,s:i,s:i,s:i}", "name", dev->spec.name, "type", "network",
		"mgmtdev", dev->spec.mgmtdev, "vendor_id", 0, "max_vqs",
		(int)facts.max_queues, "max_vq_size", (int)facts.max_queue_size);
}

json_t *view_config(struct device *dev, json_t *params)
{
	json_t *view = json_object();
	struct device_facts facts;
	struct health health;

	device_facts(dev, &facts);
	put_text(view, "name", dev->spec.name);
	put_mac(view, "mac", facts.mac);
	put_switch(view, "link_up", facts.link_up);
	put_switch(view, "link_announce", false);
	put_number(view, "max_vqp", facts.max_pairs);
	put_number(view, "mtu", facts.mtu);
	if (read_health(dev, &health) && health.features)
		json_object_set_new(view, "negotiated_features",
			bits_json(health.features, feature_name));
	return view;
}

json_t *view_vstats(struct device *dev, json_t *params)
{
	const json_t *qidx = json_object_get(params, "qidx");
	json_t *queues = json_array();
	static struct health health;
	struct device_facts facts;

	device_facts(dev, &facts);
	if (!read_health(dev, &health))
		memset(&health, 0, sizeof(health));
	for (uint32_t i = 0; i < facts.max_queues && i < QUEUE_MAX; i++) {
		const struct health_queue *q = &health.queues[i];
		json_t *stats;

		if (qidx && json_integer_value(qidx) != i)
			continue;
		stats = json_object();
		put_number(stats, "received_desc", q->received_desc);
		put_number(stats, "completed_desc", q->completed_desc);
		put_number(stats, "bytes", q->bytes);
		put_number(stats, "drops", q->drops);
		put_number(stats, "errors", q->errors);
		put_number(stats, "calls", q->calls);
		json_array_append_new(queues, json_pack("{s:i,s:s,s:o}", "qidx", i, "queue_type",
			queue_type(health.features, facts.max_pairs, i), "stats", stats));
	}
	return json_pack("{s:o}", "queues", queues);
}

/* ---------------------------------------------------------------------- migration */

/* What was not reached is absent. */
static void put_spans(json_t *object, const struct migration_record *m)
{
	static const char *const keys[MIGRATION_N_SPANS] = {
		[MIGRATION_SPAN_SWITCH] = "switch_us",
		[MIGRATION_SPAN_LOGGING] = "logging_us",
		[MIGRATION_SPAN_STOP] = "stop_us",
		[MIGRATION_SPAN_LEAVE] = "leave_us",
	};
	uint64_t us;

	for (int i = 0; i < MIGRATION_N_SPANS; i++) {
		if (migration_span_us(m, (enum migration_span)i, &us))
			put_number(object, keys[i], us);
	}
}

json_t *view_migration(struct device *dev, json_t *params)
{
	json_t *view = json_object();
	const struct migration_record *m;
	static struct health health;

	put_text(view, "name", dev->spec.name);
	if (!read_health(dev, &health) || health.migration.number == 0)
		return view;
	m = &health.migration;
	put_number(view, "number", m->number);
	put_text(view, "phase", migration_phase_name((enum migration_phase)m->phase));
	put_text(view, "method", migration_method_name((enum migration_method)m->method));
	put_text(view, "outcome", migration_outcome_name((enum migration_outcome)m->outcome));
	put_number(view, "age_s", (clock_now_ns() - m->asked_ns) / NS_PER_S);
	put_spans(view, m);
	return view;
}

/* ------------------------------------------------------------------------- status */

static const char *state_text(const struct device *dev, const struct health *h)
{
	static const char *const states[DEVICE_N_STATES] = {
		[DEVICE_IDLE] = "idle",
		[DEVICE_CONFIGURED] = "configured",
		[DEVICE_RUNNING] = "running",
		[DEVICE_FAILED] = "failed",
	};

	switch (dev->phase) {
	case DEVICE_FINDING:
	case DEVICE_STARTING:
		return "starting";
	case DEVICE_DOWN:
	case DEVICE_ENDING:
		return "down";
	case DEVICE_BROKEN:
		return "broken";
	case DEVICE_UP:
		break;
	}
	if (dev->status.state == SHIM_GIVEN_UP)
		return "broken";
	return h ? states[h->state] : "starting";
}

static const char *reason_text(const struct device *dev, const struct health *h)
{
	if (dev->reason[0])
		return dev->reason;
	if (dev->status.reason[0])
		return dev->status.reason;
	return h ? h->reason : "";
}

static void put_frontend(json_t *view, const struct health *h)
{
	bool connected = h && h->connected_ns != 0;

	put_switch(view, "connected", connected);
	if (!connected)
		return;
	put_number(view, "frontend_pid", (uint64_t)h->frontend_pid);
	put_number(view, "frontend_uid", h->frontend_uid);
	put_number(view, "connected_s", (clock_now_ns() - h->connected_ns) / NS_PER_S);
}

static void put_queues(json_t *view, const struct health *h)
{
	bool packed = h->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	json_t *list = json_array();

	for (uint32_t i = 0; i < h->n_queues; i++) {
		const struct health_queue *q = &h->queues[i];
		json_t *queue = json_object();

		put_number(queue, "qidx", i);
		put_text(queue, "queue_type", queue_type(h->features, h->max_pairs, i));
		put_number(queue, "size", q->size);
		put_switch(queue, "enabled", q->enabled);
		put_switch(queue, "running", q->running);
		put_switch(queue, "failed", q->failed);
		put_number(queue, "avail", q->avail);
		put_number(queue, "used", q->used);
		if (packed) {
			put_number(queue, "avail_wrap", q->avail_wrap != 0);
			put_number(queue, "used_wrap", q->used_wrap != 0);
		}
		json_array_append_new(list, queue);
	}
	json_object_set_new(view, "queues", list);
}

static void put_counters(json_t *view, const struct health *h)
{
	json_t *counters = json_object();

	put_number(counters, "rx_frames", h->rx_frames);
	put_number(counters, "rx_bytes", h->rx_bytes);
	put_number(counters, "tx_frames", h->tx_frames);
	put_number(counters, "tx_bytes", h->tx_bytes);
	put_number(counters, "spoof_drops", h->spoof_drops);
	put_number(counters, "flood_drops", h->flood_drops);
	put_number(counters, "no_queue_drops", h->no_queue_drops);
	json_object_set_new(view, "counters", counters);
}

static void put_health(json_t *view, const struct device *dev, const struct health *h)
{
	struct device_facts facts;

	device_facts(dev, &facts);
	put_mac(view, "mac", h->mac);
	put_number(view, "mtu", h->mtu);
	put_switch(view, "link_up", h->link_up);
	put_number(view, "max_vqp", h->max_pairs);
	put_switch(view, "spoof_check", dev->spec.spoof_check);
	put_switch(view, "ctrl_vq", facts.has_control);
	if (!etheraddr_is_zero(h->last_spoof_mac))
		put_mac(view, "last_spoof_mac", h->last_spoof_mac);
	put_counters(view, h);
	put_number(view, "memory_regions", h->memory_regions);
	put_number(view, "memory_bytes", h->memory_bytes);
	put_number(view, "messages", h->messages);
	put_number(view, "refused", h->refused);
	put_number(view, "connections", h->connections);
	put_queues(view, h);
}

static void put_processes(json_t *view, const struct device *dev)
{
	bool known = dev->shim != NULL;

	put_number(view, "shim_pid", known ? (uint64_t)dev->shim_pid : 0);
	put_number(view, "worker_pid", known ? (uint64_t)dev->status.worker_pid : 0);
	put_text(view, "worker", known ? dev->status.spec.worker_path : "");
	put_number(view, "worker_restarts", dev->status.restarts);
	put_text(view, "log_level", log_level_name(dev->spec.log_level));
}

static const char *datapath_text(const struct device *dev, const struct health *h)
{
	static const char *const names[DATAPATH_N] = {
		[DATAPATH_NONE] = "none",
		[DATAPATH_DIRECT] = "direct",
		[DATAPATH_RELAY] = "relay",
		[DATAPATH_SIM] = "sim",
	};

	return h && dev->phase == DEVICE_UP ? names[h->datapath] : "none";
}

static void put_relay_reason(json_t *view, const struct device *dev, const struct health *h)
{
	static const char *const reasons[RELAY_N_REASONS] = {
		[RELAY_REASON_LOG] = "the guest migrates, and the device can't log the pages that it "
				     "writes",
		[RELAY_REASON_POSITION] = "the device can't go on in the middle of a ring; it serves "
					  "the guest directly when the guest's driver begins anew",
		[RELAY_REASON_INFLIGHT] = "the front-end wants to know what is in flight, and the device "
					  "can't note it",
		[RELAY_REASON_PACKED] = "the device can't tell where it stands in a packed ring",
		[RELAY_REASON_WISH] = "the operator wants it so",
	};

	if (h && dev->phase == DEVICE_UP && reasons[h->relay_reason])
		put_text(view, "datapath_reason", reasons[h->relay_reason]);
}

static void put_failover(json_t *view, const struct device *dev, const struct health *h)
{
	put_text(view, "datapath_wanted", standby_datapath_name(dev->spec.datapath));
	if (dev->spec.standby[0] == '\0')
		return;
	put_text(view, "standby", dev->spec.standby);
	if (!h)
		return;
	if (h->failover_reason[0])
		put_text(view, "standby_reason", h->failover_reason);
	put_number(view, "failovers", h->switches);
}

json_t *view_status(struct device *dev, json_t *params)
{
	static struct health block; /* large, and there is one thread */
	struct health *h = dev->phase == DEVICE_UP && read_health(dev, &block) ? &block : NULL;
	const char *reason = reason_text(dev, h);
	json_t *view = json_object();

	put_text(view, "name", dev->spec.name);
	put_text(view, "mgmtdev", dev->spec.mgmtdev);
	put_text(view, "vm", dev->spec.vm);
	put_text(view, "socket", dev->spec.socket);
	put_text(view, "mode", dev->spec.client ? "client" : "server");
	put_switch(view, "host_notifier", dev->spec.host_notifier);
	put_text(view, "state", state_text(dev, h));
	if (*reason)
		put_text(view, "reason", reason);
	put_frontend(view, h);
	put_text(view, "datapath", datapath_text(dev, h));
	put_relay_reason(view, dev, h);
	put_failover(view, dev, h);
	put_number(view, "uptime_s",
		h && h->running_ns ? (clock_now_ns() - h->running_ns) / NS_PER_S : 0);
	json_object_set_new(view, "features", bits_json(h ? h->features : 0, feature_name));
	json_object_set_new(view, "protocol_features",
		bits_json(h ? h->protocol_features : 0, protocol_feature_name));
	put_processes(view, dev);
	if (dev->stale)
		put_switch(view, "stale", true);
	if (h && h->migration.phase != MIGRATION_NONE)
		json_object_set_new(view, "migration",
			json_pack("{s:s,s:s}", "phase",
				migration_phase_name((enum migration_phase)h->migration.phase),
				"method",
				migration_method_name((enum migration_method)h->migration.method)));
	if (h)
		put_health(view, dev, h);
	return view;
}

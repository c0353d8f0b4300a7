/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What both sides can do, and the device's status. Which protocol features are offered: offer.c.
 *
 * Source: vhost-user specification, "Feature negotiation", "Ring states", "Device status"; virtio
 * 1.2, 2.1 and 3.1.1.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "protocol/handlers.h"
#include "protocol/inband.h"
#include "protocol/offer.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"

/* What concerns the two of us, not the guest and its device. */
#define TRANSPORT_FEATURES (BIT_ULL(WIRE_F_PROTOCOL_FEATURES) | BIT_ULL(WIRE_F_LOG_ALL))

static void reply_u64(struct session *s, const struct message *m, uint64_t value)
{
	session_reply(s, m, &value, sizeof(value));
}

uint64_t offered_features(const struct session *s)
{
	uint64_t log = device_can_log(s->device) ? BIT_ULL(WIRE_F_LOG_ALL) : 0;

	return s->device->offered | log | BIT_ULL(WIRE_F_PROTOCOL_FEATURES);
}

int on_get_features(struct session *s, struct message *m, uint32_t ring)
{
	reply_u64(s, m, offered_features(s));
	return 0;
}

/* Without protocol features there is no SET_VRING_ENABLE: all rings are on from the beginning. */
static void enable_rings(struct session *s)
{
	for (uint32_t i = 0; i < s->device->n_queues; i++)
		s->device->state->rings[i].enabled = 1;
}

int on_set_features(struct session *s, struct message *m, uint32_t ring)
{
	uint64_t features = m->payload.u64;
	bool accepts_enable = features & BIT_ULL(WIRE_F_PROTOCOL_FEATURES);
	int r;

	if (features & ~offered_features(s) || !(features & BIT_ULL(VIRTIO_F_VERSION_1)))
		return -EINVAL;
	if (device_runs(s->device) && accepts_enable == (bool)s->state->rings_begin_enabled)
		return -EBUSY;
	r = device_negotiate(s->device, features & ~TRANSPORT_FEATURES, features & BIT_ULL(WIRE_F_LOG_ALL));
	if (r < 0)
		return r;
	s->state->rings_begin_enabled = !accepts_enable;
	if (!accepts_enable)
		enable_rings(s);
	return 0;
}

int on_get_protocol_features(struct session *s, struct message *m, uint32_t ring)
{
	reply_u64(s, m, offer_features(s->device));
	return 0;
}

int on_set_protocol_features(struct session *s, struct message *m, uint32_t ring)
{
	uint64_t features = m->payload.u64;
	int r;

	if (features & ~offer_features(s->device))
		return -EINVAL;
	r = offer_check(features);
	if (r < 0)
		return r;
	if (device_runs(s->device) && features != s->state->protocol_features)
		return -EBUSY;
	s->state->protocol_features = features;
	s->state->has_protocol_features = 1;
	s->device->state->waits_for_driver = (features & BIT_ULL(WIRE_PF_STATUS)) != 0;
	return 0;
}

/* The session began with the connection; nothing is left to do. */
int on_set_owner(struct session *s, struct message *m, uint32_t ring)
{
	return 0;
}

/* Deprecated, and understood in two ways; what both allow is to do nothing. */
int on_reset_owner(struct session *s, struct message *m, uint32_t ring)
{
	return 0;
}

int on_get_queue_num(struct session *s, struct message *m, uint32_t ring)
{
	reply_u64(s, m, device_pairs(s->device)); /* as every front-end reads it; no control queue */
	return 0;
}

int on_get_status(struct session *s, struct message *m, uint32_t ring)
{
	uint64_t status = s->device->state->status;

	if (s->device->state->failed && status & VIRTIO_CONFIG_S_DRIVER_OK)
		status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	reply_u64(s, m, status);
	return 0;
}

/*
 * Status 0 is the guest's reset. QEMU asks for the positions only afterwards, so the rings are
 * stopped and keep all that is known of them; the front-end describes them anew before they run.
 */
int on_set_status(struct session *s, struct message *m, uint32_t ring)
{
	uint64_t status = m->payload.u64;
	int r = 0;

	if (status > UINT8_MAX)
		return -EINVAL;
	if (status == 0)
		r = device_stop_all(s->device);
	if (s->state->features_refused || !s->device->state->has_features)
		status &= ~(uint64_t)VIRTIO_CONFIG_S_FEATURES_OK;
	status &= ~(uint64_t)VIRTIO_CONFIG_S_NEEDS_RESET;
	s->device->state->status = (uint8_t)status;
	return r;
}

/* What the connection owns stays: memory, protocol features, the channel of our own requests. */
int on_reset_device(struct session *s, struct message *m, uint32_t ring)
{
	s->state->features_refused = 0;
	s->state->rings_begin_enabled = 0;
	inband_forget(s);
	return device_clear(s->device);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Source: vhost-user specification, "Protocol features". */
#include "protocol/offer.h"

#include <errno.h>

#include "protocol/wire.h"
#include "vdpa/base/bits.h"

static const struct offer_desc offers[] = {
	[WIRE_PF_MQ] = { .always = true },
	[WIRE_PF_LOG_SHMFD] = { .device_can = device_can_log, .when = "pages it writes can be logged" },
	[WIRE_PF_RARP] = { .device_can = device_can_announce,
		.when = "the device sends what its guest did not" },
	[WIRE_PF_REPLY_ACK] = { .always = true },
	[WIRE_PF_MTU] = { .always = true },
	[WIRE_PF_BACKEND_REQ] = { .always = true },
	[WIRE_PF_CROSS_ENDIAN] = { .why = "a modern device (VERSION_1) is little-endian always" },
	[WIRE_PF_CRYPTO_SESSION] = { .why = "a crypto device's, and this is a network device" },
	[WIRE_PF_PAGEFAULT] = { .device_can = device_can_postcopy, .when = "it can wait for missing pages" },
	[WIRE_PF_CONFIG] = { .always = true },
	[WIRE_PF_BACKEND_SEND_FD] = { .device_can = device_has_doorbell,
		.when = "host notifiers are allowed for it" },
	[WIRE_PF_HOST_NOTIFIER] = { .device_can = device_has_doorbell,
		.when = "host notifiers are allowed for it",
		.needs = BIT_ULL(WIRE_PF_BACKEND_REQ) | BIT_ULL(WIRE_PF_BACKEND_SEND_FD) },
	[WIRE_PF_INFLIGHT_SHMFD] = { .device_can = device_can_note_inflight,
		.when = "it completes in any order" },
	[WIRE_PF_RESET_DEVICE] = { .always = true },
	[WIRE_PF_INBAND_NOTIFICATIONS] = { .always = true,
		.needs = BIT_ULL(WIRE_PF_REPLY_ACK) | BIT_ULL(WIRE_PF_BACKEND_REQ), .or_ends = true },
	[WIRE_PF_CONFIGURE_MEM_SLOTS] = { .always = true },
	[WIRE_PF_STATUS] = { .always = true },
	[WIRE_PF_XEN_MMAP] = { .why = "memory comes as descriptors, not as a Xen domain's pages" },
	[WIRE_PF_SHARED_OBJECT] = { .why = "a network device shares no buffers with other devices" },
	[WIRE_PF_DEVICE_STATE] = { .always = true },
	[WIRE_PF_GET_VRING_BASE_INFLIGHT] = {
		.why = "a ring that stops has nothing in flight: it was completed or taken back" },
	[WIRE_PF_GPA_ADDRESSES] = { .why = "rings are found by the front-end's own addresses" },
	[WIRE_PF_SHMEM] = { .why = "a network device has no shared memory regions" },
};

const struct offer_desc *offer_find(unsigned int bit)
{
	return bit < ARRAY_SIZE(offers) ? &offers[bit] : NULL;
}

uint64_t offer_features(const struct device *d)
{
	uint64_t features = 0;

	for (unsigned int bit = 0; bit < ARRAY_SIZE(offers); bit++) {
		const struct offer_desc *offer = &offers[bit];

		if (offer->always || (offer->device_can && offer->device_can(d)))
			features |= BIT_ULL(bit);
	}
	return features;
}

int offer_check(uint64_t features)
{
	for (unsigned int bit = 0; bit < ARRAY_SIZE(offers); bit++) {
		const struct offer_desc *offer = &offers[bit];

		if (features & BIT_ULL(bit) && (features & offer->needs) != offer->needs)
			return offer->or_ends ? -EPROTO : -EINVAL;
	}
	return 0;
}

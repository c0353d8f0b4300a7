/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/steps.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "protocol/handlers.h"
#include "protocol/offer.h"
#include "protocol/table.h"
#include "tests/fuzz/files.h"
#include "vdpa/base/bits.h"

#define GPA       0x40000000ULL
#define UVA       0x7f0000000000ULL
#define RING_STEP 0x4000ULL

/* ------------------------------------------------------------------------------ values */

static const uint64_t numbers[] = { 0, 1, 2, 3, 4, 6, 7, 8, 15, 16, 17, 32, 64, 67, 68, 128, 255,
	256, 257, 1024, 1500, 4095, 4096, 4097, 9000, 32767, 32768, 32769, 65535, 65536, 0x10001,
	0x80008000, 0x00018001, INT32_MAX, 0x80000000, UINT32_MAX, 1ULL << 32, (1ULL << 44) - 1,
	1ULL << 46, INT64_MAX, 1ULL << 63, UINT64_MAX - 4095, UINT64_MAX, GPA, GPA + 4096,
	GPA + FILES_RAM_SIZE, GPA + FILES_RAM_SIZE - 4, UVA, UVA + 1, UVA + 4096,
	UVA + FILES_RAM_SIZE - 4096, UVA + FILES_RAM_SIZE, FILES_RAM_SIZE, FILES_RAM_SIZE - 1,
	FILES_LOG_SIZE, FILES_LOG_SIZE + 1, 0x1000000000, WIRE_VRING_NO_FD };

/* Choice 0 is @wanted. Half of the others are near it, the rest are numbers that somebody cares
 * about. */
static uint64_t value(const struct step *step, unsigned int field, uint64_t wanted)
{
	uint8_t choice = step->value[field % ARRAY_SIZE(step->value)];

	if (choice == 0)
		return wanted;
	if (choice < 64)
		return numbers[choice % ARRAY_SIZE(numbers)];
	if (choice < 128)
		return wanted ^ BIT_ULL(choice % 64);
	if (choice < 160)
		return wanted + (uint64_t)(int64_t)(choice - 144);
	if (choice < 192)
		return wanted + numbers[choice % ARRAY_SIZE(numbers)];
	return step->more[0] | (uint64_t)step->more[1] << 8 | (uint64_t)step->more[2] << 16 |
	       (uint64_t)step->more[3] << (choice % 64);
}

/* What SET_FEATURES and its like want: all or some of what is offered, which is never far from a
 * bit. */
static uint64_t offered_word(const struct session *s, const struct step *step)
{
	static const uint64_t without[] = { 0, BIT_ULL(WIRE_F_LOG_ALL),
		BIT_ULL(WIRE_F_PROTOCOL_FEATURES), BIT_ULL(VIRTIO_F_RING_PACKED),
		BIT_ULL(VIRTIO_RING_F_EVENT_IDX), BIT_ULL(WIRE_PF_STATUS),
		BIT_ULL(WIRE_PF_REPLY_ACK),
		BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(WIRE_F_LOG_ALL),
		BIT_ULL(VIRTIO_F_ACCESS_PLATFORM),
		BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) | BIT_ULL(WIRE_F_LOG_ALL),
		BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(WIRE_F_LOG_ALL), BIT_ULL(VIRTIO_NET_F_CTRL_VQ),
		BIT_ULL(WIRE_PF_STATUS) | BIT_ULL(WIRE_PF_INBAND_NOTIFICATIONS),
		BIT_ULL(WIRE_PF_STATUS) | BIT_ULL(WIRE_PF_HOST_NOTIFIER),
		BIT_ULL(WIRE_PF_INBAND_NOTIFICATIONS),
		BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
			BIT_ULL(VIRTIO_F_RING_PACKED) };
	uint64_t word = 0;

	switch (step->request) {
	case WIRE_SET_FEATURES:
		word = offered_features(s);
		break;
	case WIRE_SET_PROTOCOL_FEATURES:
		word = offer_features(s->device);
		break;
	case WIRE_SET_STATUS:
		return 15;
	default:
		return 1500;
	}
	return word & ~without[step->ring % ARRAY_SIZE(without)];
}

/* Region @i of a guest that has two, and of one that has them elsewhere. */
static struct wire_region region(const struct step *step, unsigned int i)
{
	static const struct wire_region regions[] = {
		{ GPA, FILES_RAM_SIZE, UVA, 0 },
		{ 0, FILES_RAM_SIZE, UVA + 0x100000, 0 },
		{ GPA + FILES_RAM_SIZE, FILES_RAM_SIZE / 2, UVA + FILES_RAM_SIZE,
			FILES_RAM_SIZE / 2 },
		{ GPA, FILES_RAM_SIZE, UVA, 4096 },
		{ 0x2000000000, FILES_RAM_SIZE, UVA + 0x200000, 0 },
		{ 0xfffff000, 8192, UVA + 0x300000, 0 },
		{ UINT64_MAX - 0x40000, 0x20000, UVA + 0x400000, 0 },
		{ GPA, FILES_RAM_SIZE, UVA + 0x500000, 0 },
	};
	struct wire_region r = regions[(step->ring + i) % ARRAY_SIZE(regions)];

	r.gpa = value(step, 1, r.gpa);
	r.size = value(step, 2, r.size);
	r.uva = value(step, 3, r.uva);
	r.offset = value(step, 4, r.offset);
	return r;
}

static struct wire_vring_addr ring_addresses(const struct step *step, uint32_t ring)
{
	uint64_t at = UVA + ring * RING_STEP;

	return (struct wire_vring_addr){
		.index = ring,
		.flags = (uint32_t)value(step, 0, 0),
		.desc = value(step, 1, at),
		.avail = value(step, 2, at + 0x2000),
		.used = value(step, 3, at + 0x3000),
		.log = value(step, 4, GPA),
	};
}

/*
 * A piece of the guest's memory as large as a ring, or all of it; where the driver calls it what the
 * front-end does, or elsewhere.
 */
static struct wire_iotlb translation(const struct step *step)
{
	static const uint8_t types[] = { WIRE_IOTLB_UPDATE, WIRE_IOTLB_INVALIDATE, WIRE_IOTLB_UPDATE,
		WIRE_IOTLB_INVALIDATE, WIRE_IOTLB_MISS, WIRE_IOTLB_ACCESS_FAIL, 0, 5 };
	bool whole = step->ring & 0x10;
	uint64_t at = whole ? 0 : step->ring % 16 * RING_STEP;

	return (struct wire_iotlb){
		.iova = value(step, 1, UVA + at),
		.size = value(step, 2, whole ? FILES_RAM_SIZE : RING_STEP),
		.uva = value(step, 3, UVA + (step->ring & 0x20 ? at ^ RING_STEP : at)),
		.perm = (uint8_t)value(step, 4, 3),
		.type = types[step->value[0] % ARRAY_SIZE(types)],
	};
}

/* ----------------------------------------------------------------------------- payloads */

/*
 * A payload's form is told by its row: where the ring is, how many descriptors, how large. Return:
 * its size.
 */
static uint32_t fill(const struct session *s, const struct step *step,
	const struct message_desc *desc, union wire_payload *p)
{
	uint32_t ring = step->ring, n = (uint32_t)value(step, 0, 0);

	switch (desc->ring) {
	case RING_IN_STATE:
		p->state = (struct wire_vring_state){ ring,
			(uint32_t)value(step, 0,
				desc->ring_state == RING_STOPPED		    ? 16
				: desc->needs == NEEDS(WIRE_PF_INBAND_NOTIFICATIONS) ? 0
										    : 1) };
		return desc->size;
	case RING_IN_ADDR:
		p->addr = ring_addresses(step, ring);
		return desc->size;
	case RING_IN_FD_WORD:
		p->u64 = value(step, 0, ring | (step->n_fds == 1 ? WIRE_VRING_NO_FD : 0));
		return desc->size;
	case RING_NOWHERE:
		break;
	}
	if (desc->fds == FDS_PER_REGION) {
		n = step->value[0] < 200 ? 1 + step->value[0] % 4U : step->value[0] - 200U;
		p->memory.n_regions = n;
		for (uint32_t i = 0; i < n && i < WIRE_MAX_REGIONS; i++)
			p->memory.regions[i] = region(step, i);
		return 8 + n * (uint32_t)sizeof(struct wire_region);
	}
	switch (desc->size) {
	case sizeof(struct wire_single_region):
		p->single.region = region(step, 0);
		break;
	case WIRE_CONFIG_HEAD:
		p->config.offset = n % 80;
		p->config.size = (uint32_t)value(step, 1, 12);
		p->config.flags = step->value[2];
		memcpy(p->config.bytes, step->more, sizeof(step->more));
		return WIRE_CONFIG_HEAD + p->config.size;
	case WIRE_IOTLB_HEAD:
		p->iotlb = translation(step);
		return step->more[3] % 2 ? (uint32_t)sizeof(p->iotlb) : WIRE_IOTLB_HEAD;
	case WIRE_INFLIGHT_HEAD:
		p->inflight = (struct wire_inflight){
			.size = value(step, 0, FILES_RAM_SIZE),
			.offset = value(step, 1, 0),
			.n_queues = (uint16_t)value(step, 2, 2),
			.queue_size = (uint16_t)value(step, 3, 16),
		};
		return step->value[4] % 2 ? (uint32_t)sizeof(p->inflight) : WIRE_INFLIGHT_HEAD;
	case sizeof(struct wire_log):
		p->log = (struct wire_log){ value(step, 0, FILES_LOG_SIZE), value(step, 1, 0) };
		break;
	case sizeof(uint64_t):
		if (desc->fds == FDS_ONE)
			p->transfer =
				(struct wire_transfer){ (uint32_t)value(step, 0, step->ring % 2),
					(uint32_t)value(step, 1, 0) };
		else
			p->u64 = value(step, 0, offered_word(s, step));
		break;
	default:
		p->u64 = n;
		break;
	}
	return desc->size;
}

static size_t wanted_fds(const struct message_desc *desc, const struct step_message *m)
{
	switch (desc->fds) {
	case FDS_ONE:
		return 1;
	case FDS_BY_WORD:
		return m->payload.u64 & WIRE_VRING_NO_FD ? 0 : 1;
	case FDS_PER_REGION:
		return m->payload.memory.n_regions;
	default:
		return 0;
	}
}

static enum file_kind wanted_file(const struct message_desc *desc, const struct step *step)
{
	if (desc->ring == RING_IN_FD_WORD)
		return FILE_EVENT;
	if (desc->size == sizeof(struct wire_log))
		return FILE_LOG;
	if (desc->size == 0)
		return FILE_CHANNEL;
	if (desc->size == sizeof(struct wire_transfer) && desc->check_size == NULL)
		return step->ring % 2 ? FILE_PIPE_READ : FILE_PIPE_WRITE;
	return step->ring % 2 ? FILE_MORE_RAM : FILE_RAM;
}

/* In the channel there is nothing but requests of the worker's. */
static enum file_kind lent(const struct step_message *m, enum file_kind kind)
{
	return kind == FILE_CHANNEL && m->header.request != WIRE_SET_BACKEND_REQ_FD ? FILE_SOCKET : kind;
}

void steps_message(const struct session *s, const struct step *step, struct step_message *m)
{
	static const struct message_desc unknown = { .name = "unknown" };
	const struct message_desc *desc = message_find(step->request);
	enum file_kind file;

	memset(m, 0, sizeof(*m));
	if (!desc)
		desc = &unknown;
	m->header.request = step->request == 255 ? UINT32_MAX : step->request;
	m->header.flags = WIRE_VERSION | (step->flags & 1 ? WIRE_NEED_REPLY : 0);
	m->header.flags ^= step->flags > 240 ? BIT(step->flags % 16) : 0;
	m->header.size = fill(s, step, desc, &m->payload);
	m->header.size = (uint32_t)((int64_t)m->header.size + (int8_t)step->size);
	file = step->file == 0 ? wanted_file(desc, step)
			       : (enum file_kind)(step->file % FILE_N_KINDS);
	m->n_fds = step->n_fds == 0 ? wanted_fds(desc, m) : step->n_fds - 1U;
	if (m->n_fds > ARRAY_SIZE(m->fds))
		m->n_fds = ARRAY_SIZE(m->fds);
	for (size_t i = 0; i < m->n_fds; i++)
		m->fds[i] = files_fd(lent(m,
			(enum file_kind)((file + (i > 0 && step->file > 128)) % FILE_N_KINDS)));
}

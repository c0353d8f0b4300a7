/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fields are read one by one, each with its own width, between two looks at the generation: when it
 * moved meanwhile, they may not fit together, and all are read again. A device that moves it for ever
 * is given up.
 */
#include "drivers/virtio/net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>

#define MOST_TRIES 64
#define MIN_MTU	   68 /* RFC 791 */
#define MAX_PAIRS  0x8000

#define FIELD(name) offsetof(struct virtio_net_config, name)

static uint32_t read_field(struct virtio_function *f, size_t offset, unsigned int width)
{
	return pci_read(f->pci, &f->layout.device, offset, width);
}

static uint64_t features_in_force(const struct virtio_function *f)
{
	return f->status & VIRTIO_CONFIG_S_FEATURES_OK ? f->features : f->offered;
}

static bool room_for_fields(const struct virtio_function *f, uint64_t features)
{
	static const struct {
		uint8_t feature;
		uint8_t end; /* of its field, bytes */
	} fields[] = {
		{ VIRTIO_NET_F_MAC, FIELD(status) },
		{ VIRTIO_NET_F_STATUS, FIELD(max_virtqueue_pairs) },
		{ VIRTIO_NET_F_MQ, FIELD(mtu) },
		{ VIRTIO_NET_F_MTU, FIELD(mtu) + sizeof(uint16_t) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if ((features & BIT_ULL(fields[i].feature)) &&
			f->layout.device.size < fields[i].end)
			return false;
	}
	return true;
}

static struct virtio_net_facts read_fields(struct virtio_function *f, uint64_t features)
{
	struct virtio_net_facts facts = { .max_pairs = 1, .link_up = true };

	if (features & BIT_ULL(VIRTIO_NET_F_MAC)) {
		for (size_t i = 0; i < sizeof(facts.mac); i++) {
			facts.mac[i] = (uint8_t)read_field(f, FIELD(mac) + i, 1);
			facts.has_mac = facts.has_mac || facts.mac[i] != 0;
		}
	}
	if (features & BIT_ULL(VIRTIO_NET_F_STATUS)) {
		uint32_t status = read_field(f, FIELD(status), 2);

		facts.link_up = status & VIRTIO_NET_S_LINK_UP;
		facts.announce = (features & BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE)) &&
				 (status & VIRTIO_NET_S_ANNOUNCE);
	}
	if (features & BIT_ULL(VIRTIO_NET_F_MQ))
		facts.max_pairs = (uint16_t)read_field(f, FIELD(max_virtqueue_pairs), 2);
	if (features & BIT_ULL(VIRTIO_NET_F_MTU))
		facts.mtu = (uint16_t)read_field(f, FIELD(mtu), 2);
	return facts;
}

static bool facts_ok(const struct virtio_net_facts *facts, uint64_t features)
{
	if (facts->mac[0] & 1) /* a group's */
		return false;
	if ((features & BIT_ULL(VIRTIO_NET_F_MTU)) && facts->mtu < MIN_MTU)
		return false;
	return facts->max_pairs >= 1 && facts->max_pairs <= MAX_PAIRS;
}

static uint32_t read_generation(struct virtio_function *f)
{
	return virtio_common_read(f, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
}

int virtio_net_read(struct virtio_function *f, struct virtio_net_facts *ret)
{
	uint64_t features = features_in_force(f);
	struct virtio_net_facts facts;
	uint32_t generation;
	unsigned int tries = 0;

	if (!room_for_fields(f, features))
		return -EPROTO;
	do {
		if (tries++ == MOST_TRIES)
			return -EIO;
		generation = read_generation(f);
		facts = read_fields(f, features);
	} while (read_generation(f) != generation);

	/* All ones are a generation as well; asked last, for it may have gone in between. */
	if (virtio_common_read(f, VIRTIO_PCI_COMMON_STATUS, 1) == UINT8_MAX)
		return -ENODEV;
	if (!facts_ok(&facts, features))
		return -EPROTO;
	*ret = facts;
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio function's configuration as a NIC. */
#ifndef DRIVERS_VIRTIO_NET_H
#define DRIVERS_VIRTIO_NET_H

#include "drivers/virtio/function.h"

/**
 * struct virtio_net_facts - what the device says of itself.
 * @has_mac:   @mac is the device's; else it has none, and @mac is zero
 * @mtu:       bytes of payload, 68..65535; 0: it does not say
 * @max_pairs: 1..32768; 1 without VIRTIO_NET_F_MQ
 * @link_up:   true without VIRTIO_NET_F_STATUS
 * @announce:  the guest is to announce itself
 */
struct virtio_net_facts {
	bool has_mac;
	uint8_t mac[6];
	uint16_t mtu;
	uint16_t max_pairs;
	bool link_up;
	bool announce;
};

/**
 * virtio_net_read() - all of it, as of one moment.
 * @ret: written on success only
 *
 * A field is read only when it is there: before negotiation by the features that are offered, after it
 * by those that were accepted.
 *
 * Source: virtio 1.2, 2.5 and 5.1.4.
 * Return: 0; -ENODEV; -EPROTO values that no NIC can have, or no room for them; -EIO it changes each
 *         time it is read.
 */
int virtio_net_read(struct virtio_function *f, struct virtio_net_facts *ret);

#endif

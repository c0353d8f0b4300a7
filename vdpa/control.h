/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's driver sets through the control queue of virtio-net, whoever serves it: all of it that
 * can be carried to another device.
 *
 * Source: virtio 1.2, 5.1.6.5 "Control Virtqueue".
 */
#ifndef VDPA_CONTROL_H
#define VDPA_CONTROL_H

#include <stdint.h>

#include "vdpa/base/bits.h"

#define CONTROL_MAX_MACS 64   /* of each table */
#define CONTROL_VLANS	 4096 /* VLAN identifiers */

/* Bits of struct control_state.flags; they are also those of a saved state. */
#define CONTROL_PROMISC	       BIT(0) /* receive modes, as the commands of these names set them */
#define CONTROL_ALLMULTI       BIT(1)
#define CONTROL_ALLUNI	       BIT(2)
#define CONTROL_NOMULTI	       BIT(3)
#define CONTROL_NOUNI	       BIT(4)
#define CONTROL_NOBCAST	       BIT(5)
#define CONTROL_MORE_UNICAST   BIT(6) /* the table was too long: all unicast addresses pass */
#define CONTROL_MORE_MULTICAST BIT(7)
#define CONTROL_FILTERS	       BIT(8) /* a mode or a table was set; before, addresses don't matter */
#define CONTROL_MAC	       BIT(9) /* @mac was set */
#define CONTROL_OFFLOADS_SET   BIT(10) /* @offloads was set; before, all that were negotiated are on */
#define CONTROL_ANNOUNCE       BIT(11) /* the guest is to announce itself, and has not done so */
#define CONTROL_ALL	       (BIT(12) - 1)

/* All zero: what a device has after its reset. */
struct control_state {
	uint32_t flags;
	uint16_t pairs; /* that incoming flows may spread over; 0: not set, which is one */
	uint16_t n_unicast, n_multicast;
	uint8_t mac[6];
	uint64_t offloads; /* towards the guest, as feature bits */
	uint64_t vlans[CONTROL_VLANS / 64]; /* whose frames pass */
	uint8_t unicast[CONTROL_MAX_MACS][6];
	uint8_t multicast[CONTROL_MAX_MACS][6];
};

#endif

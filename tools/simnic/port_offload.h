/* SPDX-License-Identifier: BSD-2-Clause */
/* Offload requests between virtio-net's form and DPDK's. */
#ifndef SIMNIC_PORT_OFFLOAD_H
#define SIMNIC_PORT_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/simnic/frame.h"

/**
 * port_offload_ask() - put the request that a frame carries into the form that a port reads.
 * @offered: RTE_ETH_TX_OFFLOAD_ that the port has
 * @m:       a frame whose request was checked; changed only on success
 * Return: false when the port, or this frame, is not so: the request is to be carried out here.
 */
bool port_offload_ask(uint64_t offered, struct rte_mbuf *m);

/**
 * port_offload_told() - what a port said of a frame it received, as the frame's request.
 * @m: afterwards without the port's flags, but for those that say whose its memory is
 */
void port_offload_told(struct rte_mbuf *m);

#endif

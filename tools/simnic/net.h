/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-net: frames out of transmit queues and into receive queues. */
#ifndef SIMNIC_NET_H
#define SIMNIC_NET_H

#include "tools/simnic/thread.h"

/**
 * net_transmit() - take what a guest sends.
 * @frames: room for NIC_BURST; they are the caller's
 *
 * Return: number of frames; *@ret_chains (may differ: bad frames are dropped) tells whether the
 * queue had anything. A ring that breaks the rules is given up after the frames before that.
 */
uint32_t net_transmit(struct data_thread *t, struct vq *q, struct rte_mbuf **frames,
	uint32_t *ret_chains);

/**
 * net_receive() - give frames to a function; they stay the caller's.
 * Frames that find no room are dropped and counted.
 */
void net_receive(struct data_thread *t, struct function *f, struct rte_mbuf **frames, uint32_t n);

/** net_catch_up() - a receive queue may go on: frames that waited for it. */
void net_catch_up(struct data_thread *t, struct vq *q);

#endif

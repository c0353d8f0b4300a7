/* SPDX-License-Identifier: BSD-2-Clause */
/* The uplink: a port of DPDK, or the loop. */
#ifndef SIMNIC_PORT_H
#define SIMNIC_PORT_H

#include "tools/simnic/thread.h"

struct port {
	enum uplink_kind kind;
	uint16_t id;	       /* of DPDK */
	uint64_t tx_offloads;  /* RTE_ETH_TX_OFFLOAD_ that are on */
	int rx_fd;	       /* readable when frames are there; -1: has to be polled */
	rte_spinlock_t tx_lock;
};

/** port_open() - Return: 0, @ret NULL for no uplink; or a negative errno, which was logged. */
int port_open(const struct options *o, struct rte_mempool *pool, struct port **ret);

/** port_close() - accepts NULL. */
void port_close(struct port *port);

/**
 * port_send() - give frames to the uplink; they stay the caller's, but may be changed.
 * @from: the function that sent them
 */
void port_send(struct data_thread *t, struct port *port, struct function *from,
	struct rte_mbuf **frames, uint32_t n);

/** port_receive() - forward what came in. Return: true when something did. */
bool port_receive(struct data_thread *t, struct port *port);

/**
 * port_sleep_ms() - how long a thread may sleep that has nothing else to do.
 * @port: may be NULL
 * Return: -1, for ever; or @poll_ms when the uplink can't wake it.
 */
int port_sleep_ms(const struct port *port, int poll_ms);

/** port_link_up() - whether the uplink has a link now. */
bool port_link_up(const struct port *port);

#endif

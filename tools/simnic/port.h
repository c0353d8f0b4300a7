/* SPDX-License-Identifier: BSD-2-Clause */
/* The uplink: a port of DPDK, or the loop. */
#ifndef SIMNIC_PORT_H
#define SIMNIC_PORT_H

#include "tools/simnic/netif.h"
#include "tools/simnic/thread.h"

struct port {
	/* fixed */
	enum uplink_kind kind;
	uint16_t id;	       /* of DPDK */
	uint64_t tx_offloads;  /* RTE_ETH_TX_OFFLOAD_ that are on */
	uint32_t max_size;     /* of a frame on the wire, without its checksum */
	bool rx_counts;	       /* @rx_fd is a counter, not the device itself: it is read, and
				* interrupts have to be asked for before each sleep */
	struct netif netif;
	rte_spinlock_t tx_lock;

	/* first data thread */
	int rx_fd; /* readable when frames are there; -1: has to be polled */
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
 * port_sleep_begin() - the thread that serves the port is about to sleep.
 * @port: may be NULL
 * @poll_ms: how long it may sleep when the uplink can't wake it
 * Return: milliseconds it may sleep; -1 for ever; 0 not at all, there were frames.
 */
int port_sleep_begin(struct data_thread *t, struct port *port, int poll_ms);

/** port_sleep_end() - it woke up. Accepts NULL. */
void port_sleep_end(struct port *port);

/** port_lost() - @rx_fd says that its device is gone: it is no more to be waited for. */
void port_lost(struct port *port);

/** port_link_up() - whether the uplink has a link now. */
bool port_link_up(const struct port *port);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The uplink. */
#include "tools/simnic/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ether.h>

#include "tools/simnic/net.h"
#include "vdpa/base/log.h"

int port_open(const struct options *o, struct rte_mempool *pool, struct port **ret)
{
	struct port *port;

	*ret = NULL;
	if (o->uplink == UPLINK_NONE)
		return 0;
	if (o->uplink != UPLINK_LOOP)
		return -EOPNOTSUPP;
	port = calloc(1, sizeof(*port));
	if (!port)
		return -ENOMEM;
	port->kind = o->uplink;
	port->rx_fd = -1;
	*ret = port;
	return 0;
}

void port_close(struct port *port)
{
	free(port);
}

static void reflect(struct data_thread *t, struct function *from, struct rte_mbuf **frames,
	uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct rte_ether_hdr *eth = rte_pktmbuf_mtod(frames[i], struct rte_ether_hdr *);
		struct rte_ether_addr source = eth->src_addr;

		if (rte_is_multicast_ether_addr(&eth->dst_addr))
			return; /* of a run of such frames: they go to all, not back */
		eth->src_addr = eth->dst_addr;
		eth->dst_addr = source;
	}
	net_receive(t, from, frames, n);
}

void port_send(struct data_thread *t, struct port *port, struct function *from,
	struct rte_mbuf **frames, uint32_t n)
{
	if (port->kind == UPLINK_LOOP)
		reflect(t, from, frames, n);
}

bool port_receive(struct data_thread *t, struct port *port)
{
	return false;
}

int port_sleep_ms(const struct port *port, int poll_ms)
{
	return !port || port->kind == UPLINK_LOOP || port->rx_fd >= 0 ? -1 : poll_ms;
}

bool port_link_up(const struct port *port)
{
	return port != NULL;
}

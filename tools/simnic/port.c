/* SPDX-License-Identifier: BSD-2-Clause */
/* The uplink. */
#include "tools/simnic/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* Source and destination change places: one load and one store, which the copy that follows likes. */
static void swap_addresses(uint8_t *frame)
{
	bytes16 head;

	memcpy(&head, frame, sizeof(head));
	head = __builtin_shufflevector(head, head, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14,
		15);
	memcpy(frame, &head, sizeof(head));
}

/* Frames to all are not sent back: their senders would get their own address as destination. */
static void reflect(struct data_thread *t, struct function *from, struct rte_mbuf **frames,
	uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *frame = rte_pktmbuf_mtod(frames[i], uint8_t *);

		if (frame[0] & 1)
			return;
		swap_addresses(frame);
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

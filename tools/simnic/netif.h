/* SPDX-License-Identifier: BSD-2-Clause */
/* A network interface of the kernel below a port: what DPDK does not tell of it. */
#ifndef SIMNIC_NETIF_H
#define SIMNIC_NETIF_H

#include <net/if.h>
#include <stdbool.h>

struct netif {
	int sock; /* -1: there is no interface */
	char name[IF_NAMESIZE];
};

/**
 * netif_open() - watch an interface and let it pass frames for all addresses.
 * @index: of the interface; 0: none
 *
 * Needs privileges; what comes later needs none. Passing all frames ends with the process,
 * however that ends.
 * Return: 0 or a negative errno.
 */
int netif_open(struct netif *n, unsigned int index);

void netif_close(struct netif *n);

/**
 * netif_let_all_be_sent() - make room in the send buffers of this process's packet sockets for all frames that a
 * port's ring may have. Needs CAP_NET_ADMIN.
 *
 * What a buffer has no room for stays in the ring until the next frame, which may not come: DPDK's port asks the
 * kernel to send at each burst, and never again.
 */
void netif_let_all_be_sent(void);

/** netif_running() - whether it is up and has a carrier; false when it is gone. */
bool netif_running(const struct netif *n);

#endif

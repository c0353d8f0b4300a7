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

/** netif_running() - whether it is up and has a carrier; false when it is gone. */
bool netif_running(const struct netif *n);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SIMNIC_EAL_H
#define SIMNIC_EAL_H

#include <rte_mempool.h>

#include "tools/simnic/options.h"

/**
 * eal_start() - start DPDK's environment, small, and make the memory for frames.
 * Return: 0 or a negative errno, which was logged.
 */
int eal_start(const struct options *o, struct rte_mempool **ret);

#endif

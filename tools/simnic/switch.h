/* SPDX-License-Identifier: BSD-2-Clause */
/* The switch between the functions and the uplink. */
#ifndef SIMNIC_SWITCH_H
#define SIMNIC_SWITCH_H

#include "tools/simnic/thread.h"

/**
 * switch_input() - forward frames and release them.
 * @from: who sent them; NULL: the uplink
 */
void switch_input(struct data_thread *t, struct function *from, struct rte_mbuf **frames,
	uint32_t n);

#endif

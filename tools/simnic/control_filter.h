/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest's driver wants to receive, as it said through the control queue. Any thread that may
 * look at the function. */
#ifndef SIMNIC_CONTROL_FILTER_H
#define SIMNIC_CONTROL_FILTER_H

#include "tools/simnic/nic.h"

/** control_filters() - is there anything that a function with these features does not want? */
bool control_filters(uint64_t features, const struct sim_control *state);

/**
 * control_filter() - keep the frames that the function's driver wants.
 * @ret: room for @n; those frames, in order
 * Return: how many they are. The others are counted as dropped; they stay the caller's.
 */
uint32_t control_filter(struct function *f, struct rte_mbuf **frames, uint32_t n,
	struct rte_mbuf **ret);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SIMNIC_MEMORY_H
#define SIMNIC_MEMORY_H

#include "tools/simnic/nic.h"

/**
 * memory_watch() - from now on a guest's memory file that was truncated fails its function, not
 * the process. For one NIC a process. Return: 0 or a negative errno.
 */
int memory_watch(struct nic *nic);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SIMNIC_ANNOUNCE_H
#define SIMNIC_ANNOUNCE_H

#include "tools/simnic/nic.h"

/**
 * announce() - send a broadcast RARP from a function, so that switches learn where a MAC is.
 * @mac: in bytes 0-5
 * Return: 0; -EINVAL no unicast address; -ENOMEM. Control thread only.
 */
int announce(struct function *f, uint64_t mac);

#endif

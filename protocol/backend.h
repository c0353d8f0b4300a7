/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of our own to the front-end. None waits, nor asks for a reply: the front-end may be waiting
 * for us meanwhile. One that it has no room for is lost.
 *
 * Source: vhost-user, "Back-end message types".
 */
#ifndef PROTOCOL_BACKEND_H
#define PROTOCOL_BACKEND_H

#include "vdpa/driver.h"

/**
 * backend_config_change() - BACKEND_CONFIG_CHANGE_MSG.
 * @sock: the channel of SET_BACKEND_REQ_FD; -1: there is none
 */
void backend_config_change(int sock);

/** backend_iotlb() - BACKEND_IOTLB_MSG: a translation is missing, or an access was refused. */
void backend_iotlb(int sock, const struct driver_miss *miss);

#endif

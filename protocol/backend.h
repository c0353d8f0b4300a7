/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of our own to the front-end, on the channel of SET_BACKEND_REQ_FD. None waits, nor asks for a
 * reply: the front-end may be waiting for us meanwhile. Return, of all: 0; -EAGAIN: there is no room now,
 * and nothing was sent; -EPIPE or another errno: the channel is of no use any more.
 *
 * Source: vhost-user, "Back-end message types".
 */
#ifndef PROTOCOL_BACKEND_H
#define PROTOCOL_BACKEND_H

#include "protocol/wire.h"
#include "vdpa/driver.h"

/**
 * struct backend_desc - a row of the table of requests of our own.
 * @name:  as in the specification, without its beginning
 * @size:  payload bytes, exactly
 * @needs: protocol feature without which it is not sent; beside WIRE_PF_BACKEND_REQ, which all need
 * @when:  what makes us send it, for people; NULL with a @why
 * @why:   why it is never sent, for people
 */
struct backend_desc {
	const char *name;
	uint16_t size;
	uint8_t needs;
	const char *when;
	const char *why;
};

/** backend_find() - the row of @request, below WIRE_BACKEND_N_REQUESTS; never NULL. */
const struct backend_desc *backend_find(enum wire_backend_request request);

/** backend_config_change() - BACKEND_CONFIG_CHANGE_MSG. */
int backend_config_change(int sock);

/** backend_iotlb() - BACKEND_IOTLB_MSG: a translation is missing, or an access was refused. */
int backend_iotlb(int sock, const struct driver_miss *miss);

/** backend_vring() - @request: WIRE_BACKEND_VRING_CALL, or WIRE_BACKEND_VRING_ERR. */
int backend_vring(int sock, uint32_t ring, enum wire_backend_request request);

/**
 * backend_host_notifier() - BACKEND_VRING_HOST_NOTIFIER_MSG.
 * @fd: lent; the page at @offset, of @size bytes, which has to be the host's page size
 */
int backend_host_notifier(int sock, uint32_t ring, int fd, uint64_t offset, uint64_t size);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of virtio-net's control queue: bytes in, verdict out. Nothing here knows of rings, memory or
 * functions, so that anything can be tried on it.
 *
 * Source: virtio 1.2, 5.1.6.5 "Control Virtqueue".
 */
#ifndef SIMNIC_CONTROL_COMMAND_H
#define SIMNIC_CONTROL_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/sim/mailbox.h"

#define CONTROL_MAX_COMMAND 16384U /* bytes; about 2700 addresses */

/* Offloads that CTRL_GUEST_OFFLOADS is about, as feature bits. */
#define CONTROL_OFFLOADS (BIT_ULL(1) | BIT_ULL(7) | BIT_ULL(8) | BIT_ULL(9) | BIT_ULL(10))

/**
 * control_command() - carry one command out on a state.
 * @features:  negotiated; a command whose feature is not among them is refused
 * @max_pairs: of the function
 * @bytes:     all that the driver wrote, from the class on; private memory
 * @size:      bytes; any, also 0
 * @state:     changed only when the verdict is VIRTIO_NET_OK
 *
 * Whether the driver may have the address that it sets is not looked at here.
 * Return: VIRTIO_NET_OK or VIRTIO_NET_ERR.
 */
uint8_t control_command(uint64_t features, uint16_t max_pairs, const uint8_t *bytes, uint32_t size,
	struct sim_control *state);

/** control_state_ok() - is it a state that commands can lead to? */
bool control_state_ok(uint16_t max_pairs, const struct sim_control *state);

#endif

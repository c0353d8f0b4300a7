/* SPDX-License-Identifier: BSD-2-Clause */
/* What was set through the control queue, as bytes of a saved state (vdpa/saved.h). */
#ifndef VDPA_SAVED_CONTROL_H
#define VDPA_SAVED_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "vdpa/control.h"

#define SAVED_CONTROL_SIZE (24 + CONTROL_VLANS / 8 + 2 * CONTROL_MAX_MACS * 6) /* bytes */

/** saved_control_put() - @ret: SAVED_CONTROL_SIZE bytes. */
void saved_control_put(const struct control_state *state, uint8_t *ret);

/**
 * saved_control_get() - of any bytes.
 * Return: 0, and counts and flags are in range; -EBADMSG.
 */
int saved_control_get(const uint8_t *data, size_t size, struct control_state *ret);

#endif

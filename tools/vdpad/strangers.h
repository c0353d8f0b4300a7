/* SPDX-License-Identifier: BSD-2-Clause */
/* What belongs to no device: left by a vdpad that died while it made or removed one. */
#ifndef VDPAD_STRANGERS_H
#define VDPAD_STRANGERS_H

struct nic;
struct vdpad;

/** strangers_remove_shims() - end shims in RUN that no device has. After devices_load(). */
void strangers_remove_shims(struct vdpad *v);

/**
 * strangers_remove_sockets() - remove sockets in RUN/vhost that no device and nobody else has: those that
 * are still served now, by what is about to end, within half a minute.
 */
void strangers_remove_sockets(struct vdpad *v);

/** strangers_remove_functions() - remove functions of a found NIC that no device has. */
void strangers_remove_functions(struct nic *nic);

/** strangers_remove_uids() - free user ids that no device has. */
void strangers_remove_uids(struct vdpad *v);

#endif

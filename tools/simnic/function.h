/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a function and of its queues. Control thread only. */
#ifndef SIMNIC_FUNCTION_H
#define SIMNIC_FUNCTION_H

#include "tools/simnic/nic.h"

/* Source: virtio 1.2, 6; linux/virtio_config.h of older kernels lacks it. */
#define FUNCTION_F_IN_ORDER 35

/** function_features() - what functions of this NIC can offer. */
uint64_t function_features(const struct nic *nic);

/**
 * function_create() - a new function in a free slot, without a mailbox.
 * @identity: checked by the caller
 * Return: 0; -ENOSPC no slot; -ENOMEM or another errno.
 */
int function_create(struct nic *nic, const struct sim_function *identity, struct function **ret);

/** function_free() - stop everything and release it, mailbox included. */
void function_free(struct function *f);

/** function_reset() - back to the state after function_create(), BAR and mailbox aside. */
void function_reset(struct function *f);

/**
 * function_renew() - function_reset() behind the driver's back: the BAR it knows stays as the last
 * word on the queues' positions, and the function gets a new one that goes on counting.
 * Return: 0, or a negative errno, and the BAR is the old one, with its queues disabled: another driver
 * would take it for what its predecessor left, so it has to wait for a new one.
 */
int function_renew(struct function *f);

/** function_map(), function_unmap() - see SIM_MAP and SIM_UNMAP. */
int function_map(struct function *f, const struct sim_map *map, int fd);
int function_unmap(struct function *f, const struct sim_map *map);

/** function_set_log() - see SIM_SET_LOG. @fd: -1 for no log. */
int function_set_log(struct function *f, const struct sim_log *log, int fd);

int function_set_features(struct function *f, uint64_t features);

/**
 * function_set_doorbell() - poll all transmit queues, or let them sleep.
 * @ret_fd: with @on: the doorbell page, the function's. Return: 0; -ENOMEM or another errno.
 */
int function_set_doorbell(struct function *f, bool on, int *ret_fd);

/** function_rescan() - after queues started or stopped: what the switch has to know. Paused. */
void function_rescan(struct function *f);

#endif

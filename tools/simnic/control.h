/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue of a function: the ring, and the state that its commands change. Control thread
 * only, but for @control, @filters, @mac and @rx_features of the function, which data threads read.
 */
#ifndef SIMNIC_CONTROL_H
#define SIMNIC_CONTROL_H

#include "tools/simnic/nic.h"

/* ---------------------------------------------------------- the state: control_state.c */

/** control_refresh() - after the function's features or identity changed: what holds now. Paused. */
void control_refresh(struct function *f);

/** control_clear() - as if no driver had ever set anything. @keep_regs: the BAR is the last word. Paused. */
void control_clear(struct function *f, bool keep_regs);

/** control_forget_mac() - as if the driver had never chosen an address. */
void control_forget_mac(struct function *f);

/** control_set() - see SIM_SET_CONTROL. Return: 0; -EOPNOTSUPP no control queue; -EINVAL. */
int control_set(struct function *f, const struct sim_control *state);

/**
 * control_carry_out() - one command of the driver's.
 * Return: VIRTIO_NET_OK, and it has taken effect; VIRTIO_NET_ERR, and nothing has changed.
 */
uint8_t control_carry_out(struct function *f, const uint8_t *bytes, uint32_t size);

/** control_pairs() - over how many pairs incoming flows may spread. */
uint16_t control_pairs(const struct function *f);

/* ----------------------------------------------------------- the ring: control_queue.c */

/** control_open() - once, before functions are made. Return: 0 or a negative errno. */
int control_open(struct nic *nic);

/** control_close() - none is there any more. */
void control_close(struct nic *nic);

/** control_start(), control_stop() - a control queue begins or ceases to run. Paused. */
int control_start(struct vq *q);
void control_stop(struct vq *q);

/** control_wake() - look at a queue that runs: its way to kick has changed. */
void control_wake(struct vq *q);

/** control_watch(), control_unwatch() - begin and end to listen to its kick descriptor. */
int control_watch(struct vq *q);
void control_unwatch(struct vq *q);

#endif

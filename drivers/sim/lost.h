/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the queues of a function stood that is gone: its registers and the rings tell. */
#ifndef DRIVERS_SIM_LOST_H
#define DRIVERS_SIM_LOST_H

#include "drivers/sim/mailbox.h"
#include "vdpa/driver.h"

/** sim_regs_ran() - did the queue run, by these registers? NULL: there are none. @queue: any. */
bool sim_regs_ran(const struct sim_regs *regs, uint16_t queue);

/** sim_regs_position() - as driver_ops.lost_position, by these registers. NULL: there are none. */
int sim_regs_position(const struct sim_regs *regs, const struct driver_queue *queue, bool packed,
	const void *ring, struct queue_position *ret);

#endif

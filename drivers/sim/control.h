/* SPDX-License-Identifier: BSD-2-Clause */
/* What was set through the control queue, between simnic's form and the core's. */
#ifndef DRIVERS_SIM_CONTROL_H
#define DRIVERS_SIM_CONTROL_H

#include "drivers/sim/mailbox.h"
#include "vdpa/driver.h"

/** sim_control_form() - in simnic's words. */
void sim_control_form(const struct control_state *state, struct sim_control *ret);

/**
 * sim_control_read() - as a function's registers have it.
 * @regs: may belong to a device that is gone
 * Return: 0; -EPROTO they make no sense.
 */
int sim_control_read(const struct sim_regs *regs, struct control_state *ret);

#endif

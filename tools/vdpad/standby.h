/* SPDX-License-Identifier: BSD-2-Clause */
/* The standby of a device: a function of a simnic that takes its rings over. */
#ifndef VDPAD_STANDBY_H
#define VDPAD_STANDBY_H

#include <jansson.h>
#include <stdbool.h>

#include "tools/vdpad/failure.h"
#include "tools/vdpad/vdpad.h"

struct device;
struct device_spec;

/**
 * standby_read() - the words `standby` and `datapath` of a request.
 * @spec: all other facts; written on success
 * @ret_now: the datapath is to be followed at once; may be NULL
 * Return: 0, or negative with @why.
 */
int standby_read(struct vdpad *v, json_t *params, struct device_spec *spec, bool *ret_now,
	struct failure *why);

/** standby_datapath_name() - of device_spec.datapath; standby_datapath_parse(): 0, or -EINVAL. */
const char *standby_datapath_name(uint32_t datapath);
int standby_datapath_parse(const char *text, uint32_t *ret);

/** standby_is_ready() - there is none, or it can be made now. */
bool standby_is_ready(const struct device *dev);

/**
 * standby_obtain(), standby_give() - steps of device_start(): its function, and to the shim with it.
 * Return: 0; BACKING_WAIT: device_start_go_on() comes later; negative with dev->why.
 */
int standby_obtain(struct device *dev);
int standby_give(struct device *dev);

/** standby_undo() - it was for nothing. */
void standby_undo(struct device *dev);

/** standby_check() - its NIC is up, or was: see to it that the worker of a device that runs has it. */
void standby_check(struct device *dev);

/** standby_other_is_missed() - does the worker wait for the device's own function? Also of one without a standby. */
bool standby_other_is_missed(const struct device *dev);

/** standby_change() - tell it dev->spec. */
void standby_change(struct device *dev);

/** standby_release() - the device goes. */
void standby_release(struct device *dev);

/** standby_forget() - nothing may call back. */
void standby_forget(struct device *dev);

#endif

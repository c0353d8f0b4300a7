/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What backs a device: a function of a simnic, or one of PCI. All that differs between them is in a
 * table of operations, one for each bus; a device's "mgmtdev" says which.
 *
 * Operations that take their time return BACKING_WAIT, and go on in the function named there.
 */
#ifndef VDPAD_BACKING_H
#define VDPAD_BACKING_H

#include <jansson.h>

#include "tools/vdpad/channel.h"
#include "tools/vdpad/failure.h"
#include "tools/vdpad/vdpad.h"

#define BACKING_WAIT 1
#define BACKING_HANDLE_SIZE (CONFIG_NIC_NAME_MAX + 8)

struct device;
struct device_spec;
struct health;

/**
 * struct mgmtdev - what devices can be made of, and with which facts.
 * @handle:	   "sim/nic0", "pci/0000:00:05.0"
 * @worker_driver: in the worker's words
 * @features:	   all ones when they are not known before it was opened
 * @max_pairs, @max_control_pairs: at most; the latter with a control queue of the device
 * @default_mtu, @default_pairs: where nobody says; 0: what the device has
 */
struct mgmtdev {
	const struct backing *backing;
	char handle[BACKING_HANDLE_SIZE];
	char worker_driver[16];
	uint64_t features;
	uint16_t max_pairs, max_control_pairs;
	uint16_t default_mtu, default_pairs;
};

/**
 * struct backing - the operations.
 * @poll_ms:	  how often a device that waits looks whether it is ready; 0: it is told
 * @own_facts:	  address, MTU and so on are the function's: nobody gives it others
 * @pins_memory:  the worker locks the guest's memory, so nothing may limit it
 * @is_configured: may there be such a one at all? Else @ret_why, of 200 bytes
 * @is_ready:	  can the device be started now?
 * @require:	  0 when requests can be carried out; else @why says what is the matter
 * @obtain:	  get dev->fds, what the worker works with; BACKING_WAIT: device_start_go_on()
 * @undo:	  @obtain was for nothing
 * @verify:	  the worker serves: is all as it was asked for? As @obtain; may be NULL
 * @check:	  see to it that the worker of a device that runs has what it needs
 * @on_trouble:	  the worker says that something is wrong, or is a new one; may be NULL
 * @release:	  the shim is gone: give up what the device had, then device_end_go_on()
 * @may_change:	  0 when a device may have these facts, else @why
 * @change:	  tell it dev->spec; as channel_call(); may be NULL: there is nobody to tell
 * @forget:	  the device goes: nothing may call back
 * @view:	  of its management device, for dumps; may be NULL
 */
struct backing {
	const char *bus;
	unsigned int poll_ms;
	bool own_facts;
	bool pins_memory;
	bool (*is_configured)(const struct device *dev, char ret_why[200]);
	bool (*is_ready)(const struct device *dev);
	int (*require)(const struct device *dev, struct failure *why);
	int (*obtain)(struct device *dev);
	void (*undo)(struct device *dev);
	int (*verify)(struct device *dev);
	void (*check)(struct device *dev);
	void (*on_trouble)(struct device *dev);
	void (*release)(struct device *dev);
	int (*may_change)(const struct device *dev, const struct device_spec *spec,
		struct failure *why);
	int (*change)(struct device *dev, channel_done done, void *arg);
	void (*forget)(struct device *dev);
	json_t *(*view)(const struct device *dev);
};

extern const struct backing backing_sim, backing_pci;

/** backing_of() - by a handle of a management device; never NULL: what has no bus is a simnic's. */
const struct backing *backing_of(const char *handle);

/** backing_function() - a handle without its bus. */
const char *backing_function(const char *handle);

/**
 * mgmtdev_get() - a management device that a device can be added to now.
 * @handle: with its bus, or without where that is unique
 * @bind:   it may be taken from the driver that it has
 * Return: 0, or negative with @why.
 */
int mgmtdev_get(struct vdpad *v, const char *handle, bool bind, struct mgmtdev *ret,
	struct failure *why);

/** mgmtdevs_view() - of all, or of the one that @handle names. NULL with @why: there is none. */
json_t *mgmtdevs_view(struct vdpad *v, const char *handle, struct failure *why);

/* backing_pci.c */

/** pci_facts_differ() - is a device that was opened as it was asked for? 0, or negative with @why. */
int pci_facts_differ(const struct device_spec *spec, const struct health *health,
	struct failure *why);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the conformance suite needs of a driver's test stand. A stand has one NIC, on which devices
 * are made that reach each other through its switch. The suite drives them by vdpa/driver.h.
 */
#ifndef TESTS_DRIVER_RIG_H
#define TESTS_DRIVER_RIG_H

#include "vdpa/base/bits.h"
#include "vdpa/driver.h"

/* A device of the NIC; each rig embeds it in its own structure. */
struct rig_device {
	uint8_t mac[6];
	uint16_t pairs;
	uint16_t mtu;		       /* its own, and the largest one it takes */
	int fds[DRIVER_MAX_DEVICE_FDS]; /* what vdpad would have opened for it; the rig's */
	size_t n_fds;
};

/* What vdpa/driver.h leaves to the device, and caps don't say. */
enum rig_lack {
	RIG_OWN_KICKS = 1,    /* kicks reach the device only while someone asks the driver for events */
	RIG_QUEUE_ERRORS = 2, /* a ring that breaks the rules fails the device, not that queue alone */
	RIG_FIGURES = 4,      /* nothing is counted */
	RIG_IDLE_EVENTS = 8,  /* a device no queue of which runs tells nothing */
	RIG_EXACT_CONFIG = 16, /* that the configuration changed is also told when it may have, as at open */
	RIG_OWN_POSITIONS = 32, /* of a device that is lost, its rings alone say where they stood */
	RIG_FILES = 64,	      /* memory that it was given stays as it is when its file is cut short */
	RIG_LOG_FRAMES = 128, /* while a log is replaced, or ends, frames may be lost */
};

/* Calls that may have to wait for the device. */
enum rig_call {
	RIG_CALL_OPEN,
	RIG_CALL_RESET,
	RIG_CALL_SET_FEATURES,
	RIG_CALL_MAP,
	RIG_CALL_UNMAP,
	RIG_CALL_PREPARE,
	RIG_CALL_START,
	RIG_CALL_STOP, /* of what does not run */
	RIG_CALL_SET_QUEUE_FD,
	RIG_CALL_GET_CONFIG,
	RIG_CALL_SET_MTU,
	RIG_CALL_ANNOUNCE,
	RIG_CALL_SET_LOG, /* while no queue runs */
	RIG_N_CALLS,
};

#define RIG_ALL_CALLS (BIT(RIG_N_CALLS) - 1)

/** rig_device() - as all rigs make their device @number. */
static inline struct rig_device rig_device(unsigned int number, uint16_t pairs)
{
	return (struct rig_device){
		.mac = { 0x52, 0x54, 0, 0, (uint8_t)(number >> 8), (uint8_t)number },
		.pairs = pairs,
		.mtu = 1500,
	};
}

/**
 * struct driver_rig - a test stand. Its functions end the test when they fail.
 * @driver:     under test
 * @lacks:      enum rig_lack bits; what they prove is skipped, or shown in another way
 * @waits:      BIT(enum rig_call): in which calls the driver waits for the device
 * @device_new: a fresh device that reaches the others
 * @device_free: accepts NULL
 * @set_link:   take the device's link away or give it back
 * @lose:       the NIC dies and comes again; each device has new @fds; those of before stay open
 * @hang:       the device takes the next command that is waited for and never answers it
 * @delay:      the device carries out the next command only after @ms, and answers it then
 *
 * A rig whose NIC can't misbehave on demand leaves @lose, @hang and @delay out; what they prove is
 * skipped.
 */
struct driver_rig {
	const struct driver_ops *driver;
	unsigned int lacks;
	unsigned int waits;
	struct rig_device *(*device_new)(uint16_t pairs);
	void (*device_free)(struct rig_device *device);
	void (*set_link)(struct rig_device *device, bool up);
	void (*lose)(void);
	void (*hang)(struct rig_device *device);
	void (*delay)(struct rig_device *device, unsigned int ms);
};

/** driver_suite_run() - run all tests on a stand. Return: number of those that failed. */
int driver_suite_run(const struct driver_rig *rig);

#endif

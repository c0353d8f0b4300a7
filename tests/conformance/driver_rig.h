/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the conformance suite needs of a driver's test stand. A stand has one NIC, on which devices
 * are made that reach each other through its switch. The suite drives them by vdpa/driver.h.
 */
#ifndef TESTS_DRIVER_RIG_H
#define TESTS_DRIVER_RIG_H

#include "vdpa/driver.h"

/* A device of the NIC; each rig embeds it in its own structure. */
struct rig_device {
	uint8_t mac[6];
	uint16_t pairs;
	uint16_t mtu;		       /* its own, and the largest one it takes */
	int fds[DRIVER_MAX_DEVICE_FDS]; /* what vdpad would have opened for it; the rig's */
	size_t n_fds;
};

/**
 * struct driver_rig - a test stand. Its functions end the test when they fail.
 * @driver:     under test
 * @device_new: a fresh device that reaches the others
 * @device_free: accepts NULL
 * @set_link:   take the device's link away or give it back
 * @lose:       the NIC dies and comes again; each device has new @fds; those of before stay open
 * @hang:       the device takes the next command and never answers it
 * @delay:      the device carries out the next command only after @ms, and answers it then
 *
 * A rig whose NIC can't misbehave on demand leaves @lose, @hang and @delay out; what they prove is
 * skipped.
 */
struct driver_rig {
	const struct driver_ops *driver;
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

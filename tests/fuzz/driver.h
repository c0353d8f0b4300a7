/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver whose device is a table: it moves nothing by itself, fails when the input says so, and
 * ends the program when it is called in a way that vdpa/driver.h rules out. It also stands in for
 * the device, so it outlives the worker whose end is played.
 */
#ifndef TESTS_FUZZ_DRIVER_H
#define TESTS_FUZZ_DRIVER_H

#include <stdbool.h>

#include "vdpa/base/iotlb.h"
#include "vdpa/device.h"
#include "vdpa/driver.h"

#define FUZZ_MAX_MAPS	 40
#define FUZZ_MAX_ENTRIES 24 /* translations; then it forgets the oldest one */

struct fuzz_map {
	struct driver_map is; /* its descriptor is the device's own */
	dev_t dev;
	ino_t ino;
};

struct fuzz_queue {
	bool prepared, running, stopped;
	struct driver_queue is; /* its descriptors are not to be used */
	struct queue_position at;
	bool misses; /* @miss is what it waits for, or was given up for */
	struct driver_miss miss;
};

struct fuzz_driver {
	struct driver_device device;
	struct driver_caps caps;
	bool is_open;
	bool lenient; /* refuses what the contract rules out, as a driver does that is asked by a
			 liar */
	bool gone;    /* answered -ENODEV: nothing but reopen and questions may follow */
	bool broken;  /* answered that it failed: nothing but a reset may follow */

	uint64_t features;
	struct fuzz_map maps[FUZZ_MAX_MAPS];
	size_t n_maps;
	bool logs;
	struct fuzz_queue queues[QUEUE_MAX];
	struct iotlb table;
	bool doorbell;
	struct control_state control;
	bool control_doubtful; /* it refused to forget, or to have, what was set */
	bool refuses_control; /* set_control(), for tests */
	bool advised, arriving; /* postcopy: between @postcopy_advise and @postcopy_end */

	uint32_t fail_after; /* calls from now on; the next one is 1; 0: none fails */
	int fail_with;
	uint32_t fail_more;  /* that fail the same way behind it */
	struct driver_event events[8];
	size_t n_events;
	void (*on_call)(void); /* before each call that may change the device; may not return */
	uint64_t n_changes; /* calls that changed the device */
	struct driver_net_config config;
};

/** fuzz_driver_init() - a new device. */
void fuzz_driver_init(struct fuzz_driver *d, const struct driver_caps *caps);

/** fuzz_driver_reset() - it lost all that it was told, as one that was replaced. */
void fuzz_driver_reset(struct fuzz_driver *d);

/** fuzz_driver_free() - close what it has. */
void fuzz_driver_free(struct fuzz_driver *d);

/** fuzz_driver_event() - it has something to say. */
void fuzz_driver_event(struct fuzz_driver *d, enum driver_event_kind kind, uint16_t queue);

/** fuzz_driver_work() - it takes up to @n chains of a queue and completes them, @written bytes
 * each. */
void fuzz_driver_work(struct fuzz_driver *d, uint16_t queue, uint32_t n, uint32_t written);

/** fuzz_driver_miss() - a queue that runs needs an address. Return: false: it does not wait for one. */
bool fuzz_driver_miss(struct fuzz_driver *d, uint16_t queue, const struct driver_miss *miss);

/** fuzz_driver_translates() - does it know where any address of [@first, @last] is? */
bool fuzz_driver_translates(const struct fuzz_driver *d, uint64_t first, uint64_t last);

/** fuzz_driver_control() - the guest's driver sets something through the control queue, if that runs. */
void fuzz_driver_control(struct fuzz_driver *d, const uint8_t how[4]);

/** fuzz_driver_matches() - what it has and runs is what @state says; else the program ends. */
void fuzz_driver_matches(const struct fuzz_driver *d, const struct device *device);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that arrives by postcopy: its memory is complete in one file, and comes into another one
 * page by page, those first that its device asks for. The guest's own CPUs stand still meanwhile.
 */
#ifndef TESTS_DRIVER_MOVER_H
#define TESTS_DRIVER_MOVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "tests/conformance/driver_suite.h"

struct mover {
	struct guest *guest;
	int target;	 /* the file that the device has mapped */
	int uffd;
	uint64_t address; /* of the guest's memory, as faults have it */
	atomic_uint n_asked;
	atomic_bool deaf; /* nothing is provided */
	atomic_bool stop;
	pthread_t thread;
	pthread_mutex_t giving; /* a page is provided once: its device may have written to it since */
};

/** mover_guest() - a guest as suite_guest(); skips the test when its device has no page faults. */
struct guest *mover_guest(void **state, uint16_t pairs);

/** mover_begin() - advise and map: the device has memory without any page. */
void mover_begin(struct mover *m, struct guest *g);

/** mover_run() - register, and provide what is asked for. */
void mover_run(struct mover *m, bool deaf);

/** mover_wait_asked() - wait until the device asked for a page, so many times in all. */
void mover_wait_asked(const struct mover *m, unsigned int n);

/** mover_has() - whether there is a page in the target. */
bool mover_has(const struct mover *m, uint64_t iova);

/** mover_give() - provide a page unasked. */
void mover_give(struct mover *m, uint64_t iova);

/** mover_land() - provide all that is missing, and let the guest go on in the new memory. */
void mover_land(struct mover *m);

/** mover_free() - ends the thread. */
void mover_free(struct mover *m);

#endif

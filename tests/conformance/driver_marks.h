/* SPDX-License-Identifier: BSD-2-Clause */
/* A dirty log, as its reader has it, for tests of @set_log. */
#ifndef TESTS_DRIVER_MARKS_H
#define TESTS_DRIVER_MARKS_H

#include "tests/conformance/driver_suite.h"

#define MARKS_SIZE ((GUEST_BASE + GUEST_MEMORY) / DRIVER_LOG_PAGE / 8) /* the least that will do */

struct marks {
	int fd;
	uint64_t offset; /* of the bits in the file */
	uint8_t *file;	 /* file_size bytes */
	uint64_t file_size;
	uint8_t *bits;
};

/** marks_new() - no bit is set. Ends with marks_free(). */
struct marks marks_new(uint64_t offset);
void marks_free(struct marks *m);

/** marks_log() - as the driver wants it. */
struct driver_log marks_log(const struct marks *m);

/** marks_set() - let the guest's device mark there, which must succeed; NULL: nowhere. */
void marks_set(struct guest *g, const struct marks *m);

/** marks_wait_for() - wait until the page of @iova is marked. */
void marks_wait_for(const struct marks *m, uint64_t iova);

/** marks_has() - is the page of @iova marked? */
bool marks_has(const struct marks *m, uint64_t iova);

/** marks_any() - is any page of a guest's memory marked? */
bool marks_any(const struct marks *m);

/** marks_clear() - forget all. */
void marks_clear(struct marks *m);

/**
 * marks_take() - clear the bits of a guest's memory, and copy the pages that were marked, and those that
 * the core marks for such a device.
 */
void marks_take(struct marks *m, struct guest *g, uint8_t *copy);

/** marks_copy() - the file as it is; free() it. */
uint8_t *marks_copy(const struct marks *m);

/**
 * marks_assert_all() - each page that is not as @before is marked in @a or in @b (NULL: none), but for
 * those that the core marks for such a device.
 */
void marks_assert_all(struct guest *g, const uint8_t *before, const struct marks *a,
	const struct marks *b);

/** marks_memory() - the guest's memory as it is; free() it. */
uint8_t *marks_memory(struct guest *g);

/** marks_guest() - as suite_guest_sized(); skips the test when the device can't log. */
struct guest *marks_guest(void **state, uint16_t pairs, uint32_t size);

/** marks_fill() - offer receive buffers in pages of their own; each other one crosses into the next. */
void marks_fill(struct guest *g);

/** marks_resume() - prepare and start all queues where they were stopped. */
void marks_resume(struct guest *g, const struct queue_position *at);

/** marks_offer_flows() - @n frames of as many flows to @to, in pair 0, and a kick. */
void marks_offer_flows(struct guest *from, const struct guest *to, uint32_t n);

/** marks_wait_received() - take @n chains from receive queues, without a write to memory. */
void marks_wait_received(struct guest *g, uint32_t n);

/** marks_wait_sent() - take what the device sent until nothing of it is on its way. */
void marks_wait_sent(struct guest *g);

#endif

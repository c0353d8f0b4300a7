/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that rewrites ring, tables and suppression areas while the relay works on them, and a
 * front-end that does so with the inflight area. Whatever they do, the device is given guest memory only,
 * and each page that it or the relay writes is marked.
 */
#include "relay_lab_hostile.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "vdpa/base/clock.h"
#include "vdpa/inflight.h"

static struct lab lab;
static uint64_t area_size; /* 0: there is no inflight area */
static uint64_t n_refused, n_resubmitted;
static bool done; /* atomic */

static void *play_guest(void *unused)
{
	uint64_t rng = 0x2545f4914f6cdd1dULL;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 20; i++)
			lab_scribble(&lab, &rng);
		for (int i = 0; i < 20 && area_size > 0; i++)
			lab_scribble_area(&lab, &rng);
		if (lab_below(&rng, 4) == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
	}
	return NULL;
}

/* Chains of an area that contradicts itself are nobody's. Return: is there a relay? */
static bool open_relay(struct queue_position at, enum relay_begin begin)
{
	int r;

	lab.setup.position = at;
	r = relay_open(&lab.setup, lab.kept, begin, &lab.relay);
	if (r == -EBADMSG && begin == RELAY_FRESH && lab.setup.resubmits) {
		n_refused++;
		return false;
	}
	if (r != 0)
		fail_msg("relay_open: %d", r);
	lab_log(&lab, true, true);
	return true;
}

static bool open_somewhere(uint64_t *rng)
{
	uint16_t avail = lab.packed ? (uint16_t)lab_below(rng, lab.size)
				    : shared_load16(&((struct vring_avail *)(void *)(lab.ram +
							      lab.driver))->idx);
	bool wrap = lab.packed && lab_below(rng, 2);

	lab.setup.resubmits = area_size > 0 && lab_below(rng, 2);
	if (lab.setup.resubmits && lab_below(rng, 4) > 0)
		lab_write_area(&lab, avail, wrap, rng);
	if (!open_relay((struct queue_position){ avail, avail, wrap, wrap }, RELAY_FRESH))
		return false;
	lab_device_shadow(&lab);
	return true;
}

static void expect_marks(void)
{
	uint64_t gpa;

	if (!lab_hostile_marks(&lab, &gpa)) {
		done = true;
		fail_msg("%#lx was written, and is not marked", gpa);
	}
}

static int run(uint32_t budget)
{
	uint64_t gpa;
	int r = lab_hostile_run(&lab, budget, &gpa);

	if (r == 1) {
		done = true;
		fail_msg("the relay wrote to %#lx, which is not marked", gpa);
	}
	return r;
}

/* Return: chains that went through. */
static uint64_t struggle(uint64_t *rng)
{
	struct relay_stats stats;
	struct queue_position at = { 0 };
	int r = 0;

	if (!open_somewhere(rng))
		return 0;
	for (int i = 0; i < 60 && r == 0; i++) {
		r = run(1 + lab_below(rng, 40));
		lab_take(&lab, lab_below(&lab.dev.rng, 20));
		lab_complete(&lab, lab_below(&lab.dev.rng, 20));
		if (r == 0)
			r = run(1 + lab_below(rng, 40));
		if (r == 0)
			expect_marks();
		if (lab_below(rng, 4) == 0)
			relay_sleep(lab.relay);
		if (lab_below(rng, 10) == 0 && r == 0) {
			relay_close(lab.relay);
			open_relay(at, RELAY_RESUME);
		}
	}
	if (r != 0 && r != -EBADMSG)
		fail_msg("%d: %s", r, relay_reason(lab.relay));
	at = lab_device_stop(&lab);
	r = relay_finish(lab.relay, lab_below(rng, 2) ? &at : NULL, &at);
	if (r != 0 && (r != -EBADMSG || !lab.setup.resubmits)) /* what is noted can't be read any more */
		fail_msg("finish: %d, %s", r, relay_reason(lab.relay));
	expect_marks();
	relay_stats(lab.relay, &stats);
	n_resubmitted += stats.resubmitted;
	relay_close(lab.relay);
	lab.relay = NULL;
	return stats.returned;
}

static void be_hostile(uint32_t size, uint64_t features, bool area, uint64_t ms)
{
	uint64_t begin = clock_now_ns(), rng = 77, n_chains = 0, passed;
	pthread_t thread;

	lab_open_flat(&lab, size, features);
	lab.dev.lenient = true;
	lab.dev.in_order = features & LAB_IN_ORDER;
	area_size = area ? inflight_part_size(size, lab.packed) : 0;
	if (area)
		lab.setup.inflight = mmap(NULL, area_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(lab.setup.inflight, MAP_FAILED);
	done = false;
	assert_int_equal(pthread_create(&thread, NULL, play_guest, NULL), 0);
	do {
		n_chains += struggle(&rng);
		passed = clock_now_ns() - begin;
	} while (passed < ms * 1000000 || (n_chains < 100 && passed < ms * 10000000));
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	if (n_chains < 100)
		fail_msg("only %lu chains went through: this tests nothing", n_chains);
	assert_false(dirty_log_failed(lab.log));
	if (area)
		munmap(lab.setup.inflight, area_size);
	lab_close(&lab);
}

static void with_all_rings(bool area)
{
	static const uint64_t features[] = { LAB_INDIRECT, LAB_INDIRECT | LAB_EVENT,
		LAB_INDIRECT | LAB_IN_ORDER };

	for (int i = 0; i < 12; i++)
		be_hostile(i / 6 ? 64 : 8, features[i / 2 % 3] | (i % 2 ? LAB_PACKED : 0), area, 300);
}

/* hostile(173) */
static void nothing_a_guest_rewrites_harms_anyone(void **state)
{
	with_all_rings(false);
}

/* hostile(131) */
static void nothing_a_front_end_rewrites_in_the_inflight_area_harms_anyone(void **state)
{
	n_refused = n_resubmitted = 0;
	for (int i = 0; i < 5 && (n_refused < 10 || n_resubmitted < 100); i++)
		with_all_rings(true);
	if (n_refused < 10 || n_resubmitted < 100)
		fail_msg("%lu areas refused, %lu chains taken from others: this tests nothing",
			n_refused, n_resubmitted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_a_guest_rewrites_harms_anyone),
		cmocka_unit_test(nothing_a_front_end_rewrites_in_the_inflight_area_harms_anyone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

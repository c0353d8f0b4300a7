/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that rewrites ring, tables and suppression areas while the relay works on them, and a
 * front-end that does so with the inflight area. Whatever they do, the device is given guest memory only,
 * and each page that it or the relay writes is marked.
 */
#include "relay_lab.h"

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

static uint64_t *word_at(uint64_t offset)
{
	return (uint64_t *)(void *)(lab.ram + offset);
}

/* An address that is good, nearly good, the relay's own, or none. */
static uint64_t some_gpa(uint64_t *rng)
{
	switch (lab_below(rng, 40)) {
	case 0:
		return lab_random(rng);
	case 1:
		return LAB_SHADOW + lab_below(rng, 8192);
	case 2:
		return LAB_GPA + lab.ram_size - lab_below(rng, 200);
	case 3 ... 9:
		return LAB_GPA + lab.tables + 16 * lab_below(rng, 7 * lab.size);
	default:
		return LAB_GPA + lab.buffers + lab_below(rng, lab.slot_size * lab.size - 4000);
	}
}

static uint64_t some_size(uint64_t *rng)
{
	switch (lab_below(rng, 30)) {
	case 0:
		return lab_random(rng) & UINT32_MAX;
	case 1:
		return 0;
	case 2 ... 12:
		return 16 * (1 + lab_below(rng, 6));
	default:
		return lab_below(rng, 3000);
	}
}

static uint16_t some_flags(uint64_t *rng)
{
	uint16_t flags = (uint16_t)lab_below(rng, 4);

	if (lab_below(rng, 4) == 0)
		flags |= VRING_DESC_F_INDIRECT;
	if (lab.packed)
		flags |= (uint16_t)(lab_below(rng, 2) ? BIT(7) : BIT(15));
	if (lab_below(rng, 50) == 0)
		flags = (uint16_t)lab_random(rng);
	return flags;
}

static void scribble_desc(uint64_t at, uint64_t *rng)
{
	uint64_t flags = some_flags(rng), other = lab_below(rng, lab.size + (lab_below(rng, 50) == 0));

	shared_store64(word_at(at), some_gpa(rng));
	shared_store64(word_at(at + 8), some_size(rng) |
				(lab.packed ? other << 32 | flags << 48 : flags << 32 | other << 48));
}

/* Mostly makes chains that can be followed, and goes on changing them. */
static void scribble(uint64_t *rng)
{
	struct vring_avail *avail = (void *)(lab.ram + lab.driver);

	switch (lab_below(rng, 10)) {
	case 0:
		shared_store16((uint16_t *)(void *)(lab.ram + lab.device) + lab_below(rng, 4),
			(uint16_t)lab_random(rng));
		break;
	case 1:
		shared_store16(&avail->flags, (uint16_t)lab_below(rng, 3));
		break;
	case 2:
		shared_store16(&avail->idx, lab_below(rng, 20) == 0
				? (uint16_t)lab_random(rng)
				: (uint16_t)(shared_load16(&avail->idx) + 1));
		break;
	case 3:
		shared_store16(&avail->ring[lab_below(rng, lab.size)],
			(uint16_t)lab_below(rng, lab.size + (lab_below(rng, 50) == 0)));
		break;
	case 4:
	case 5:
		scribble_desc(lab.tables + 16ULL * lab_below(rng, 7 * lab.size), rng);
		break;
	default:
		scribble_desc(lab.desc + 16ULL * lab_below(rng, lab.size), rng);
	}
}

/* Most of what lies there are numbers of entries and flags, which may be right. */
static void scribble_area(uint64_t *rng)
{
	uint8_t *at = lab.setup.inflight;

	switch (lab_below(rng, 8)) {
	case 0:
		shared_store64((uint64_t *)(void *)(at + 8 * lab_below(rng, (uint32_t)area_size / 8)),
			lab_random(rng));
		break;
	case 1:
		shared_store16((uint16_t *)(void *)(at + 8 + 2 * lab_below(rng, 12)),
			(uint16_t)lab_below(rng, 2 * lab.size));
		break;
	default:
		shared_store16((uint16_t *)(void *)(at + 2 * lab_below(rng, (uint32_t)area_size / 2)),
			(uint16_t)lab_below(rng, lab.size + 1));
	}
}

static void *play_guest(void *unused)
{
	uint64_t rng = 0x2545f4914f6cdd1dULL;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 20; i++)
			scribble(&rng);
		for (int i = 0; i < 20 && area_size > 0; i++)
			scribble_area(&rng);
		if (lab_below(&rng, 4) == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
	}
	return NULL;
}

static void put16(uint64_t at, uint64_t value)
{
	shared_store16((uint16_t *)(void *)(lab.setup.inflight + at), (uint16_t)value);
}

/* What a back-end might have left: the first entries are chains in flight, the others are free. */
static void write_area(uint16_t used, bool wrap, uint64_t *rng)
{
	uint32_t n = lab_below(rng, lab.size), entry = lab.packed ? 32 : 16;
	uint64_t head = entry;

	for (uint32_t i = 0; i < lab.size; i++) {
		uint64_t at = head + (uint64_t)entry * i;

		put16(at, i < n);
		put16(at + (lab.packed ? 2 : 6), i + 1);
		if (!lab.packed)
			continue;
		put16(at + 6, 1);
		put16(at + 18, lab_below(rng, 2) ? VRING_DESC_F_WRITE : 0);
		shared_store64((uint64_t *)(void *)(lab.setup.inflight + at + 24), some_gpa(rng));
	}
	put16(8, 1);
	put16(10, lab.size);
	for (uint64_t at = 12; at < 16; at += 2)
		put16(at, lab.packed ? n : used);
	if (lab.packed) {
		put16(16, used);
		put16(18, used);
		put16(20, wrap ? 0x0101 : 0);
	}
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
		write_area(avail, wrap, rng);
	if (!open_relay((struct queue_position){ avail, avail, wrap, wrap }, RELAY_FRESH))
		return false;
	lab_device_shadow(&lab);
	return true;
}

static void expect_marks(void)
{
	for (uint32_t i = 0; i < lab.dev.n_wrote; i++) {
		uint64_t gpa = lab.dev.wrote[i];

		if (!lab_log_has(&lab, gpa)) {
			done = true;
			fail_msg("the device wrote to %#lx, which is not marked", gpa);
		}
	}
	lab.dev.n_wrote = 0;
	memset(lab.log_bits + LAB_GPA / LAB_PAGE / 8, 0, 64);
}

/* What the relay writes first when it gives something back is marked: the used index, or that slot. */
static int run(uint32_t budget)
{
	struct queue_position at = relay_position(lab.relay);
	uint64_t wrote = lab.packed ? LAB_GPA + lab.desc + 16ULL * at.used : lab.log_addr + 2;
	struct relay_work work;
	int r = relay_run(lab.relay, budget, &work);

	if (work.returned > 0 && !lab_log_has(&lab, wrote)) {
		done = true;
		fail_msg("the relay wrote to %#lx, which is not marked", wrote);
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

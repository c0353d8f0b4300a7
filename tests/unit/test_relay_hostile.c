/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that rewrites ring, tables and suppression areas while the relay works on them. Whatever
 * it does, the device is given guest memory only, and each page that it writes is marked.
 */
#include "relay_lab.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static struct lab lab;
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

static void *play_guest(void *unused)
{
	uint64_t rng = 0x2545f4914f6cdd1dULL;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 20; i++)
			scribble(&rng);
		if (lab_below(&rng, 4) == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
	}
	return NULL;
}

static void open_somewhere(uint64_t *rng)
{
	uint16_t avail = lab.packed ? (uint16_t)lab_below(rng, lab.size)
				    : shared_load16(&((struct vring_avail *)(void *)(lab.ram +
							      lab.driver))->idx);
	bool wrap = lab.packed && lab_below(rng, 2);

	lab_relay_open(&lab, (struct queue_position){ avail, avail, wrap, wrap }, RELAY_FRESH);
	lab_log(&lab, true, true);
	lab_device_shadow(&lab);
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

/* Return: chains that went through. */
static uint64_t struggle(uint64_t *rng)
{
	struct relay_work work;
	struct relay_stats stats;
	struct queue_position at = { 0 };
	int r = 0;

	open_somewhere(rng);
	for (int i = 0; i < 60 && r == 0; i++) {
		r = relay_run(lab.relay, 1 + lab_below(rng, 40), &work);
		lab_take(&lab, lab_below(&lab.dev.rng, 20));
		lab_complete(&lab, lab_below(&lab.dev.rng, 20));
		if (r == 0)
			r = relay_run(lab.relay, 1 + lab_below(rng, 40), &work);
		if (r == 0)
			expect_marks();
		if (lab_below(rng, 4) == 0)
			relay_sleep(lab.relay);
		if (lab_below(rng, 10) == 0 && r == 0) {
			relay_close(lab.relay);
			lab_relay_open(&lab, at, RELAY_RESUME);
			lab_log(&lab, true, true);
		}
	}
	if (r != 0 && r != -EBADMSG)
		fail_msg("%d: %s", r, relay_reason(lab.relay));
	at = lab_device_stop(&lab);
	r = relay_finish(lab.relay, lab_below(rng, 2) ? &at : NULL, &at);
	if (r != 0)
		fail_msg("finish: %d, %s", r, relay_reason(lab.relay));
	expect_marks();
	relay_stats(lab.relay, &stats);
	relay_close(lab.relay);
	lab.relay = NULL;
	return stats.returned;
}

static void be_hostile(uint32_t size, uint64_t features, uint64_t ms)
{
	struct timespec begin, now;
	uint64_t rng = 77, n_chains = 0;
	pthread_t thread;

	lab_open_flat(&lab, size, features);
	lab.dev.lenient = true;
	lab.dev.in_order = features & LAB_IN_ORDER;
	done = false;
	assert_int_equal(pthread_create(&thread, NULL, play_guest, NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		n_chains += struggle(&rng);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 <
		 (int64_t)ms);
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	if (n_chains < 100)
		fail_msg("only %lu chains went through: this tests nothing", n_chains);
	assert_false(dirty_log_failed(lab.log));
	lab_close(&lab);
}

static void nothing_a_guest_rewrites_harms_anyone(void **state)
{
	static const uint64_t features[] = { LAB_INDIRECT, LAB_INDIRECT | LAB_EVENT,
		LAB_INDIRECT | LAB_IN_ORDER };

	for (int i = 0; i < 12; i++)
		be_hostile(i / 6 ? 64 : 8, features[i / 2 % 3] | (i % 2 ? LAB_PACKED : 0), 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_a_guest_rewrites_harms_anyone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

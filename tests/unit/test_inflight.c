/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inflight area: a relay that ends anywhere, with its kept memory and its device, is followed by one
 * that knows nothing but the area and the ring. What the area says, byte by byte, and areas that
 * others wrote.
 */
#include "relay_lab.h"

#include <string.h>
#include <sys/mman.h>

#include "vdpa/inflight.h"
#include "vdpa/relay_internal.h"

static jmp_buf crash;
static bool armed;
static uint32_t crash_in; /* steps until the relay ends */

void relay_step_hook(enum relay_step step)
{
	if (armed && crash_in-- == 0) {
		armed = false;
		longjmp(crash, 1);
	}
}

static const uint64_t features[] = {
	0,
	LAB_EVENT | LAB_INDIRECT,
	LAB_IN_ORDER | LAB_INDIRECT,
};

static void open_lab(struct lab *lab, uint32_t size, uint64_t f)
{
	lab_open(lab, size, f);
	lab->setup.inflight = mmap(NULL, inflight_part_size(size, lab->packed),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(lab->setup.inflight, MAP_FAILED);
}

static void close_lab(struct lab *lab)
{
	munmap(lab->setup.inflight, inflight_part_size(lab->size, lab->packed));
	lab_close(lab);
}

/* Where a front-end believes that the ring is; of a packed one it has no idea. */
static struct queue_position believed(const struct lab *lab)
{
	const struct vring_used *used = (void *)(lab->ram + lab->device);
	struct queue_position at = queue_position_initial(lab->packed);

	if (!lab->packed)
		at.avail = at.used = shared_load16(&used->idx);
	return at;
}

static void close_relay(struct lab *lab)
{
	relay_close(lab->relay);
	lab->relay = NULL;
}

/* As if no device had written to it. */
static void undo_chain(struct lab *lab, uint32_t slot)
{
	struct lab_chain *c = &lab->chains[slot];
	uint8_t *at = lab->ram + lab->buffers + (uint64_t)slot * lab->slot_size;

	c->state = LAB_GIVEN;
	for (uint32_t i = 0; i < c->n_pieces; i++) {
		if (i >= c->n_read)
			memset(at, 0xee, c->size[i]);
		at += c->size[i] + 3;
	}
}

/* Everything is lost but guest memory and the area; what the guest has not got back is done again. */
static void follow(struct lab *lab)
{
	for (uint32_t i = 0; i < lab->size; i++) {
		if (lab->chains[i].state == LAB_COMPLETED)
			undo_chain(lab, i);
	}
	close_relay(lab);
	memset(lab->kept, 0xa5, lab->kept_size);
	lab->setup.resubmits = true;
	lab_relay_open(lab, believed(lab), RELAY_FRESH);
	lab->setup.resubmits = false;
	lab->dev.n_taken = 0;
	lab_device_shadow(lab);
}

static void resume(struct lab *lab)
{
	close_relay(lab);
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_RESUME);
}

enum work { RUN, SLEEP, FINISH };

/* Does @work, with a crash on the way. Return: was everything lost by it? */
static bool insist(struct lab *lab, enum work work, struct queue_position *stopped)
{
	volatile bool lost = false;
	struct queue_position at;
	volatile int r = 0;

	crash_in = lab_below(&lab->rng, 60);
	armed = true;
	if (setjmp(crash) != 0) {
		lab_get(lab);
		lost = lab_below(&lab->rng, 2);
		if (lost)
			follow(lab);
		else
			resume(lab);
	}
	switch (work) {
	case RUN:
		r = lab_relay_run(lab);
		break;
	case SLEEP:
		relay_sleep(lab->relay);
		break;
	case FINISH:
		r = relay_finish(lab->relay, lost ? NULL : stopped, &at);
		*stopped = at;
		break;
	}
	armed = false;
	if (r != 0)
		fail_msg("%s (%d), %s, features %#lx", relay_reason(lab->relay), r,
			lost ? "all was lost" : "resumed or whole", lab->features);
	return lost;
}

/* What the part says is in flight, whoever looks. */
static uint32_t count_marks(const struct lab *lab)
{
	uint64_t head = lab->packed ? 32 : 16, entry = lab->packed ? 32 : 16;
	uint32_t n = 0;

	for (uint32_t i = 0; i < lab->size; i++)
		n += lab->setup.inflight[head + entry * i] != 0;
	return n;
}

static uint64_t n_lost, n_resubmitted;

static void live(struct lab *lab, int rounds)
{
	struct queue_position at = queue_position_initial(lab->packed);

	for (int life = 0; life < 4; life++) {
		struct relay_stats stats;

		lab_relay_open(lab, at, RELAY_FRESH);
		lab_device_shadow(lab);
		for (int i = 0; i < rounds; i++) {
			lab_give_some(lab, 12);
			n_lost += insist(lab, RUN, NULL);
			relay_stats(lab->relay, &stats);
			n_resubmitted += stats.resubmitted;
			lab_take(lab, lab_below(&lab->rng, 12));
			lab_complete(lab, lab_below(&lab->rng, 12));
			n_lost += insist(lab, RUN, NULL);
			if (i % 4 == 0)
				n_lost += insist(lab, SLEEP, NULL);
			lab_relay_run(lab);
			lab_get(lab);
			relay_stats(lab->relay, &stats);
			if (count_marks(lab) != stats.in_flight)
				fail_msg("%u marks, %u in flight", count_marks(lab), stats.in_flight);
		}
		at = lab_device_stop(lab);
		insist(lab, FINISH, &at);
		lab_get(lab);
		assert_int_equal(count_marks(lab), 0);
		assert_int_equal(at.used, lab->at.used);
		assert_int_equal(at.avail, at.used);
		close_relay(lab);
	}
	lab_drain(lab, at);
}

static void whoever_follows_goes_on_with_the_same_chains(void **state)
{
	for (size_t i = 0; i < 8 * ARRAY_SIZE(features); i++) {
		uint64_t f = features[i / 8];
		bool packed = i % 2, in_order = i / 2 % 2;
		struct lab lab;

		if ((f & LAB_IN_ORDER) && !in_order)
			continue;
		n_lost = n_resubmitted = 0;
		open_lab(&lab, i / 4 % 2 ? 32 : 4, f | (packed ? LAB_PACKED : 0));
		lab.dev.in_order = in_order;
		live(&lab, 60);
		close_lab(&lab);
		assert_true(n_lost > 10);
		assert_true(n_resubmitted > 10);
	}
}

static void kill_again_and_again(struct lab *lab, int times)
{
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_FRESH);
	lab_device_shadow(lab);
	close_relay(lab);
	for (int i = 0; i < times; i++) {
		lab_relay_killed(lab, false);
		lab_get(lab);
		if (lab_below(&lab->rng, 4) > 0)
			follow(lab);
		close_relay(lab);
	}
	resume(lab);
	lab_relay_end(lab);
	assert_true(lab->n_given > 1000);
}

static void whoever_is_killed_at_any_instruction_is_followed(void **state)
{
	for (size_t i = 0; i < 4 * ARRAY_SIZE(features); i++) {
		uint64_t f = features[i / 4];
		bool packed = i % 2, in_order = i / 2 % 2;
		struct lab lab;

		if ((f & LAB_IN_ORDER) && !in_order)
			continue;
		open_lab(&lab, 64, f | (packed ? LAB_PACKED : 0));
		lab.dev.in_order = in_order;
		kill_again_and_again(&lab, 60);
		close_lab(&lab);
	}
}

/* ------------------------------------------------------------------------- byte by byte */

static void put16(uint8_t *part, uint64_t at, uint16_t value)
{
	memcpy(part + at, &value, sizeof(value));
}

static uint16_t get16(const uint8_t *part, uint64_t at)
{
	uint16_t value;

	memcpy(&value, part + at, sizeof(value));
	return value;
}

static void put64(uint8_t *part, uint64_t at, uint64_t value)
{
	memcpy(part + at, &value, sizeof(value));
}

static void parts_have_the_specified_sizes(void **state)
{
	assert_int_equal(inflight_part_size(1, false), 64);
	assert_int_equal(inflight_part_size(3, false), 64);
	assert_int_equal(inflight_part_size(4, false), 128);
	assert_int_equal(inflight_part_size(256, false), 4160);
	assert_int_equal(inflight_part_size(1, true), 64);
	assert_int_equal(inflight_part_size(2, true), 128);
	assert_int_equal(inflight_part_size(256, true), 8256);
}

static uint8_t part[8192];
static uint16_t links[64];

static struct inflight part_of(uint32_t size, bool packed)
{
	return (struct inflight){ .at = part, .size = size, .packed = packed, .links = links };
}

/* A split part of 8, with @used_idx, and marks on 1 (third), 2 (first), 5 (second). */
static void write_split(uint16_t used_idx)
{
	memset(part, 0, sizeof(part));
	put16(part, 8, 1);
	put16(part, 10, 8);
	put16(part, 14, used_idx);
	part[16 + 16 * 1] = part[16 + 16 * 2] = part[16 + 16 * 5] = 1;
	put64(part, 16 + 16 * 1 + 8, 30);
	put64(part, 16 + 16 * 2 + 8, 10);
	put64(part, 16 + 16 * 5 + 8, 20);
}

static uint32_t find(struct inflight *f, const void *ring, struct queue_position *at,
	struct inflight_chain *chains)
{
	uint32_t n = 99;

	assert_int_equal(inflight_find(f, ring, at, chains, &n), 0);
	return n;
}

static void marks_of_a_split_part_are_found_oldest_first(void **state)
{
	struct inflight f = part_of(8, false);
	struct queue_position at = { .avail = 7, .used = 7 };
	struct inflight_chain chains[8];

	write_split(7);
	assert_int_equal(find(&f, NULL, &at, chains), 3);
	assert_int_equal(chains[0].name, 2);
	assert_int_equal(chains[1].name, 5);
	assert_int_equal(chains[2].name, 1);
	assert_int_equal(at.used, 7);
	assert_int_equal(at.avail, 10);
}

static void a_batch_that_the_guest_has_seen_is_not_in_flight(void **state)
{
	struct inflight f = part_of(8, false);
	struct queue_position at = { .avail = 9, .used = 9 };
	struct inflight_chain chains[8];

	write_split(7); /* two were shown: 5, linked last, and 2 */
	put16(part, 12, 5);
	put16(part, 16 + 16 * 5 + 6, 2);
	assert_int_equal(find(&f, NULL, &at, chains), 1);
	assert_int_equal(chains[0].name, 1);
	assert_int_equal(at.avail, 10);
}

static void a_part_of_another_size_or_version_says_nothing(void **state)
{
	struct inflight f = part_of(8, false);
	struct inflight_chain chains[8];
	struct queue_position at = { .avail = 7, .used = 7 };

	write_split(7);
	put16(part, 10, 16);
	assert_int_equal(find(&f, NULL, &at, chains), 0);
	write_split(7);
	put16(part, 8, 0);
	assert_int_equal(find(&f, NULL, &at, chains), 0);
	assert_int_equal(at.avail, 7);
}

static void a_split_ring_that_moved_on_alone_left_nothing(void **state)
{
	struct inflight f = part_of(8, false);
	struct inflight_chain chains[8];
	struct queue_position at = { .avail = 100, .used = 100 };

	write_split(7);
	assert_int_equal(find(&f, NULL, &at, chains), 0);
	assert_int_equal(at.avail, 100);
}

/*
 * A packed part of 8: entries 0-1 a chain (second), 4 a chain (first), the others in the list. The
 * ring's used counter is at @old, and goes to @now, where entry 4's chain is given back.
 */
static void write_packed(bool batch)
{
	static const uint16_t next[8] = { 1, 2, 3, 5, 5, 6, 7, 8 };

	memset(part, 0, sizeof(part));
	put16(part, 8, 1);
	put16(part, 10, 8);
	for (uint32_t i = 0; i < 8; i++)
		put16(part, 32 + 32 * i + 2, next[i]);
	part[32 + 32 * 0] = part[32 + 32 * 4] = 1;
	put16(part, 32 + 32 * 0 + 4, 1); /* last, num */
	put16(part, 32 + 32 * 0 + 6, 2);
	put16(part, 32 + 32 * 4 + 4, 4);
	put16(part, 32 + 32 * 4 + 6, 1);
	put64(part, 32 + 32 * 0 + 8, 21);
	put64(part, 32 + 32 * 4 + 8, 20);
	put16(part, 12, 2); /* free_head, old_free_head */
	put16(part, 14, 2);
	put16(part, 16, 7); /* used_idx, old_used_idx, their wrap counters */
	put16(part, 18, 7);
	part[20] = part[21] = 1;
	if (!batch)
		return;
	put16(part, 12, 4);
	put16(part, 32 + 32 * 4 + 2, 2);
	put16(part, 16, 0);
	part[20] = 0;
}

static struct vring_packed_desc ring[8];

static void chains_of_a_packed_part_are_found_oldest_first(void **state)
{
	struct inflight f = part_of(8, true);
	struct queue_position at = queue_position_initial(true);
	struct inflight_chain chains[8];

	write_packed(false);
	assert_int_equal(find(&f, ring, &at, chains), 2);
	assert_int_equal(chains[0].name, 4);
	assert_int_equal(chains[0].n_desc, 1);
	assert_int_equal(chains[1].name, 0);
	assert_int_equal(chains[1].n_desc, 2);
	assert_int_equal(at.used, 7);
	assert_true(at.used_wrap);
	assert_int_equal(at.avail, 2);
	assert_false(at.avail_wrap);
}

static void the_packed_ring_says_whether_a_batch_was_seen(void **state)
{
	struct inflight f = part_of(8, true);
	struct queue_position at = queue_position_initial(true);
	struct inflight_chain chains[8];

	write_packed(true);
	memset(ring, 0, sizeof(ring));
	ring[7].flags = 1 << 7; /* available in this round */
	assert_int_equal(find(&f, ring, &at, chains), 2);
	assert_int_equal(at.used, 7);
	assert_int_equal(at.avail, 2);

	ring[7].flags = 1 << 7 | 1 << 15; /* used */
	assert_int_equal(find(&f, ring, &at, chains), 1);
	assert_int_equal(chains[0].name, 0);
	assert_int_equal(at.used, 0);
	assert_false(at.used_wrap);
	assert_int_equal(at.avail, 2);
	assert_false(at.avail_wrap);

	ring[7].flags = 1 << 15; /* used, and then available in the next round */
	assert_int_equal(find(&f, ring, &at, chains), 1);
	assert_int_equal(at.used, 0);
}

/* The old counter's wrap followed, and then the writer died; the guest has used the slot anew. */
static void a_batch_that_was_settled_by_half_was_seen(void **state)
{
	struct inflight f = part_of(8, true);
	struct queue_position at = queue_position_initial(true);
	struct inflight_chain chains[8];

	write_packed(true);
	put16(part, 14, 4);
	part[21] = 0;
	memset(ring, 0, sizeof(ring));
	assert_int_equal(find(&f, ring, &at, chains), 1);
	assert_int_equal(at.used, 0);
	assert_false(at.used_wrap);
}

static void entries_are_where_the_specification_has_them(void **state)
{
	const struct vring_packed_desc descs[2] = {
		{ .addr = 0x1122334455667788, .len = 0x99aabbcc, .id = 0x1234, .flags = 1 },
		{ .addr = 0x8877665544332211, .len = 0xddeeff00, .id = 0x4321, .flags = 2 },
	};
	struct inflight f = part_of(8, true);
	uint64_t at = 32 + 32;

	memset(part, 0xff, sizeof(part));
	assert_int_equal(inflight_begin(&f, NULL, 0, queue_position_initial(true)), 0);
	assert_int_equal(get16(part, 8), 1);
	assert_int_equal(get16(part, 10), 8);
	assert_int_equal(part[20], 1);
	assert_int_equal(part[21], 1);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(get16(part, 32 + 32 * i + 2), i + 1);
	f.counter = 7;
	assert_int_equal(inflight_take_packed(&f, descs, 2), 0);
	assert_int_equal(part[32], 1);
	assert_int_equal(get16(part, 32 + 4), 1);
	assert_int_equal(get16(part, 32 + 6), 2);
	assert_int_equal(part[32 + 8], 7);
	assert_memory_equal(part + at + 16, "\x21\x43\x02\x00\x00\xff\xee\xdd", 8);
	assert_memory_equal(part + at + 24, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
	assert_int_equal(get16(part, 12), 2);
	assert_int_equal(get16(part, 14), 2);
}

/* Random bytes: refused, or believed as far as they go, and never more than that. hostile(130) */
static void a_part_with_anything_in_it_does_no_harm(void **state)
{
	uint64_t rng = 1;

	for (int i = 0; i < 4000; i++) {
		bool packed = i % 2;
		struct inflight_chain chains[8];
		struct inflight f = part_of(8, packed);
		struct queue_position at = queue_position_initial(packed);
		uint8_t taken[8] = { 0 };
		uint32_t n = 0;

		for (size_t b = 0; b < sizeof(part); b++)
			part[b] = (uint8_t)lab_below(&rng, lab_below(&rng, 4) ? 10 : 256);
		put16(part, 8, 1);
		put16(part, 10, 8);
		for (uint32_t e = 0; packed && e < 8 && i % 3; e++)
			put16(part, 32 + 32 * e + 2, (uint16_t)lab_below(&rng, 9));
		if (inflight_find(&f, ring, &at, chains, &n) < 0)
			continue;
		assert_true(n <= 8);
		for (uint32_t k = 0; k < n; k++) {
			assert_true(chains[k].name < 8);
			assert_false(taken[chains[k].name]);
			taken[chains[k].name] = 1;
		}
		assert_int_equal(inflight_begin(&f, chains, n, at), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_follows_goes_on_with_the_same_chains),
		cmocka_unit_test(whoever_is_killed_at_any_instruction_is_followed),
		cmocka_unit_test(parts_have_the_specified_sizes),
		cmocka_unit_test(marks_of_a_split_part_are_found_oldest_first),
		cmocka_unit_test(a_batch_that_the_guest_has_seen_is_not_in_flight),
		cmocka_unit_test(a_part_of_another_size_or_version_says_nothing),
		cmocka_unit_test(a_split_ring_that_moved_on_alone_left_nothing),
		cmocka_unit_test(chains_of_a_packed_part_are_found_oldest_first),
		cmocka_unit_test(the_packed_ring_says_whether_a_batch_was_seen),
		cmocka_unit_test(a_batch_that_was_settled_by_half_was_seen),
		cmocka_unit_test(entries_are_where_the_specification_has_them),
		cmocka_unit_test(a_part_with_anything_in_it_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What devices, front-ends and kept memory get wrong, one thing at a time. */
#include "relay_lab.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SIZE 8

static void open_at_start(struct lab *lab)
{
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_FRESH);
	lab_device_shadow(lab);
	lab->dev.lenient = true;
}

/* What a device writes into its own ring. */
static void device_entry(struct lab *lab, uint32_t slot, uint32_t id, uint32_t size, uint16_t flags)
{
	struct vring_used *used = lab->dev.device;
	struct vring_packed_desc *ring = lab->dev.desc;

	if (lab->packed) {
		shared_store64((uint64_t *)(void *)&ring[slot].len,
			size | (uint64_t)id << 32 | (uint64_t)(flags | 0x8080) << 48);
	} else {
		used->ring[slot] = (struct vring_used_elem){ .id = id, .len = size };
		used->idx = (uint16_t)(slot + 1);
	}
}

static void devices_that_break_the_rules_end_the_relay(void **state)
{
	for (int i = 0; i < 8; i++) {
		uint64_t layout = i % 2 ? LAB_PACKED : 0;
		struct relay_work work;
		struct lab lab;

		lab_open(&lab, SIZE, layout | (i / 2 == 3 ? LAB_IN_ORDER : 0));
		lab.max_pieces = 1;
		open_at_start(&lab);
		lab.dev.lenient = false;
		assert_true(lab_give(&lab) && lab_give(&lab));
		assert_int_equal(lab_relay_run(&lab), 0);
		assert_int_equal(lab_take(&lab, 2), 2);
		switch (i / 2) {
		case 0: /* an id that is none */
			device_entry(&lab, 0, SIZE, 0, 0);
			break;
		case 1: /* one that is not in flight */
			device_entry(&lab, 0, lab.dev.taken[1].id + 1U, 0, 0);
			break;
		case 2: /* one twice */
			device_entry(&lab, 0, lab.dev.taken[1].id, 0, 0);
			device_entry(&lab, 1, lab.dev.taken[1].id, 0, 0);
			break;
		default: /* split: more than there are; packed: again, after a batch */
			device_entry(&lab, lab.packed ? 0 : 2, lab.dev.taken[1].id, 0, 0);
			if (lab.packed) {
				assert_int_equal(relay_run(lab.relay, 0, &work), 0);
				assert_int_equal(work.returned, 2);
				lab_close(&lab);
				continue;
			}
		}
		if (relay_run(lab.relay, 0, &work) != -EPROTO)
			fail_msg("case %d: no error", i);
		assert_non_null(relay_reason(lab.relay));
		lab_close(&lab);
	}
}

static void lengths_are_at_most_what_may_be_written(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		struct relay_stats stats;
		struct lab lab;

		lab_open(&lab, SIZE, packed ? LAB_PACKED : 0);
		lab.max_pieces = 1;
		open_at_start(&lab);
		lab_log(&lab, true, true);
		do
			assert_true(lab_give(&lab));
		while (lab.chains[lab.slot_of[lab.n_given - 1]].writable == 0);
		assert_int_equal(lab_relay_run(&lab), 0);
		lab.dev.lenient = false;
		lab_take(&lab, SIZE);
		for (uint32_t i = 0; i < lab.dev.n_taken; i++) {
			struct lab_chain *c = &lab.chains[lab.dev.taken[i].slot];

			c->state = LAB_COMPLETED;
			c->written = c->writable;
			memset(lab.ram + (lab.dev.taken[i].gpa[0] - LAB_GPA), 0, c->writable);
			device_entry(&lab, i, lab.dev.taken[i].id, 0xfffffff0, VRING_DESC_F_WRITE);
		}
		/* The guest would find the wrong bytes; only the lengths are looked at here. */
		assert_int_equal(lab_relay_run(&lab), 0);
		relay_stats(lab.relay, &stats);
		assert_int_equal(stats.clamped, lab.dev.n_taken);
		assert_false(dirty_log_failed(lab.log));
		for (uint32_t i = 0; i < lab.dev.n_taken && packed; i++)
			assert_int_equal(
				((struct vring_packed_desc *)(void *)(lab.ram + lab.desc))[i].len,
				lab.chains[lab.dev.taken[i].slot].writable);
		for (uint32_t i = 0; i < lab.dev.n_taken && !packed; i++)
			assert_int_equal(
				((struct vring_used *)(void *)(lab.ram + lab.device))->ring[i].len,
				lab.chains[lab.dev.taken[i].slot].writable);
		lab_close(&lab);
	}
}

static void a_packed_length_counts_with_its_flag_and_without(void **state)
{
	const struct vring_packed_desc *ring;
	struct lab lab;

	lab_open(&lab, SIZE, LAB_PACKED);
	lab.max_pieces = 1;
	open_at_start(&lab);
	lab.dev.lenient = false;
	while (lab_give(&lab))
		;
	assert_int_equal(lab_relay_run(&lab), 0);
	assert_int_equal(lab_take(&lab, SIZE), SIZE);
	for (uint32_t i = 0; i < SIZE; i++)
		device_entry(&lab, i, lab.dev.taken[i].id, 8, i % 2 ? VRING_DESC_F_WRITE : 0);
	assert_int_equal(lab_relay_run(&lab), 0);
	ring = (const void *)(lab.ram + lab.desc);
	for (uint32_t i = 0; i < SIZE; i++) {
		assert_int_equal(ring[i].len, lab.dev.taken[i].writable ? 8 : 0);
		assert_int_equal((ring[i].flags & VRING_DESC_F_WRITE) != 0, ring[i].len > 0);
	}
	lab_close(&lab);
}

/* A device may write to what it took and then stop without completing it. */
static void what_a_device_took_is_marked_when_it_is_taken_back(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct queue_position at;
		struct lab lab;

		lab_open_slots(&lab, SIZE, i % 2 ? LAB_PACKED : 0, 2 * LAB_PAGE);
		lab.dev.in_order = true;
		lab.buffers = align_up(lab.buffers, LAB_PAGE);
		lab.max_pieces = 1;
		open_at_start(&lab);
		lab.dev.lenient = false;
		lab_log(&lab, true, true);
		while (lab.n_given < 2 && lab_give(&lab))
			;
		assert_int_equal(lab_relay_run(&lab), 0);
		assert_int_equal(lab_take(&lab, 1), 1);
		at = lab_device_stop(&lab);
		assert_int_equal(relay_finish(lab.relay, i / 2 ? &at : NULL, &at), 0);
		assert_int_equal(at.avail, 0);
		for (uint32_t slot = 0; slot < SIZE; slot++) {
			const struct lab_chain *c = &lab.chains[slot];
			uint64_t gpa = LAB_GPA + lab.buffers + (uint64_t)slot * lab.slot_size;
			bool taken = c->state == LAB_GIVEN && (c->seq == 0 || i / 2 == 0);

			assert_int_equal(lab_log_has(&lab, gpa), taken && c->writable > 0);
		}
		lab_close(&lab);
	}
}

/* What was made available before something that the device completed can't be taken back. */
static void what_a_device_took_is_marked_when_it_is_completed_for_it(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct queue_position at;
		struct relay_stats stats;
		uint32_t n_marked = 0;
		struct lab lab;

		lab_open_slots(&lab, SIZE, i % 2 ? LAB_PACKED : 0, 2 * LAB_PAGE);
		lab.buffers = align_up(lab.buffers, LAB_PAGE);
		lab.max_pieces = 1;
		open_at_start(&lab);
		lab.dev.lenient = false;
		lab_log(&lab, true, true);
		while (lab_give(&lab))
			;
		assert_int_equal(lab_relay_run(&lab), 0);
		assert_int_equal(lab_take(&lab, SIZE), SIZE);
		device_entry(&lab, 0, lab.dev.taken[SIZE - 1].id, 0, 0);
		at = lab_device_stop(&lab);
		assert_int_equal(relay_finish(lab.relay, i / 2 ? &at : NULL, &at), 0);
		relay_stats(lab.relay, &stats);
		assert_int_equal(stats.forced, SIZE - 1);
		for (uint32_t slot = 0; slot < SIZE; slot++) {
			const struct lab_chain *c = &lab.chains[slot];
			uint64_t gpa = LAB_GPA + lab.buffers + (uint64_t)slot * lab.slot_size;
			bool forced = c->seq < SIZE - 1;

			assert_int_equal(lab_log_has(&lab, gpa), forced && c->writable > 0);
			n_marked += lab_log_has(&lab, gpa);
		}
		assert_true(n_marked > 0);
		lab_close(&lab);
	}
}

static void setups_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		uint64_t features;
		uint32_t size;
		struct queue_position at;
		uint64_t desc, driver, device, shadow;
		int r;
	} cases[] = {
		{ 0, 8, { 0, 0, 0, 0 }, 0, 0, 0, LAB_SHADOW, 0 },
		{ 0, 0, { 0, 0, 0, 0 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ 0, 6, { 0, 0, 0, 0 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ 0, 65536, { 0, 0, 0, 0 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ LAB_PACKED, 32769, { 0, 0, 1, 1 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ LAB_PACKED, 6, { 0, 0, 1, 1 }, 0, 0, 0, LAB_SHADOW, 0 },
		{ LAB_PACKED, 6, { 6, 0, 1, 1 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ LAB_PACKED, 6, { 0, 6, 1, 1 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ 0, 8, { 9, 0, 0, 0 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ 0, 8, { 3, 0xfffb, 0, 0 }, 0, 0, 0, LAB_SHADOW, 0 },
		{ 0, 8, { 0xfffb, 3, 0, 0 }, 0, 0, 0, LAB_SHADOW, -EINVAL },
		{ 0, 8, { 0, 0, 0, 0 }, 8, 0, 0, LAB_SHADOW, -EFAULT },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 1, 0, LAB_SHADOW, -EFAULT },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 0, 2, LAB_SHADOW, -EFAULT },
		{ 0, 8, { 0, 0, 0, 0 }, 1ULL << 40, 0, 0, LAB_SHADOW, -EFAULT },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 1ULL << 40, 0, LAB_SHADOW, -EFAULT },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 0, 1ULL << 40, LAB_SHADOW, -EFAULT },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 0, 0, LAB_GPA, -EEXIST },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 0, 0, LAB_GPA - LAB_PAGE, -EEXIST },
		{ 0, 8, { 0, 0, 0, 0 }, 0, 0, 0, 0 - LAB_PAGE, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct relay *relay = NULL;
		struct lab lab;

		lab_open(&lab, 8, cases[i].features);
		lab.setup.size = cases[i].size;
		lab.setup.position = cases[i].at;
		lab.setup.desc += cases[i].desc;
		lab.setup.driver += cases[i].driver;
		lab.setup.device += cases[i].device;
		lab.setup.shadow_iova = cases[i].shadow;
		if (relay_open(&lab.setup, lab.kept, RELAY_FRESH, &relay) != cases[i].r)
			fail_msg("case %zu", i);
		assert_int_equal(relay != NULL, cases[i].r == 0);
		relay_close(relay);
		lab_close(&lab);
	}
}

static void a_log_that_does_not_reach_the_ring_is_refused(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		struct lab lab;

		lab_open(&lab, SIZE, packed ? LAB_PACKED : 0);
		open_at_start(&lab);
		lab_log(&lab, true, true);
		assert_int_equal(relay_set_log(lab.relay, lab.log, true, UINT64_MAX - 1), -EINVAL);
		assert_int_equal(
			relay_set_log(lab.relay, lab.log, true, lab.log->n_pages * LAB_PAGE - 3),
			-EINVAL);
		assert_int_equal(relay_set_log(lab.relay, lab.log, false, UINT64_MAX), 0);
		assert_int_equal(relay_set_log(lab.relay, NULL, true, UINT64_MAX), 0);
		lab_close(&lab);
	}
}

static void memory_that_goes_away_ends_the_relay(void **state)
{
	struct lab lab;

	/* A file cut short. */
	lab_open(&lab, SIZE, 0);
	open_at_start(&lab);
	lab_give(&lab);
	assert_int_equal(ftruncate(lab.ram_fd, 0), 0);
	assert_int_equal(lab_relay_run(&lab), -EFAULT);
	assert_non_null(strstr(relay_reason(lab.relay), "cut short"));
	assert_int_equal(ftruncate(lab.ram_fd, (off_t)lab.ram_size), 0);
	lab_close(&lab);

	/* A region with the ring that is taken away. */
	lab_open(&lab, SIZE, 0);
	open_at_start(&lab);
	lab.table.regions[0] = lab.table.regions[1];
	lab.table.n_regions = 1;
	assert_int_equal(guestmem_set(&lab.memory, &lab.table, &lab.fds), 0);
	assert_int_equal(lab_relay_run(&lab), -EFAULT);
	lab_close(&lab);

	/* A region that comes to where the shadow ring is. */
	lab_open(&lab, SIZE, 0);
	open_at_start(&lab);
	lab.table.regions[2] = lab.table.regions[1];
	lab.table.regions[2].gpa = LAB_SHADOW;
	lab.table.n_regions = 3;
	assert_int_equal(guestmem_set(&lab.memory, &lab.table, &lab.fds), 0);
	assert_int_equal(lab_relay_run(&lab), -EEXIST);
	lab_close(&lab);
}

static void memory_may_change_where_the_ring_is_not(void **state)
{
	struct lab lab;

	lab_open(&lab, 64, LAB_PACKED);
	open_at_start(&lab);
	lab.dev.lenient = false;
	for (int i = 0; i < 200; i++) {
		lab.table.n_regions = i % 2 ? 3 : 2;
		lab.table.regions[2] = lab.table.regions[1];
		lab.table.regions[2].gpa = 1ULL << 40;
		lab.table.regions[2].uva = 1ULL << 50;
		assert_int_equal(guestmem_set(&lab.memory, &lab.table, &lab.fds), 0);
		lab_give_some(&lab, 10);
		assert_int_equal(lab_relay_run(&lab), 0);
		lab_take(&lab, 64);
		lab_complete(&lab, 10);
		assert_int_equal(lab_relay_run(&lab), 0);
		lab_get(&lab);
	}
	lab_close(&lab);
}

/* Kept memory of a relay in the middle of its work. */
static void make_kept(struct lab *lab, uint64_t features)
{
	lab_open(lab, 16, features);
	open_at_start(lab);
	lab->dev.lenient = false;
	for (int i = 0; i < 50; i++) {
		lab_give_some(lab, 10);
		lab_relay_run(lab);
		lab_take(lab, 10);
		lab_complete(lab, 5);
		lab_relay_run(lab);
		lab_get(lab);
	}
	relay_close(lab->relay);
	lab->relay = NULL;
}

static void kept_memory_of_another_ring_is_refused(void **state)
{
	struct relay *relay = NULL;
	struct lab lab;

	make_kept(&lab, LAB_EVENT);
	lab.setup.size = 8;
	assert_int_equal(relay_open(&lab.setup, lab.kept, RELAY_RESUME, &relay), -EBADMSG);
	lab.setup.size = 16;
	lab.setup.features |= LAB_INDIRECT;
	assert_int_equal(relay_open(&lab.setup, lab.kept, RELAY_RESUME, &relay), -EBADMSG);
	lab.setup.features = LAB_EVENT | BIT_ULL(5); /* not about rings */
	assert_int_equal(relay_open(&lab.setup, lab.kept, RELAY_RESUME, &relay), 0);
	relay_close(relay);
	memset(lab.kept, 0, 8);
	assert_int_equal(relay_open(&lab.setup, lab.kept, RELAY_RESUME, &relay), -EBADMSG);
	lab_close(&lab);
}

/* Kept memory with any bytes changed is refused, or makes a relay that stays within its bounds. */
static void kept_memory_with_wrong_bytes_does_no_harm(void **state)
{
	uint64_t refused = 0, taken = 0, rng = 12345;

	for (int i = 0; i < 1500; i++) {
		uint64_t layout = i % 2 ? LAB_PACKED : 0, features = i / 2 % 2 ? LAB_IN_ORDER : 0;
		struct relay_kept_layout l;
		struct queue_position at;
		struct lab lab;

		make_kept(&lab, layout | features);
		l = relay_kept_layout(16, layout);
		for (uint32_t n = 1 + lab_below(&rng, 4); n > 0; n--) {
			uint64_t end = i / 4 % 2 ? l.size : 16 + 48 * 16;

			((uint8_t *)lab.kept)[8 + lab_below(&rng, (uint32_t)end - 8)] ^=
				(uint8_t)BIT(lab_below(&rng, 8));
		}
		if (relay_open(&lab.setup, lab.kept, RELAY_RESUME, &lab.relay) < 0) {
			refused++;
		} else {
			taken++;
			lab_log(&lab, true, true);
			lab_relay_run(&lab);
			relay_sleep(lab.relay);
			relay_finish(lab.relay, NULL, &at);
		}
		lab_close(&lab);
	}
	assert_true(refused > 100);
	assert_true(taken > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_that_break_the_rules_end_the_relay),
		cmocka_unit_test(lengths_are_at_most_what_may_be_written),
		cmocka_unit_test(a_packed_length_counts_with_its_flag_and_without),
		cmocka_unit_test(what_a_device_took_is_marked_when_it_is_taken_back),
		cmocka_unit_test(what_a_device_took_is_marked_when_it_is_completed_for_it),
		cmocka_unit_test(setups_that_make_no_sense_are_refused),
		cmocka_unit_test(a_log_that_does_not_reach_the_ring_is_refused),
		cmocka_unit_test(memory_that_goes_away_ends_the_relay),
		cmocka_unit_test(memory_may_change_where_the_ring_is_not),
		cmocka_unit_test(kept_memory_of_another_ring_is_refused),
		cmocka_unit_test(kept_memory_with_wrong_bytes_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front-end that copies the guest while the relay runs: at any step it takes the marks there are
 * and copies their pages. What changes afterwards has to be marked again.
 */
#include "relay_lab.h"

#include <stdlib.h>
#include <string.h>

#include "vdpa/relay_internal.h"

static struct lab lab;
static uint8_t *copy;
static uint64_t rng = 88172645463325252ULL;
static uint64_t n_taken[RELAY_N_STEPS];

/* Return: how many pages were copied. */
static uint64_t take_marks(void)
{
	uint64_t first = LAB_GPA / LAB_PAGE, n = lab.ram_size / LAB_PAGE, n_copied = 0;

	for (uint64_t page = 0; page < n; page++) {
		uint64_t bit = first + page;

		if (!lab_log_has(&lab, bit * LAB_PAGE))
			continue;
		lab.log_bits[bit / 8] &= (uint8_t)~BIT(bit % 8);
		memcpy(copy + page * LAB_PAGE, lab.ram + page * LAB_PAGE, LAB_PAGE);
		n_copied++;
	}
	return n_copied;
}

void relay_step_hook(enum relay_step step)
{
	if (copy && lab_below(&rng, 3) == 0)
		n_taken[step] += take_marks();
}

/* What the guest itself writes is marked by whoever runs it. */
static void mark_guest_writes(struct dirty_log *log)
{
	dirty_log_mark(log, LAB_GPA + lab.desc, 16ULL * lab.size);
	dirty_log_mark(log, LAB_GPA + lab.driver, 6 + 2ULL * lab.size);
	dirty_log_mark(log, LAB_GPA + lab.tables, lab.ram_size - lab.tables);
}

static void compare(uint32_t round)
{
	take_marks();
	for (uint64_t at = 0; at < lab.ram_size; at += LAB_PAGE) {
		if (memcmp(copy + at, lab.ram + at, LAB_PAGE) != 0)
			fail_msg("round %u, %s, features %#lx: page %#lx was copied without its last change",
				round, lab.packed ? "packed" : "split", lab.features, at);
	}
}

static void copy_while_running(uint64_t features, bool in_order)
{
	struct queue_position at;
	struct dirty_log *guests;

	lab_open(&lab, 16, features);
	lab.dev.in_order = in_order;
	copy = calloc(1, lab.ram_size);
	assert_int_equal(dirty_log_open(lab.log_fd, 0, lab.log_size, 0, &guests), 0);
	lab_relay_open(&lab, queue_position_initial(lab.packed), RELAY_FRESH);
	assert_int_equal(relay_set_log(lab.relay, lab.log, true, LAB_GPA + lab.device), 0);
	lab_device_shadow(&lab);
	for (uint32_t i = 0; i < 400; i++) {
		lab_give_some(&lab, 6);
		mark_guest_writes(guests);
		take_marks();
		assert_int_equal(lab_relay_run(&lab), 0);
		lab_take(&lab, 6);
		lab_complete(&lab, 6);
		assert_int_equal(lab_relay_run(&lab), 0);
		compare(i);
		if (i % 3 == 0)
			relay_sleep(lab.relay);
		compare(i);
		lab_get(&lab);
	}
	lab_take(&lab, 16);
	lab_complete(&lab, 3);
	at = lab_device_stop(&lab);
	assert_int_equal(relay_finish(lab.relay, &at, &at), 0);
	compare(UINT32_MAX);
	dirty_log_close(guests);
	lab_close(&lab);
	free(copy);
	copy = NULL;
}

static void a_page_that_is_copied_at_any_step_is_copied_again(void **state)
{
	static const uint64_t features[] = { 0, LAB_EVENT | LAB_INDIRECT };

	for (int i = 0; i < 8; i++)
		copy_while_running(features[i / 4] | (i & 1 ? LAB_PACKED : 0), i & 2);
	assert_true(n_taken[RELAY_STEP_RETURN_LOGGED] > 0);
	assert_true(n_taken[RELAY_STEP_COMPLETION_READ] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_that_is_copied_at_any_step_is_copied_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

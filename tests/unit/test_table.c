/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of messages and of protocol features are complete: for people, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "protocol/offer.h"
#include "protocol/table.h"
#include "vdpa/base/features.h"

#define MAX_WHY 60 /* so that "NAME: not served: WHY" fits where it is kept */

static void assert_text(const char *text, size_t max)
{
	assert_non_null(text);
	assert_in_range(strlen(text), 1, max);
	assert_null(strpbrk(text, "\"\\|\n")); /* it is printed as JSON, and in a table */
}

static void each_message_has_a_handler_or_a_reason(void **state)
{
	for (uint32_t request = 0; request < WIRE_N_REQUESTS; request++) {
		const struct message_desc *row = message_find(request);

		assert_text(row->name, 24);
		if (row->handle)
			assert_null(row->why);
		else
			assert_text(row->why, MAX_WHY);
	}
}

static void each_size_that_is_not_one_number_is_said_in_words(void **state)
{
	for (uint32_t request = 0; request < WIRE_N_REQUESTS; request++) {
		const struct message_desc *row = message_find(request);

		if (row->check_size)
			assert_text(row->sizes, 60);
		else
			assert_null(row->sizes);
	}
}

static void what_a_served_message_needs_may_be_offered(void **state)
{
	for (uint32_t request = 0; request < WIRE_N_REQUESTS; request++) {
		const struct message_desc *row = message_find(request);

		if (row->needs != NEEDS_NOTHING)
			assert_int_equal(row->handle != NULL, offer_find(row->needs - 1U)->why == NULL);
	}
}

static void each_protocol_feature_is_offered_always_sometimes_or_never(void **state)
{
	unsigned int bit = 0;

	for (const struct offer_desc *row; (row = offer_find(bit)) != NULL; bit++) {
		assert_text(protocol_feature_name(bit), 24);
		assert_int_equal(row->always + (row->device_can != NULL) + (row->why != NULL), 1);
		assert_int_equal(row->when != NULL, row->device_can != NULL);
		if (row->why)
			assert_text(row->why, 80);
		if (row->when)
			assert_text(row->when, 60);
	}
	assert_int_equal(bit, WIRE_PF_SHMEM + 1);
	assert_null(protocol_feature_name(bit));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_has_a_handler_or_a_reason),
		cmocka_unit_test(each_size_that_is_not_one_number_is_said_in_words),
		cmocka_unit_test(what_a_served_message_needs_may_be_offered),
		cmocka_unit_test(each_protocol_feature_is_offered_always_sometimes_or_never),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

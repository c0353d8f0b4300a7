/* SPDX-License-Identifier: BSD-2-Clause */
/* Address translations against a plain array, one element for each address. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/iotlb.h"

#define SPACE	256
#define SOMEWHERE 100000U

struct cell {
	uint64_t address;
	uint32_t perm; /* 0: unknown */
};

static int begin(void **state)
{
	static struct iotlb t;

	assert_int_equal(iotlb_init(&t), 0);
	*state = &t;
	return 0;
}

static int end(void **state)
{
	iotlb_free(*state);
	return 0;
}

static int insert(struct iotlb *t, uint64_t iova, uint64_t size, uint64_t address, uint32_t perm)
{
	return iotlb_insert(t,
		&(struct iotlb_entry){ .iova = iova, .size = size, .address = address, .perm = perm },
		NULL, NULL);
}

static void compare(const struct iotlb *t, const struct cell *cells)
{
	for (uint64_t i = 0; i < SPACE; i++) {
		const struct iotlb_entry *e = iotlb_find(t, i);

		assert_int_equal(e != NULL, cells[i].perm != 0);
		if (!e)
			continue;
		assert_int_equal(e->perm, cells[i].perm);
		assert_int_equal(e->address + (i - e->iova), cells[i].address);
	}
}

static enum iotlb_answer expected(const struct cell *cells, uint64_t first, uint64_t size,
	uint32_t perm, uint64_t *ret)
{
	for (uint64_t i = first; i < first + size; i++) {
		*ret = i;
		if (i >= SPACE || cells[i].perm == 0)
			return IOTLB_MISSING;
		if ((cells[i].perm & perm) != perm)
			return IOTLB_REFUSED;
		if (cells[i].address != cells[first].address + (i - first))
			return IOTLB_SPLIT;
	}
	*ret = cells[first].address;
	return IOTLB_KNOWN;
}

static void it_knows_what_it_was_told_last(void **state)
{
	struct iotlb *t = *state;
	struct cell cells[SPACE] = { 0 };

	srandom(1);
	for (int i = 0; i < 20000; i++) {
		uint64_t first = (uint64_t)random() % SPACE, room = SPACE - first, address, ours;
		uint64_t size = 1 + (uint64_t)random() % (room < 40 ? room : 40);
		uint32_t perm = 1 + (uint32_t)random() % 3;

		if (random() % 3) {
			address = random() % 2 ? first + SOMEWHERE : (uint64_t)random();
			assert_int_equal(insert(t, first, size, address, perm), 0);
			for (uint64_t k = 0; k < size; k++)
				cells[first + k] = (struct cell){ address + k, perm };
		} else {
			iotlb_remove(t, first, first + size - 1);
			memset(&cells[first], 0, size * sizeof(cells[0]));
		}
		if (i % 16 == 0)
			compare(t, cells);
		first = (uint64_t)random() % SPACE;
		size = 1 + (uint64_t)random() % 20;
		assert_int_equal(iotlb_translate(t, first, size, perm, &address),
			expected(cells, first, size, perm, &ours));
		assert_int_equal(address, ours);
	}
}

static void the_end_of_the_address_space_is_an_address_like_others(void **state)
{
	struct iotlb *t = *state;
	uint64_t address;

	assert_int_equal(insert(t, UINT64_MAX - 4095, 4096, 0x10000, IOTLB_READ), 0);
	assert_int_equal(iotlb_translate(t, UINT64_MAX - 9, 10, IOTLB_READ, &address), IOTLB_KNOWN);
	assert_int_equal(address, 0x10000 + 4096 - 10);
	iotlb_remove(t, UINT64_MAX, UINT64_MAX);
	assert_null(iotlb_find(t, UINT64_MAX));
	assert_non_null(iotlb_find(t, UINT64_MAX - 1));
	assert_int_equal(iotlb_last(1, UINT64_MAX), UINT64_MAX);
	assert_int_equal(iotlb_last(5, UINT64_MAX), UINT64_MAX);
	assert_int_equal(iotlb_last(5, 1), 5);
	iotlb_remove(t, 0, UINT64_MAX);
	assert_int_equal(t->n, 0);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
	static const struct iotlb_entry nonsense[] = {
		{ .iova = 0, .size = 0, .address = 0, .perm = IOTLB_READ },
		{ .iova = UINT64_MAX, .size = 2, .address = 0, .perm = IOTLB_READ },
		{ .iova = 0, .size = 2, .address = UINT64_MAX, .perm = IOTLB_READ },
		{ .iova = 0, .size = 2, .address = 0, .perm = 0 },
		{ .iova = 0, .size = 2, .address = 0, .perm = 4 },
		{ .iova = 0, .size = 2, .address = 0, .perm = 255 },
	};
	struct iotlb *t = *state;

	assert_int_equal(insert(t, 0, 10, 50, IOTLB_READ), 0);
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
		assert_int_equal(iotlb_insert(t, &nonsense[i], NULL, NULL), -EINVAL);
		assert_int_equal(t->n, 1);
		assert_int_equal(iotlb_find(t, 0)->address, 50);
	}
}

static bool is_first(void *arg, const struct iotlb_entry *entry)
{
	return entry->iova == 0 || arg != NULL;
}

static void a_full_table_forgets_the_oldest_entry_that_may_be_forgotten(void **state)
{
	struct iotlb *t = *state;
	const struct iotlb_entry more = { .iova = 1ULL << 40, .size = 1, .perm = IOTLB_READ };
	bool all = true;

	for (uint64_t i = 0; i < IOTLB_MAX; i++)
		assert_int_equal(insert(t, i * 16, 8, i, IOTLB_WRITE), 0);
	assert_int_equal(iotlb_insert(t, &more, is_first, &all), -ENOSPC);
	assert_int_equal(iotlb_insert(t, &more, is_first, NULL), 0);
	assert_int_equal(t->n, IOTLB_MAX);
	assert_non_null(iotlb_find(t, 0));
	assert_null(iotlb_find(t, 16));
	assert_non_null(iotlb_find(t, 32));
	assert_non_null(iotlb_find(t, more.iova));
}

static void a_hole_in_a_full_table_leaves_what_there_is_room_for(void **state)
{
	struct iotlb *t = *state;

	for (uint64_t i = 0; i < IOTLB_MAX; i++)
		assert_int_equal(insert(t, i * 16, 8, i, IOTLB_WRITE), 0);
	iotlb_remove(t, 2, 3);
	assert_int_equal(t->n, IOTLB_MAX);
	assert_non_null(iotlb_find(t, 1));
	assert_null(iotlb_find(t, 2));
	assert_null(iotlb_find(t, 4));
	assert_non_null(iotlb_find(t, 16));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_knows_what_it_was_told_last, begin, end),
		cmocka_unit_test_setup_teardown(
			the_end_of_the_address_space_is_an_address_like_others, begin, end),
		cmocka_unit_test_setup_teardown(nonsense_is_refused_and_changes_nothing, begin, end),
		cmocka_unit_test_setup_teardown(
			a_full_table_forgets_the_oldest_entry_that_may_be_forgotten, begin, end),
		cmocka_unit_test_setup_teardown(
			a_hole_in_a_full_table_leaves_what_there_is_room_for, begin, end),
	};

	return cmocka_run_group_tests_name("iotlb", tests, NULL, NULL);
}

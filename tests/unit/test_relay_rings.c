/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings that a guest gets wrong, one thing at a time. */
#include "relay_lab.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SIZE 8

/* A descriptor as a hostile guest writes it, at an index of the ring or of a table. */
struct raw {
	uint32_t at;
	uint64_t gpa;
	uint32_t size;
	uint16_t flags;
	uint16_t next;
	bool in_table;
};

#define F_NEXT     VRING_DESC_F_NEXT
#define F_WRITE    VRING_DESC_F_WRITE
#define F_INDIRECT VRING_DESC_F_INDIRECT
#define AVAIL      ((uint16_t)BIT(VRING_PACKED_DESC_F_AVAIL))

#define BUFFER (1ULL << 63) /* stands for an address in guest memory, plus an offset */
#define TABLE  (1ULL << 62)
#define END    (1ULL << 61) /* for the end of it */

static uint64_t real_gpa(const struct lab *lab, uint64_t gpa)
{
	if (gpa & BUFFER)
		return LAB_GPA + lab->buffers + (gpa & ~BUFFER);
	if (gpa & TABLE)
		return LAB_GPA + lab->tables + (gpa & ~TABLE);
	if (gpa & END)
		return LAB_GPA + lab->ram_size - (gpa & ~END);
	return gpa;
}

static void put_raw(struct lab *lab, const struct raw *d)
{
	uint8_t *at = lab->ram + (d->in_table ? lab->tables : lab->desc) + 16ULL * d->at;
	uint64_t *words = (uint64_t *)(void *)at;
	uint64_t high = lab->packed ? (uint64_t)d->next << 32 | (uint64_t)d->flags << 48
				    : (uint64_t)d->flags << 32 | (uint64_t)d->next << 48;

	words[0] = real_gpa(lab, d->gpa);
	words[1] = d->size | high;
}

/* Makes @heads available in a split ring, and moves the index by @move. */
static void put_avail(struct lab *lab, const uint16_t *heads, uint32_t n, uint16_t move)
{
	struct vring_avail *avail = (void *)(lab->ram + lab->driver);

	for (uint32_t i = 0; i < n; i++)
		avail->ring[i] = heads[i];
	avail->idx = move;
}

struct bad_ring {
	const char *reason; /* a part of it; NULL: it is a good one */
	struct raw desc[10];
	uint64_t features;
	uint16_t head, move;
};

static const struct bad_ring split_rings[] = {
	{ NULL, { { 0, BUFFER, 10, 0, 0, false } }, 0, 0, 1 },
	{ "further ahead", { { 0, BUFFER, 10, 0, 0, false } }, 0, 0, SIZE + 1 },
	{ "further ahead", { { 0, BUFFER, 10, 0, 0, false } }, 0, 0, 0xffff },
	{ "beyond the ring", { { 0, BUFFER, 10, 0, 0, false } }, 0, SIZE, 1 },
	{ "beyond the ring", { { 0, BUFFER, 10, 0, 0, false } }, 0, 0xffff, 1 },
	{ "beyond the ring", { { 0, BUFFER, 10, F_NEXT, SIZE, false } }, 0, 0, 1 },
	{ "longer than the ring", { { 0, BUFFER, 10, F_NEXT, 0, false } }, 0, 0, 1 },
	{ "longer than the ring",
		{ { 0, BUFFER, 10, F_NEXT, 5, false }, { 5, BUFFER, 10, F_NEXT, 0, false } }, 0, 0,
		1 },
	{ "not in the guest's memory", { { 0, LAB_GPA - 1, 10, 0, 0, false } }, 0, 0, 1 },
	{ "not in the guest's memory", { { 0, END | 9, 10, 0, 0, false } }, 0, 0, 1 },
	{ NULL, { { 0, END | 10, 10, 0, 0, false } }, 0, 0, 1 },
	{ "not in the guest's memory", { { 0, BUFFER, 0xffffffff, 0, 0, false } }, 0, 0, 1 },
	{ "not in the guest's memory", { { 0, 0x1fffffffffffff00, 10, 0, 0, false } }, 0, 0, 1 },
	{ "not in the guest's memory", { { 0, 0, 0, 0, 0, false } }, 0, 0, 1 },
	{ NULL, { { 0, BUFFER, 0, 0, 0, false } }, 0, 0, 1 },
	{ "not in the guest's memory", { { 0, LAB_SHADOW, 16, F_WRITE, 0, false } }, 0, 0, 1 },
	{ "to read comes after",
		{ { 0, BUFFER, 10, F_NEXT | F_WRITE, 1, false }, { 1, BUFFER, 10, 0, 0, false } },
		0, 0, 1 },
	{ NULL, { { 0, BUFFER, 10, F_NEXT, 1, false }, { 1, BUFFER, 10, F_WRITE, 0, false } }, 0, 0,
		1 },
	{ "not negotiated",
		{ { 0, TABLE, 16, F_INDIRECT, 0, false }, { 0, BUFFER, 10, 0, 0, true } }, 0, 0,
		1 },
	{ NULL, { { 0, TABLE, 16, F_INDIRECT, 0, false }, { 0, BUFFER, 10, 0, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ NULL, { { 0, TABLE, 16, F_INDIRECT | F_WRITE, 0, false }, { 0, BUFFER, 10, 0, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ "with a next one",
		{ { 0, TABLE, 16, F_INDIRECT | F_NEXT, 1, false }, { 0, BUFFER, 10, 0, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ "wrong size", { { 0, TABLE, 0, F_INDIRECT, 0, false }, { 0, BUFFER, 10, 0, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ "wrong size", { { 0, TABLE, 17, F_INDIRECT, 0, false }, { 0, BUFFER, 10, 0, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ "table is not in", { { 0, END | 16, 32, F_INDIRECT, 0, false } }, LAB_INDIRECT, 0, 1 },
	{ "table is not in", { { 0, LAB_SHADOW, 32, F_INDIRECT, 0, false } }, LAB_INDIRECT, 0, 1 },
	{ "in a table",
		{ { 0, TABLE, 16, F_INDIRECT, 0, false }, { 0, TABLE, 16, F_INDIRECT, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ "beyond the table",
		{ { 0, TABLE, 32, F_INDIRECT, 0, false }, { 0, BUFFER, 10, F_NEXT, 2, true } },
		LAB_INDIRECT, 0, 1 },
	{ "longer than the ring",
		{ { 0, TABLE, 32, F_INDIRECT, 0, false }, { 0, BUFFER, 10, F_NEXT, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ "not in the guest's memory",
		{ { 0, TABLE, 16, F_INDIRECT, 0, false }, { 0, LAB_SHADOW, 10, F_WRITE, 0, true } },
		LAB_INDIRECT, 0, 1 },
	{ NULL,
		{ { 0, BUFFER, 10, F_NEXT, 3, false }, { 3, TABLE, 32, F_INDIRECT, 0, false },
			{ 0, BUFFER, 5, F_NEXT, 1, true }, { 1, BUFFER, 5, F_WRITE, 0, true } },
		LAB_INDIRECT, 0, 1 },
};

/* In a packed ring `next` is the buffer's id. */
static const struct bad_ring packed_rings[] = {
	{ NULL, { { 0, BUFFER, 10, AVAIL, 77, false } }, 0, 0, 0 },
	{ "longer than the ring",
		{ { 0, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 1, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 2, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 3, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 4, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 5, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 6, BUFFER, 10, AVAIL | F_NEXT, 0, false },
			{ 7, BUFFER, 10, AVAIL | F_NEXT, 0, false } },
		0, 0, 0 },
	{ "not in the guest's memory", { { 0, END | 9, 10, AVAIL, 0, false } }, 0, 0, 0 },
	{ NULL, { { 0, END | 10, 10, AVAIL, 0, false } }, 0, 0, 0 },
	{ "not in the guest's memory", { { 0, LAB_SHADOW, 10, AVAIL | F_WRITE, 0, false } }, 0, 0,
		0 },
	{ "to read comes after",
		{ { 1, BUFFER, 10, AVAIL, 0, false },
			{ 0, BUFFER, 10, AVAIL | F_NEXT | F_WRITE, 0, false } },
		0, 0, 0 },
	{ "not negotiated", { { 0, TABLE, 16, AVAIL | F_INDIRECT, 0, false } }, 0, 0, 0 },
	{ "with a next one", { { 0, TABLE, 16, AVAIL | F_INDIRECT | F_NEXT, 0, false } },
		LAB_INDIRECT, 0, 0 },
	{ "wrong size", { { 0, TABLE, 8, AVAIL | F_INDIRECT, 0, false } }, LAB_INDIRECT, 0, 0 },
	{ "longer than the ring", { { 0, TABLE, 16 * (SIZE + 1), AVAIL | F_INDIRECT, 0, false } },
		LAB_INDIRECT, 0, 0 },
	{ "in a table",
		{ { 0, TABLE, 16, AVAIL | F_INDIRECT, 0, false },
			{ 0, TABLE, 16, F_INDIRECT, 0, true } },
		LAB_INDIRECT, 0, 0 },
	{ "table is not in", { { 0, END | 1, 16, AVAIL | F_INDIRECT, 0, false } }, LAB_INDIRECT, 0,
		0 },
	{ "not in the guest's memory",
		{ { 0, TABLE, 16, AVAIL | F_INDIRECT, 0, false }, { 0, 0, 16, 0, 0, true } },
		LAB_INDIRECT, 0, 0 },
	{ NULL,
		{ { 0, TABLE, 32, AVAIL | F_INDIRECT, 0, false },
			{ 0, BUFFER, 16, F_NEXT, 0, true }, { 1, BUFFER, 16, F_WRITE, 0, true } },
		LAB_INDIRECT, 0, 0 },
};

static void open_at_start(struct lab *lab)
{
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_FRESH);
	lab_device_shadow(lab);
	lab->dev.lenient = true;
}

static void check_bad_ring(const struct bad_ring *bad, bool packed, size_t index)
{
	struct queue_position at;
	struct relay_work work;
	struct lab lab;
	int r;

	lab_open(&lab, SIZE, bad->features | (packed ? LAB_PACKED : 0));
	open_at_start(&lab);
	for (size_t i = 0; i < ARRAY_SIZE(bad->desc); i++) {
		if (bad->desc[i].gpa || bad->desc[i].flags || i == 0)
			put_raw(&lab, &bad->desc[i]);
	}
	if (!packed)
		put_avail(&lab, &bad->head, 1, bad->move);
	r = relay_run(lab.relay, 100, &work);
	if (r != (bad->reason ? -EBADMSG : 0))
		fail_msg("case %zu of %s: %d, %s", index, packed ? "packed" : "split", r,
			relay_reason(lab.relay));
	if (bad->reason && !strstr(relay_reason(lab.relay), bad->reason))
		fail_msg("case %zu of %s: %s", index, packed ? "packed" : "split",
			relay_reason(lab.relay));
	assert_int_equal(lab_take(&lab, 100), bad->reason ? 0 : 1);
	assert_int_equal(relay_run(lab.relay, 100, &work), r);

	/* However it ended, the position is the one before the bad chain. */
	at = lab_device_stop(&lab);
	assert_int_equal(relay_finish(lab.relay, &at, &at), 0);
	assert_true(queue_position_equal(at, queue_position_initial(packed)));
	lab_close(&lab);
}

/* hostile(169, 170) */
static void rings_that_break_the_rules_end_their_relay_with_a_reason(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(split_rings); i++)
		check_bad_ring(&split_rings[i], false, i);
	for (size_t i = 0; i < ARRAY_SIZE(packed_rings); i++)
		check_bad_ring(&packed_rings[i], true, i);
}

/* hostile(170) */
static void a_chain_of_more_than_4_gib_is_refused(void **state)
{
	/* Needs a region of 3 GiB, of which no page is ever touched. */
	struct lab lab;
	uint16_t head = 0;

	lab_open(&lab, SIZE, 0);
	assert_int_equal(ftruncate(lab.ram_fd, 4LL << 30), 0);
	lab.table.regions[1].size = 3ULL << 30;
	assert_int_equal(guestmem_set(&lab.memory, &lab.table, &lab.fds), 0);
	open_at_start(&lab);
	put_raw(&lab, &(struct raw){ 0, BUFFER, 0x90000000, F_NEXT, 1, false });
	put_raw(&lab, &(struct raw){ 1, BUFFER, 0x70000000, 0, 0, false });
	put_avail(&lab, &head, 1, 1);
	assert_int_equal(lab_relay_run(&lab), -EBADMSG);
	assert_string_equal(relay_reason(lab.relay), "a chain is longer than 4 GiB");
	lab_close(&lab);
}

static void good_chains_before_a_bad_one_still_go_through(void **state)
{
	struct relay_work work;
	struct lab lab;
	uint16_t heads[] = { 0, 1, 9 };

	lab_open(&lab, SIZE, 0);
	open_at_start(&lab);
	put_raw(&lab, &(struct raw){ 0, BUFFER, 10, 0, 0, false });
	put_raw(&lab, &(struct raw){ 1, BUFFER, 10, 0, 0, false });
	put_avail(&lab, heads, 3, 3);
	assert_int_equal(relay_run(lab.relay, 100, &work), -EBADMSG);
	assert_int_equal(work.offered, 2);
	assert_int_equal(lab_take(&lab, 10), 2);
	assert_true(relay_sleep(lab.relay));
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_that_break_the_rules_end_their_relay_with_a_reason),
		cmocka_unit_test(a_chain_of_more_than_4_gib_is_refused),
		cmocka_unit_test(good_chains_before_a_bad_one_still_go_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty logs for tests: the reader's side, and traffic that leaves the guest's own writes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conformance/driver_marks.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define SPARE	     (GUEST_MEMORY / 2) /* behind all rings and their buffers */
#define SPARE_QUEUE  (GUEST_MEMORY / 2 / GUEST_MAX_QUEUES)
#define FIRST_BYTE   (GUEST_BASE / DRIVER_LOG_PAGE / 8) /* of the guest's memory */

struct marks marks_new(uint64_t offset)
{
	struct marks m = { .offset = offset, .file_size = offset + MARKS_SIZE + 100 };

	m.fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(m.fd >= 0);
	assert_int_equal(ftruncate(m.fd, (off_t)m.file_size), 0);
	m.file = mmap(NULL, m.file_size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	assert_ptr_not_equal(m.file, MAP_FAILED);
	m.bits = m.file + offset;
	return m;
}

void marks_free(struct marks *m)
{
	munmap(m->file, m->file_size);
	m->fd = close_keep_errno(m->fd);
}

struct driver_log marks_log(const struct marks *m)
{
	return (struct driver_log){ .fd = m->fd, .offset = m->offset, .size = MARKS_SIZE };
}

void marks_set(struct guest *g, const struct marks *m)
{
	const struct driver_log log = m ? marks_log(m) : (struct driver_log){ 0 };

	assert_int_equal(g->ops->set_log(g->device, m ? &log : NULL), 0);
}

bool marks_has(const struct marks *m, uint64_t iova)
{
	uint64_t n = iova / DRIVER_LOG_PAGE;

	return __atomic_load_n(&m->bits[n / 8], __ATOMIC_ACQUIRE) & BIT(n % 8);
}

void marks_wait_for(const struct marks *m, uint64_t iova)
{
	uint64_t since = clock_now_ns();

	while (!marks_has(m, iova))
		guest_pause(since, "a mark");
}

bool marks_any(const struct marks *m)
{
	for (uint64_t i = FIRST_BYTE; i < MARKS_SIZE; i++) {
		if (m->bits[i])
			return true;
	}
	return false;
}

void marks_clear(struct marks *m)
{
	memset(m->bits, 0, MARKS_SIZE);
}

static bool lies_there(uint64_t start, uint64_t size, uint64_t page)
{
	return page + DRIVER_LOG_PAGE > start && page < start + size;
}

/* A page that the core marks, where the device does not: it has something of a ring that is written. */
static bool is_the_cores(struct guest *g, uint64_t page)
{
	if (g->ops->caps(g->device)->dirty_log != DRIVER_LOG_BUFFERS)
		return false;
	for (uint16_t i = 0; i < g->n_queues; i++) {
		const struct guest_ring *r = &g->rings[i];

		if (lies_there(r->device, g->packed ? 4 : 6 + 8ULL * r->size, page) ||
			(g->packed && lies_there(r->desc, 16ULL * r->size, page)))
			return true;
	}
	return false;
}

void marks_take(struct marks *m, struct guest *g, uint8_t *copy)
{
	for (uint64_t i = FIRST_BYTE; i < MARKS_SIZE; i++) {
		unsigned int bits = m->bits[i] ? __atomic_exchange_n(&m->bits[i], 0,
							 __ATOMIC_SEQ_CST) : 0;

		for (unsigned int bit = 0; bit < 8; bit++) {
			uint64_t at = ((i - FIRST_BYTE) * 8 + bit) * DRIVER_LOG_PAGE;

			if (bits & BIT(bit) || is_the_cores(g, GUEST_BASE + at))
				memcpy(copy + at, g->memory + at, DRIVER_LOG_PAGE);
		}
	}
}

uint8_t *marks_copy(const struct marks *m)
{
	uint8_t *copy = malloc(m->file_size);

	assert_non_null(copy);
	memcpy(copy, m->file, m->file_size);
	return copy;
}

uint8_t *marks_memory(struct guest *g)
{
	uint8_t *copy = malloc(GUEST_MEMORY);

	assert_non_null(copy);
	memcpy(copy, g->memory, GUEST_MEMORY);
	return copy;
}

void marks_assert_all(struct guest *g, const uint8_t *before, const struct marks *a,
	const struct marks *b)
{
	for (uint64_t at = 0; at < GUEST_MEMORY; at += DRIVER_LOG_PAGE) {
		uint64_t iova = GUEST_BASE + at;

		if (marks_has(a, iova) || (b && marks_has(b, iova)) || is_the_cores(g, iova))
			continue;
		if (memcmp(before + at, g->memory + at, DRIVER_LOG_PAGE) != 0)
			fail_msg("page 0x%llx was written and is not marked",
				(unsigned long long)iova);
	}
}

struct guest *marks_guest(void **state, uint16_t pairs, uint32_t size)
{
	struct guest *g = suite_guest_sized(state, pairs, size);

	if (!g->ops->caps(g->device)->dirty_log) {
		print_message("the device has no dirty log\n");
		skip();
	}
	return g;
}

void marks_fill(struct guest *g)
{
	for (uint16_t queue = 0; queue < g->n_queues; queue += 2) {
		for (;;) {
			const struct guest_ring *r = &g->rings[queue];
			uint64_t slot, at;

			if (r->n_free == 0)
				break;
			slot = r->free_slots[r->n_free - 1];
			at = GUEST_BASE + SPARE + queue * SPARE_QUEUE + slot * DRIVER_LOG_PAGE;
			guest_add_at(g, queue, at + (slot % 2 ? 2048 : DRIVER_LOG_PAGE - 40), 1600);
		}
	}
}

void marks_resume(struct guest *g, const struct queue_position *at)
{
	suite_need_any_position(g);
	for (uint16_t i = 0; i < g->n_queues; i++)
		g->rings[i].start = at[i];
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
}

void marks_offer_flows(struct guest *from, const struct guest *to, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_true(guest_offer_flow(from, 0, to->nic_device->mac, (uint16_t)(1000 + i),
				    i) >= 0);
	guest_kick(from, 1);
}

void marks_wait_received(struct guest *g, uint32_t n)
{
	uint64_t since = clock_now_ns();

	while (n > 0) {
		uint32_t before = n;

		for (uint16_t i = 0; i < g->n_queues; i += 2) {
			if (n > 0 && guest_take(g, i, NULL) >= 0)
				n--;
		}
		if (n == before)
			guest_pause(since, "frames");
	}
}

void marks_wait_sent(struct guest *g)
{
	for (uint16_t i = 1; i < g->n_queues; i += 2) {
		while (g->rings[i].n_free < g->rings[i].size)
			guest_wait(g, i, NULL);
	}
}

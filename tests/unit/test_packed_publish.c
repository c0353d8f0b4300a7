/* SPDX-License-Identifier: BSD-2-Clause */
/* simnic's packed rings: a device that dies while it gives chains back loses no descriptor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/sim/position.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/ring.h"
#include "vdpa/base/bits.h"

#define PAGE	 4096
#define ON_A_PAGE (PAGE / sizeof(struct vring_packed_desc))
#define SIZE	 (2 * ON_A_PAGE)

/* What the device shares with those who outlive it. */
struct shared {
	struct vring_packed_desc ring[SIZE];
	struct vring_packed_desc_event driver;
	struct sim_queue_regs regs;
};

/* Of the control thread, which is not here; no ring fails. */
void nic_attention(struct nic *nic)
{
	fail();
}

/* No page is missing. */
void postcopy_ask(struct vq *q, const struct iommu_region *region, const uint8_t *at)
{
	fail();
}

static struct shared *shared;
static struct burst burst;

static int setup(void **state)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	return shared == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	return munmap(shared, sizeof(*shared));
}

static void make_available(void)
{
	memset(shared, 0, sizeof(*shared));
	for (uint32_t i = 0; i < SIZE; i++)
		shared->ring[i] = (struct vring_packed_desc){
			.addr = htole64(i),
			.len = htole32(2048),
			.id = htole16((uint16_t)i),
			.flags = htole16(BIT(VRING_PACKED_DESC_F_AVAIL) | VRING_DESC_F_WRITE),
		};
}

/* The next @n descriptors from @at on, each a chain; frames of @frame chains. */
static void collect(uint32_t at, uint32_t n, uint32_t frame)
{
	burst.n_chains = n;
	for (uint32_t i = 0; i < n; i++)
		burst.chains[i] = (struct chain){
			.used = 100,
			.more = (i + 1) % frame != 0,
			.id = (uint16_t)(at + i),
			.n_desc = 1,
		};
}

/* A device that gives the burst back, and dies at the second page of the ring. */
static void publish_and_die(uint32_t at, uint32_t n)
{
	static struct function function;
	struct vq q = {
		.function = &function,
		.regs = &shared->regs,
		.size = SIZE,
		.desc = shared->ring,
		.driver = &shared->driver,
		.packed = true,
		.at = { .avail = (uint16_t)at, .used = (uint16_t)at, .avail_wrap = true,
			.used_wrap = true },
	};
	int status;
	pid_t pid;

	shared->regs.position = shared->regs.next_position = sim_position_word(q.at, true);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (mprotect(&shared->ring[ON_A_PAGE], PAGE, PROT_READ) == 0)
			packed_publish(&q, &burst, n);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

/* By the rule at struct sim_queue_regs. */
static uint32_t stood_at(void)
{
	struct queue_position p = sim_position(shared->regs.position, true);
	const uint16_t both = BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED);

	if ((le16toh(shared->ring[p.used].flags) & both) == both)
		p = sim_position(shared->regs.next_position, true);
	return p.used;
}

static bool is_available(uint32_t i)
{
	const struct vring_packed_desc *d = &shared->ring[i];

	return d->len == htole32(2048) && d->id == htole16((uint16_t)i) &&
	       d->flags == htole16(BIT(VRING_PACKED_DESC_F_AVAIL) | VRING_DESC_F_WRITE);
}

static void check(uint32_t before_page, uint32_t n, uint32_t frame, uint32_t given_back)
{
	uint32_t at = ON_A_PAGE - before_page, stood;

	make_available();
	collect(at, n, frame);
	publish_and_die(at, n);
	stood = stood_at();
	assert_int_equal(stood, at + given_back);
	for (uint32_t i = at; i < at + n; i++)
		assert_int_equal(is_available(i), i >= stood);
}

static void frames_given_back_are_passed_and_the_others_are_whole(void **state)
{
	check(1, 2, 1, 1);
	check(3, 8, 1, 3);
	check(7, 32, 1, 7);
	check(0, 4, 1, 0);
}

static void a_frame_of_several_chains_is_given_back_whole(void **state)
{
	check(3, 6, 3, 3);
	check(4, 8, 2, 4);
	check(1, 2, 2, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_given_back_are_passed_and_the_others_are_whole),
		cmocka_unit_test(a_frame_of_several_chains_is_given_back_whole),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a queue stood when simnic died, at each instant it can die at: no kill hits these reliably, so
 * the registers and the ring are written here as the dead device would have left them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "drivers/sim/mailbox.h"
#include "drivers/sim/position.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"

#define SIZE 8

static struct stand {
	int mailbox[2]; /* the driver's end, and ours */
	int bar_fd;
	struct sim_queue_regs *regs; /* of queue 1 */
	struct driver_device *device;
	uint64_t state[32];
	struct driver_keeper keeper;
} stand;

static int keep_fd(struct driver_keeper *keeper, int fd)
{
	return 0;
}

static int get_fd(struct driver_keeper *keeper, int number)
{
	return -1;
}

static void drop_fd(struct driver_keeper *keeper, int number)
{
}

/* Answers the one command that open gives. */
static void *say_hello(void *arg)
{
	struct sim_message m;
	int fd = stand.bar_fd;

	if (fdmsg_recv(stand.mailbox[1], &m, sizeof(m), NULL, 0, NULL, 0) <= 0)
		return NULL;
	m.header.size = sizeof(m.payload.hello);
	m.payload.hello = (struct sim_hello_reply){ SIM_INTERFACE_VERSION, 2, 256, 0, 0 };
	fdmsg_send(stand.mailbox[1], &m, sizeof(m.header) + m.header.size, &fd, 1);
	return NULL;
}

static int setup(void **state)
{
	pthread_t thread;
	uint8_t *bar;
	int r;

	stand.keeper = (struct driver_keeper){ stand.state, sizeof(stand.state), keep_fd, get_fd,
		drop_fd, NULL };
	stand.bar_fd = memfd_create("bar", MFD_CLOEXEC);
	if (stand.bar_fd < 0 || ftruncate(stand.bar_fd, SIM_BAR_SIZE) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, stand.mailbox) < 0)
		return -1;
	bar = mmap(NULL, SIM_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, stand.bar_fd, 0);
	if (bar == MAP_FAILED || pthread_create(&thread, NULL, say_hello, NULL) != 0)
		return -1;
	stand.regs = &((struct sim_regs *)(void *)(bar + SIM_BAR_REGS_OFFSET))->queues[1];
	r = sim_driver.open(stand.mailbox, 1, &stand.keeper, &stand.device);
	pthread_join(thread, NULL);
	return r;
}

static int teardown(void **state)
{
	sim_driver.close(stand.device);
	for (int i = 0; i < 2; i++)
		close_keep_errno(stand.mailbox[i]);
	return close(stand.bar_fd);
}

static int lost(bool packed, const void *ring, struct queue_position *ret)
{
	const struct driver_queue q = { .index = 1, .size = SIZE };

	return sim_driver.lost_position(stand.device, &q, packed, ring, ret);
}

static void died(enum sim_queue_status status, struct queue_position at, struct queue_position next)
{
	stand.regs->status = status;
	stand.regs->position = sim_position_word(at, true);
	stand.regs->next_position = sim_position_word(next, true);
}

static struct queue_position both(uint16_t index, bool wrap)
{
	return (struct queue_position){ index, index, wrap, wrap };
}

static void mark_used(struct vring_packed_desc *desc, bool wrap)
{
	const uint16_t used = BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED);

	desc->flags = wrap ? used : 0;
}

static void mark_available(struct vring_packed_desc *desc, bool wrap)
{
	desc->flags = (uint16_t)(wrap ? BIT(VRING_PACKED_DESC_F_AVAIL) :
					BIT(VRING_PACKED_DESC_F_USED));
}

static void a_packed_batch_is_done_when_its_first_descriptor_says_so(void **state)
{
	static const struct {
		uint16_t at, next;
		bool wrap, next_wrap;
	} cases[] = { { 2, 5, true, true }, { 6, 1, true, false }, { 0, 3, false, false },
		{ 7, 0, false, true } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct queue_position at = both(cases[i].at, cases[i].wrap), got;
		struct queue_position next = both(cases[i].next, cases[i].next_wrap);
		struct vring_packed_desc ring[SIZE] = { 0 };

		/* it had taken more than it gave back: that was not consumed */
		died(SIM_QUEUE_RUNNING, at, next);
		mark_available(&ring[at.used], at.used_wrap);
		assert_int_equal(lost(true, ring, &got), 0);
		assert_true(queue_position_equal(got, at));
		mark_used(&ring[at.used], at.used_wrap);
		assert_int_equal(lost(true, ring, &got), 0);
		assert_true(queue_position_equal(got, next));
	}
}

static void what_was_taken_and_not_given_back_is_taken_again(void **state)
{
	struct queue_position at = { .avail = 6, .used = 2, .avail_wrap = true, .used_wrap = true };
	struct vring_packed_desc ring[SIZE] = { 0 };
	struct queue_position got;

	died(SIM_QUEUE_RUNNING, at, at);
	mark_available(&ring[2], true);
	assert_int_equal(lost(true, ring, &got), 0);
	assert_true(queue_position_equal(got, both(2, true)));
}

static void a_split_ring_says_it_itself(void **state)
{
	uint16_t area[3 + 4 * SIZE] = { 0, 0xfffe }; /* flags, index, elements */
	struct queue_position got;

	died(SIM_QUEUE_RUNNING, both(3, false), both(5, false));
	assert_int_equal(lost(false, area, &got), 0);
	assert_true(queue_position_equal(got, both(0xfffe, false)));
}

static void positions_that_no_ring_has_are_not_believed(void **state)
{
	struct vring_packed_desc ring[SIZE] = { 0 };
	struct queue_position got = both(77, true);

	died(SIM_QUEUE_RUNNING, both(SIZE, true), both(0, false));
	assert_int_equal(lost(true, ring, &got), -ENOENT);
	died(SIM_QUEUE_RUNNING, both(0, true), both(0x7fff, false));
	mark_used(&ring[0], true);
	assert_int_equal(lost(true, ring, &got), -ENOENT);
	assert_true(queue_position_equal(got, both(77, true)));
}

static void a_queue_that_did_not_run_has_no_lost_position(void **state)
{
	struct vring_packed_desc ring[SIZE] = { 0 };
	struct queue_position got;

	died(SIM_QUEUE_PREPARED, both(1, true), both(1, true));
	assert_int_equal(lost(true, ring, &got), -ENOENT);
	died(SIM_QUEUE_DISABLED, both(1, true), both(1, true));
	assert_int_equal(lost(true, ring, &got), -ENOENT);
	died(SIM_QUEUE_ERROR, both(1, true), both(1, true));
	assert_int_equal(lost(true, ring, &got), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packed_batch_is_done_when_its_first_descriptor_says_so),
		cmocka_unit_test(what_was_taken_and_not_given_back_is_taken_again),
		cmocka_unit_test(a_split_ring_says_it_itself),
		cmocka_unit_test(positions_that_no_ring_has_are_not_believed),
		cmocka_unit_test(a_queue_that_did_not_run_has_no_lost_position),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue's eventfds, and that they change while it runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/eventfd.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void calls_are_signalled_for_both_directions(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 1);
	guest_wait_count(a->rings[1].call);
	guest_exchange(b, a, 1);
	guest_wait_count(a->rings[0].call);
}

static void a_call_eventfd_changes_while_the_queue_runs(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	_cleanup_close_ int other = new_eventfd();

	guest_run(a);
	guest_exchange(a, b, 1);
	guest_wait_count(a->rings[1].call);
	assert_int_equal(a->ops->set_queue_fd(a->device, 1, DRIVER_FD_CALL, other), 0);
	guest_count(a->rings[1].call);
	guest_exchange(a, b, 2);
	guest_wait_count(other);
	assert_int_equal(guest_count(a->rings[1].call), 0);
}

static void without_a_call_eventfd_nobody_is_called(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_queue_stats before, after;

	guest_run(a);
	guest_exchange(a, b, 1);
	assert_int_equal(a->ops->set_queue_fd(a->device, 1, DRIVER_FD_CALL, -1), 0);
	guest_count(a->rings[1].call);
	assert_int_equal(a->ops->queue_stats(a->device, 1, &before), 0);
	guest_exchange(a, b, 5);
	guest_exchange(b, a, 1);
	assert_int_equal(a->ops->queue_stats(a->device, 1, &after), 0);
	assert_int_equal(after.calls, before.calls);
	assert_int_equal(guest_count(a->rings[1].call), 0);
}

static void a_kick_eventfd_changes_while_the_queue_runs(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	int before = a->rings[1].kick;

	guest_run(a);
	guest_exchange(a, b, 1);
	a->rings[1].kick = new_eventfd();
	assert_int_equal(
		a->ops->set_queue_fd(a->device, 1, DRIVER_FD_KICK, a->rings[1].kick), 0);
	for (int i = 0; i < 5; i++)
		guest_exchange(a, b, 1);
	close_keep_errno(before);
}

static void without_a_kick_eventfd_the_device_polls(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	assert_int_equal(a->ops->set_queue_fd(a->device, 1, DRIVER_FD_KICK, -1), 0);
	for (uint32_t n = 0; n < 5; n++) {
		assert_true(guest_offer_frame(a, 0, b->nic_device->mac, n) >= 0);
		assert_int_equal(guest_receive(b), n);
	}
}

static void a_queue_is_prepared_without_eventfds(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_queue q = guest_facts(a, 1);
	const struct queue_set set = guest_set(1, 1);

	q.kick_fd = q.call_fd = q.err_fd = -1;
	assert_int_equal(a->ops->prepare(a->device, &q, 1), 0);
	assert_int_equal(a->ops->start(a->device, &set), 0);
	assert_true(guest_offer_frame(a, 0, b->nic_device->mac, 7) >= 0);
	assert_int_equal(guest_receive(b), 7);
	guest_wait(a, 1, NULL);
	assert_int_equal(guest_count(a->rings[1].call), 0);
}

static void an_err_eventfd_changes_while_the_queue_runs(void **state)
{
	struct guest *a = suite_guest(state, 1);
	_cleanup_close_ int other = new_eventfd();

	suite_need(state, RIG_QUEUE_ERRORS);
	guest_run(a);
	assert_int_equal(a->ops->set_queue_fd(a->device, 1, DRIVER_FD_ERR, other), 0);
	guest_add_at(a, 1, 0x1000, 100);
	guest_kick(a, 1);
	guest_wait_count(other);
	assert_int_equal(guest_count(a->rings[1].err), 0);
}

static void eventfds_of_a_prepared_queue_change_too(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	_cleanup_close_ int other = new_eventfd();

	guest_fill(a, 0);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(a->ops->set_queue_fd(a->device, 1, DRIVER_FD_CALL, other), 0);
	assert_int_equal(guest_start(a), 0);
	guest_exchange(a, b, 1);
	guest_wait_count(other);
	assert_int_equal(guest_count(a->rings[1].call), 0);
}

static void an_eventfd_of_no_queue_is_refused(void **state)
{
	struct guest *a = suite_guest(state, 1);
	uint16_t beyond = suite_beyond_queues(a);

	assert_int_equal(a->ops->set_queue_fd(a->device, beyond, DRIVER_FD_CALL,
				 a->rings[0].call), -EINVAL);
	assert_int_equal(a->ops->set_queue_fd(a->device, UINT16_MAX, DRIVER_FD_KICK, -1), -EINVAL);
}

const struct suite_test driver_eventfd_tests[] = {
	BOTH(calls_are_signalled_for_both_directions),
	BOTH(a_call_eventfd_changes_while_the_queue_runs),
	BOTH(without_a_call_eventfd_nobody_is_called),
	BOTH(a_kick_eventfd_changes_while_the_queue_runs),
	BOTH(without_a_kick_eventfd_the_device_polls),
	BOTH(a_queue_is_prepared_without_eventfds),
	BOTH(an_err_eventfd_changes_while_the_queue_runs),
	ONCE(eventfds_of_a_prepared_queue_change_too),
	ONCE(an_eventfd_of_no_queue_is_refused),
	{ 0 },
};

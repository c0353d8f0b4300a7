/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No call takes longer than its deadline, whatever the device does. Each call has a device of its
 * own and a thread, so that they wait at the same time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"

#define SLACK_MS 10000 /* a busy host wakes late */

static int call_reset(struct guest *g)
{
	return g->ops->reset(g->device);
}

static int call_set_features(struct guest *g)
{
	return g->ops->set_features(g->device, g->features);
}

static int call_map(struct guest *g)
{
	const struct driver_map map = guest_map(g);

	return g->ops->map(g->device, &map);
}

static int call_unmap(struct guest *g)
{
	return g->ops->unmap(g->device, GUEST_BASE, GUEST_MEMORY);
}

static int call_stop(struct guest *g)
{
	struct queue_position at[QUEUE_MAX];

	return guest_stop(g, at);
}

static int call_set_queue_fd(struct guest *g)
{
	return g->ops->set_queue_fd(g->device, 0, DRIVER_FD_CALL, -1);
}

static int call_get_config(struct guest *g)
{
	struct driver_net_config config;

	return g->ops->get_config(g->device, &config);
}

static int call_set_mtu(struct guest *g)
{
	return g->ops->set_mtu(g->device, 1280);
}

static int call_announce(struct guest *g)
{
	return g->ops->announce(g->device, g->nic_device->mac);
}

static const struct {
	const char *name;
	enum rig_call number;
	int (*call)(struct guest *g);
	uint64_t deadline_ms;
} calls[] = {
	{ "reset", RIG_CALL_RESET, call_reset, DRIVER_DEADLINE_RESET },
	{ "set_features", RIG_CALL_SET_FEATURES, call_set_features, DRIVER_DEADLINE_COMMAND },
	{ "map", RIG_CALL_MAP, call_map, DRIVER_DEADLINE_MAP },
	{ "unmap", RIG_CALL_UNMAP, call_unmap, DRIVER_DEADLINE_MAP },
	{ "prepare", RIG_CALL_PREPARE, guest_prepare, DRIVER_DEADLINE_COMMAND },
	{ "start", RIG_CALL_START, guest_start, DRIVER_DEADLINE_COMMAND },
	{ "stop", RIG_CALL_STOP, call_stop, DRIVER_DEADLINE_COMMAND },
	{ "set_queue_fd", RIG_CALL_SET_QUEUE_FD, call_set_queue_fd, DRIVER_DEADLINE_COMMAND },
	{ "get_config", RIG_CALL_GET_CONFIG, call_get_config, DRIVER_DEADLINE_COMMAND },
	{ "set_mtu", RIG_CALL_SET_MTU, call_set_mtu, DRIVER_DEADLINE_COMMAND },
	{ "announce", RIG_CALL_ANNOUNCE, call_announce, DRIVER_DEADLINE_COMMAND },
};

struct hung_call {
	int (*call)(struct guest *g);
	struct guest *guest;
	pthread_t thread;
	uint64_t took_ms;
	int result;
};

static void *run(void *arg)
{
	struct hung_call *c = arg;
	uint64_t begin = clock_now_ns();

	c->result = c->call(c->guest);
	c->took_ms = (clock_now_ns() - begin) / NS_PER_MS;
	return NULL;
}

static bool waits(void **state, enum rig_call call)
{
	return suite_rig(state)->waits & BIT(call);
}

static void a_device_that_hangs_is_left_at_the_deadline(void **state)
{
	struct hung_call hung[ARRAY_SIZE(calls)];

	if (!suite_rig(state)->hang)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (!waits(state, calls[i].number))
			continue;
		hung[i] = (struct hung_call){ calls[i].call, suite_guest(state, 1), 0, 0, 0 };
		suite_rig(state)->hang(hung[i].guest->nic_device);
		assert_int_equal(pthread_create(&hung[i].thread, NULL, run, &hung[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (waits(state, calls[i].number))
			pthread_join(hung[i].thread, NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (!waits(state, calls[i].number))
			continue;
		if (hung[i].result != -ETIMEDOUT)
			fail_msg("%s returned %d", calls[i].name, hung[i].result);
		if (hung[i].took_ms < calls[i].deadline_ms / 2 ||
			hung[i].took_ms > calls[i].deadline_ms + SLACK_MS)
			fail_msg("%s took %u ms", calls[i].name, (unsigned int)hung[i].took_ms);
	}
}

static void set_log_leaves_a_device_that_hangs(void **state)
{
	struct guest *a = suite_guest(state, 1);
	uint64_t begin = clock_now_ns();

	if (!suite_rig(state)->hang || !waits(state, RIG_CALL_SET_LOG) ||
		!a->ops->caps(a->device)->dirty_log)
		skip();
	suite_rig(state)->hang(a->nic_device);
	assert_int_equal(a->ops->set_log(a->device, NULL), -ETIMEDOUT);
	assert_true(clock_now_ns() - begin < (DRIVER_DEADLINE_COMMAND + SLACK_MS) * NS_PER_MS);
}

static void open_leaves_a_device_that_hangs(void **state)
{
	struct guest *a = suite_guest(state, 1);
	uint64_t begin;

	if (!suite_rig(state)->hang || !waits(state, RIG_CALL_OPEN))
		skip();
	guest_close(a);
	suite_rig(state)->hang(a->nic_device);
	begin = clock_now_ns();
	assert_int_equal(guest_open(a), -ETIMEDOUT);
	assert_null(a->device);
	assert_true(clock_now_ns() - begin < (DRIVER_DEADLINE_COMMAND + SLACK_MS) * NS_PER_MS);
	assert_int_equal(guest_open(a), 0);
}

static void a_late_answer_is_not_taken_for_the_next_ones(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_net_config config;

	if (!suite_rig(state)->delay || !waits(state, RIG_CALL_SET_MTU))
		skip();
	guest_run(a);
	suite_rig(state)->delay(a->nic_device, DRIVER_DEADLINE_COMMAND + 300);
	assert_int_equal(a->ops->set_mtu(a->device, 67), -ETIMEDOUT);
	assert_int_equal(a->ops->get_config(a->device, &config), 0);
	assert_int_equal(config.mtu, a->nic_device->mtu);
	guest_exchange(a, b, 3);
}

static void a_reset_that_takes_its_time_is_waited_for(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	uint64_t begin;

	if (!suite_rig(state)->delay)
		skip();
	guest_run(a);
	suite_rig(state)->delay(a->nic_device, DRIVER_DEADLINE_COMMAND / 2);
	begin = clock_now_ns();
	assert_int_equal(a->ops->reset(a->device), 0);
	assert_true(clock_now_ns() - begin >= DRIVER_DEADLINE_COMMAND / 2 * NS_PER_MS);
	for (uint16_t i = 0; i < 2; i++)
		guest_ring_init(a, i, 0);
	assert_int_equal(guest_setup(a), 0);
	guest_run(a);
	guest_exchange(a, b, 3);
}

const struct suite_test driver_deadline_tests[] = {
	ONCE(a_device_that_hangs_is_left_at_the_deadline),
	ONCE(set_log_leaves_a_device_that_hangs),
	ONCE(open_leaves_a_device_that_hangs),
	ONCE(a_reset_that_takes_its_time_is_waited_for),
	ONCE(a_late_answer_is_not_taken_for_the_next_ones),
	{ 0 },
};

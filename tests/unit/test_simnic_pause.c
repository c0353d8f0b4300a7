/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What simnic's data threads look at, its control thread reads and changes only while they are kept
 * away: they look at queues that don't run too, and give queues up by themselves. A thread that holds
 * its lock until it is asked for sees each command wait for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/unit/simnic_stand.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/queues.h"
#include "vdpa/base/bits.h"

struct stand {
	struct nic nic;
	struct function *function;
	pthread_t worker;
	atomic_bool holds;    /* the worker has its lock */
	atomic_bool returned; /* the command is over */
	bool paused;	      /* and before that it was asked to give way */
};

static void *work(void *arg)
{
	struct stand *s = arg;

	pthread_mutex_lock(&s->nic.threads[0]->lock);
	s->holds = true;
	while (s->nic.pauses == 0 && !s->returned)
		sched_yield();
	s->paused = s->nic.pauses > 0;
	pthread_mutex_unlock(&s->nic.threads[0]->lock);
	return NULL;
}

static int setup(void **state)
{
	struct stand *s = calloc(1, sizeof(*s));

	*state = s;
	return s ? simnic_stand_begin(&s->nic, &s->function) : -1;
}

static int teardown(void **state)
{
	struct stand *s = *state;

	simnic_stand_end(&s->nic, s->function);
	free(s);
	return 0;
}

static void assert_waits(struct stand *s, int (*command)(struct function *f), int result)
{
	assert_int_equal(pthread_create(&s->worker, NULL, work, s), 0);
	while (!s->holds)
		sched_yield();
	assert_int_equal(command(s->function), result);
	s->returned = true;
	pthread_join(s->worker, NULL);
	assert_true(s->paused);
}

static int prepare(struct function *f)
{
	const struct sim_queue_setup setup = { .queue = 1, .size = 8, .desc = 0x1000 };

	return queues_prepare(f, &setup, 1, NULL);
}

static int set_fds(struct function *f)
{
	const struct sim_queue_fds change = { .queue = 1, .change = SIM_FD_CALL };

	return queue_set_fds(f, &change, NULL);
}

static int set_features(struct function *f)
{
	return function_set_features(f, 0);
}

static int map_for_postcopy(struct function *f)
{
	const struct sim_map map = { .iova = 0x1000, .size = 0x1000 };
	uint64_t address;
	int r;

	f->postcopy = (struct postcopy *)f; /* anything: the command does not come as far */
	r = postcopy_map(f, &map, -1, &address);
	f->postcopy = NULL;
	return r;
}

static void prepare_waits_for_data_threads(void **state)
{
	assert_waits(*state, prepare, -EFAULT);
}

static void set_fds_waits_for_data_threads(void **state)
{
	assert_waits(*state, set_fds, 0);
}

static void set_features_waits_for_data_threads(void **state)
{
	assert_waits(*state, set_features, 0);
}

static void postcopy_map_waits_for_data_threads(void **state)
{
	assert_waits(*state, map_for_postcopy, -EINVAL);
}

#define PAUSE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PAUSE_TEST(prepare_waits_for_data_threads),
		PAUSE_TEST(set_fds_waits_for_data_threads),
		PAUSE_TEST(set_features_waits_for_data_threads),
		PAUSE_TEST(postcopy_map_waits_for_data_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What simnic does when registers can't be had for a function, and when a descriptor can't be waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/simnic_stand.h"
#include "tools/simnic/mailbox.h"
#include "tools/simnic/queues.h"

struct stand {
	struct nic nic;
	struct function *function;
};

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

/* Registers are a file. */
static void allow_files_of(rlim_t size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static ino_t bar_of(const struct function *f)
{
	struct stat st;

	assert_int_equal(fstat(f->bar_fd, &st), 0);
	return st.st_ino;
}

static void there_is_no_other_mailbox_without_other_registers(void **state)
{
	struct stand *s = *state;
	struct function *f = s->function;
	ino_t before = bar_of(f);
	int first, second = -1;

	assert_int_equal(mailbox_attach(f, &first), 0);
	assert_int_equal(bar_of(f), before);
	signal(SIGXFSZ, SIG_IGN);
	allow_files_of(0);
	for (int i = 0; i < 2; i++) /* while there is a mailbox, and when there is none any more */
		assert_int_equal(mailbox_attach(f, &second), -EFBIG);
	allow_files_of(RLIM_INFINITY);
	assert_int_equal(mailbox_attach(f, &second), 0);
	assert_int_not_equal(bar_of(f), before);
	close(first);
	close(second);
}

static void a_kick_descriptor_that_can_t_be_watched_leaves_the_one_before(void **state)
{
	const struct sim_queue_fds change = { .queue = 1, .change = SIM_FD_KICK, .have_fds = SIM_FD_KICK };
	static uint64_t ring[64];
	struct stand *s = *state;
	struct data_thread *t = s->nic.threads[0];
	struct vq *q = &s->function->queues[1];
	const int epoll_fd = t->epoll_fd, kick = q->kick_fd = eventfd(0, 0);
	int next = eventfd(0, 0);

	q->desc = q->driver = q->device = ring;
	q->status = SIM_QUEUE_RUNNING;
	assert_int_equal(thread_add_queue(t, q), 0);
	t->epoll_fd = -1;
	assert_int_equal(queue_set_fds(s->function, &change, &next), -EBADF);
	t->epoll_fd = epoll_fd;
	assert_int_equal(q->kick_fd, kick);
	assert_int_not_equal(next, -1);
	assert_int_equal(queue_set_fds(s->function, &change, &next), 0);
	assert_int_not_equal(q->kick_fd, kick);
	assert_int_equal(next, -1);
}

#define FD_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		FD_TEST(there_is_no_other_mailbox_without_other_registers),
		FD_TEST(a_kick_descriptor_that_can_t_be_watched_leaves_the_one_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

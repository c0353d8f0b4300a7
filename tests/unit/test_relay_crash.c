/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A relay that ends at any of its named steps, and one that is killed at any instruction: the next
 * one goes on from kept memory and the rings.
 */
#include "relay_lab.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdpa/relay_internal.h"

static jmp_buf crash;
static bool armed;
static int crash_step;    /* the step to end at, -1: any */
static uint32_t crash_in; /* how many times to pass by it */
static uint64_t reached[RELAY_N_STEPS];

void relay_step_hook(enum relay_step step)
{
	reached[step]++;
	if (!armed || (crash_step >= 0 && (int)step != crash_step))
		return;
	if (crash_in-- == 0) {
		armed = false;
		longjmp(crash, 1);
	}
}

static const uint64_t features[] = {
	0,
	LAB_EVENT | LAB_INDIRECT,
	LAB_IN_ORDER | LAB_INDIRECT,
};

static void resume(struct lab *lab)
{
	relay_close(lab->relay);
	lab->relay = NULL;
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_RESUME);
	lab_log(lab, true, true);
}

/* The guest goes on in the middle of what is audited: what it writes itself is none of that. */
static void give_aside(struct lab *lab)
{
	static uint8_t was[256 << 10];

	assert_true(lab->ram_size <= sizeof(was));
	memcpy(was, lab->ram, lab->ram_size);
	lab_give_some(lab, 10);
	for (uint64_t i = 0; i < lab->ram_size; i++) {
		if (lab->ram[i] != was[i])
			lab->before[i] = lab->ram[i];
	}
}

enum work { RUN, SLEEP, FINISH };

/* Does @work, with any number of crashes and successors until it is done. */
static void insist(
	struct lab *lab, enum work work, struct queue_position *stopped, int step, uint32_t passes)
{
	volatile bool crashed = false;
	struct queue_position at;
	volatile int r = 0;

	crash_step = step;
	crash_in = passes;
	armed = true;
	if (setjmp(crash) != 0) {
		crashed = true;
		if (work != FINISH) { /* the device runs on */
			lab_take(lab, lab_below(&lab->rng, 10));
			lab_complete(lab, lab_below(&lab->rng, 10));
		}
		if (lab_below(&lab->rng, 2)) { /* and so does the guest */
			lab_get(lab);
			give_aside(lab);
		}
		resume(lab);
		crash_in = passes + lab_below(&lab->rng, 100); /* else it might never get on */
		armed = step < 0;
	}
	switch (work) {
	case RUN:
		r = lab_relay_run(lab);
		break;
	case SLEEP:
		relay_sleep(lab->relay);
		break;
	case FINISH:
		r = relay_finish(lab->relay, stopped, &at);
		*stopped = at;
		break;
	}
	armed = false;
	if (r != 0)
		fail_msg("%s (%d) after %s", relay_reason(lab->relay), r,
			crashed ? "a crash" : "none");
}

static void expect_audit(struct lab *lab, int step)
{
	int64_t page = lab_audit(lab);

	if (page >= 0)
		fail_msg("a change without a mark at %#lx, %s, features %#lx, step %d", page,
			lab->packed ? "packed" : "split", lab->features, step);
}

/* A relay's life, with crashes at @step; @often: the mean number of passes between them. */
static void live(struct lab *lab, int step, uint32_t often, int rounds)
{
	struct queue_position at = queue_position_initial(lab->packed);

	for (int life = 0; life < 4; life++) {
		lab_relay_open(lab, at, RELAY_FRESH);
		lab_log(lab, true, true);
		lab_device_shadow(lab);
		for (int i = 0; i < rounds; i++) {
			lab_give_some(lab, 12);
			lab_audit_begin(lab);
			insist(lab, RUN, NULL, step, lab_below(&lab->rng, often));
			lab_take(lab, lab_below(&lab->rng, 12));
			lab_complete(lab, lab_below(&lab->rng, 12));
			insist(lab, RUN, NULL, step, lab_below(&lab->rng, often));
			if (i % 4 == 0)
				insist(lab, SLEEP, NULL, step, lab_below(&lab->rng, often));
			lab_relay_run(lab); /* what came after a crash */
			expect_audit(lab, step);
			lab_get(lab);
		}
		lab_take(lab, lab_below(&lab->rng, 12));
		lab_complete(lab, lab_below(&lab->rng, 4));
		lab_audit_begin(lab);
		at = lab_device_stop(lab);
		insist(lab, FINISH, &at, step, lab_below(&lab->rng, often));
		expect_audit(lab, step);
		lab_get(lab);
		assert_int_equal(at.used, lab->at.used);
		assert_int_equal(at.avail, at.used);
		relay_close(lab->relay);
		lab->relay = NULL;
	}
	lab_drain(lab, at);
}

static void live_everywhere(int step, uint32_t often, int rounds)
{
	for (size_t i = 0; i < 8 * ARRAY_SIZE(features); i++) {
		uint64_t f = features[i / 8];
		bool packed = i % 2, in_order = i / 2 % 2;
		struct lab lab;

		if ((f & LAB_IN_ORDER) && !in_order)
			continue;
		lab_open(&lab, i / 4 % 2 ? 32 : 4, f | (packed ? LAB_PACKED : 0));
		lab.dev.in_order = in_order;
		live(&lab, step, often, rounds);
		lab_close(&lab);
	}
}

static void a_relay_that_ends_at_any_step_is_gone_on_with(void **state)
{
	for (int step = 0; step < RELAY_N_STEPS; step++) {
		memset(reached, 0, sizeof(reached));
		live_everywhere(step, 3, 12);
		if (reached[step] == 0)
			fail_msg("step %d was never reached", step);
	}
}

static void relays_that_end_again_and_again_lose_nothing(void **state)
{
	live_everywhere(-1, 60, 80);
	live_everywhere(-1, 400, 80);
}

static int call_fd, device_fd;

static bool signalled(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void a_successor_signals_both_sides(void **state)
{
	struct lab lab;

	lab_open(&lab, 4, 0);
	lab.setup.call_fd = call_fd = eventfd(0, EFD_NONBLOCK);
	lab.setup.device_fd = device_fd = eventfd(0, EFD_NONBLOCK);
	lab_relay_open(&lab, queue_position_initial(false), RELAY_FRESH);
	assert_false(signalled(call_fd));
	assert_false(signalled(device_fd));
	resume(&lab);
	assert_true(signalled(call_fd));
	assert_true(signalled(device_fd));
	lab_close(&lab);
	close(call_fd);
	close(device_fd);
}

/* Kills the relay's process @times times at any instruction, while guest and device go on. */
static void kill_again_and_again(struct lab *lab, int times)
{
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_FRESH);
	lab_device_shadow(lab);
	relay_close(lab->relay);
	lab->relay = NULL;
	for (int i = 0; i < times; i++) {
		lab_relay_killed(lab, true);
		lab_play(lab, 0, lab_below(&lab->rng, 20000));
	}
	resume(lab);
	lab_relay_end(lab);
	assert_true(lab->n_given > 1000);
}

static void a_relay_that_is_killed_at_any_instruction_is_gone_on_with(void **state)
{
	for (size_t i = 0; i < 4 * ARRAY_SIZE(features); i++) {
		uint64_t f = features[i / 4];
		bool packed = i % 2, in_order = i / 2 % 2;
		struct lab lab;

		if ((f & LAB_IN_ORDER) && !in_order)
			continue;
		lab_open(&lab, 64, f | (packed ? LAB_PACKED : 0));
		lab.dev.in_order = in_order;
		kill_again_and_again(&lab, 30);
		lab_close(&lab);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_relay_that_ends_at_any_step_is_gone_on_with),
		cmocka_unit_test(relays_that_end_again_and_again_lose_nothing),
		cmocka_unit_test(a_successor_signals_both_sides),
		cmocka_unit_test(a_relay_that_is_killed_at_any_instruction_is_gone_on_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

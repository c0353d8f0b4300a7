/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IFC's registers, as the driver uses them: positions, the log, and what a driver that dies leaves. Each
 * function is one of a NIC that works; the model complains of a wrong order, and that fails the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/virtio/function.h"
#include "tests/unit/nic_rig.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define RING	  32U
#define PAIRS	  2
#define MOST_STEPS 2000
#define SLACK_MS   10000 /* of a machine that does other things */
#define BITMAP_SIZE ((GUEST_BASE + GUEST_MEMORY) / DRIVER_LOG_PAGE / 8) /* the least that will do */

struct stand {
	struct guest *guest, *peer;
	struct nic_function *function; /* the guest's */
};

static int setup(void **state)
{
	const struct nic_facts facts = {
		.ifc = true,
		.features = NIC_FEATURES & ~BIT_ULL(VIRTIO_BIT_RING_RESET),
	};
	struct stand *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	nic_rig_begin(&facts);
	s->peer = guest_new_sized(&nic_rig, GUEST_SPLIT, 1, RING);
	guest_run(s->peer);
	s->guest = guest_new_sized(&nic_rig, GUEST_SPLIT, PAIRS, RING);
	s->function = nic_device_of(s->guest)->function;
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct stand *s = *state;

	guest_free(s->guest);
	guest_free(s->peer);
	nic_rig_end();
	free(s);
	return 0;
}

static struct virtio_model *model_of(struct stand *s)
{
	return &s->function->model;
}

/* ------------------------------------------------------------------------------- logs */

struct bitmap {
	int fd;
	uint64_t offset, file_size;
	uint8_t *file;
};

/* Its file ends within a page. */
static struct bitmap bitmap_new(uint64_t offset)
{
	struct bitmap m = { .offset = offset, .file_size = offset + BITMAP_SIZE };

	m.fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(m.fd >= 0);
	assert_int_equal(ftruncate(m.fd, (off_t)m.file_size), 0);
	m.file = mmap(NULL, m.file_size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	assert_ptr_not_equal(m.file, MAP_FAILED);
	return m;
}

static void bitmap_free(struct bitmap *m)
{
	munmap(m->file, m->file_size);
	m->fd = close_keep_errno(m->fd);
}

static struct driver_log bitmap_log(const struct bitmap *m)
{
	return (struct driver_log){ .fd = m->fd, .offset = m->offset, .size = BITMAP_SIZE };
}

static void bitmap_clear(struct bitmap *m)
{
	memset(m->file, 0, m->file_size);
}

/* Is any page marked? None is outside of the guest's memory. */
static bool bitmap_any(const struct bitmap *m)
{
	uint64_t first = m->offset + GUEST_BASE / DRIVER_LOG_PAGE / 8;
	bool any = false;

	for (uint64_t i = 0; i < m->file_size; i++) {
		if (m->file[i] && i < first)
			fail_msg("byte %llu of the log was written", (unsigned long long)i);
		any = any || m->file[i];
	}
	return any;
}

/* NULL: to none. */
static void log_to(struct stand *s, const struct bitmap *m)
{
	const struct driver_log log = m ? bitmap_log(m) : (struct driver_log){ 0 };

	assert_int_equal(s->guest->ops->set_log(s->guest->device, m ? &log : NULL), 0);
}

/* ------------------------------------------------------------------------------- what it is */

static int try_open(struct stand *s)
{
	struct guest *g = s->guest;

	guest_close(g);
	memset(g->kept_state, 0, sizeof(g->kept_state));
	return guest_open(g);
}

static void only_intels_numbers_are_taken(void **state)
{
	static const struct {
		uint16_t device, vendor, subsystem;
		int result;
	} cases[] = {
		{ 0x1041, 0x8086, 0x001a, 0 },
		{ 0x1041, 0x8086, 0x0001, 0 },
		{ 0x1000, 0x8086, 0x0001, 0 },
		{ 0x1041, 0x1af4, 0x001a, -EPROTO },
		{ 0x1041, 0x8086, 0x001b, -EPROTO },
		{ 0x1000, 0x8086, 0x001a, -EPROTO },
		{ 0x1042, 0x8086, 0x001a, -EPROTO },
		{ 0xffff, 0xffff, 0xffff, -EPROTO },
	};
	struct stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		model_set_config(model_of(s), PCI_DEVICE_ID, 2, cases[i].device);
		model_set_config(model_of(s), PCI_SUBSYSTEM_VENDOR_ID, 2, cases[i].vendor);
		model_set_config(model_of(s), PCI_SUBSYSTEM_ID, 2, cases[i].subsystem);
		assert_int_equal(try_open(s), cases[i].result);
	}
}

static void capabilities_are_those_of_its_registers(void **state)
{
	struct stand *s = *state;
	const struct driver_caps *caps = s->guest->ops->caps(s->guest->device);

	assert_int_equal(caps->start_position, DRIVER_START_ANY);
	assert_int_equal(caps->dirty_log, DRIVER_LOG_BUFFERS);
	assert_false(caps->ring_positions);
	assert_false(caps->together);
	assert_true(caps->in_order);
	assert_true(caps->features & BIT_ULL(VIRTIO_F_IN_ORDER));
	assert_false(caps->features & BIT_ULL(VIRTIO_F_RING_PACKED));
	assert_int_equal(caps->n_queues, 2 * PAIRS);
}

/* Registers that are not there, too few of them, or that are virtio's. */
static void without_its_registers_it_is_a_virtio_function(void **state)
{
	static const struct {
		uint64_t size;
		uint8_t common_bar;
	} cases[] = {
		{ 0, MODEL_BAR },
		{ PAIRS * 0x40 - 1, MODEL_BAR },
		{ 0x10000, MODEL_IFC_BAR },
	};
	struct stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct driver_caps *caps;

		model_of(s)->bar_sizes[MODEL_IFC_BAR] = cases[i].size;
		/* An interrupt status is never looked at. */
		model_set_config(model_of(s), MODEL_CAP_ISR + 4, 1, cases[i].common_bar);
		model_set_config(model_of(s), MODEL_CAP_ISR + 8, 4, 0);
		assert_int_equal(try_open(s), 0);
		caps = s->guest->ops->caps(s->guest->device);
		assert_int_equal(caps->start_position, DRIVER_START_INITIAL);
		assert_int_equal(caps->dirty_log, DRIVER_LOG_NONE);
		assert_true(caps->ring_positions && caps->together);
		assert_true(caps->features & BIT_ULL(VIRTIO_F_RING_PACKED));
	}
	model_of(s)->bar_sizes[MODEL_IFC_BAR] = PAIRS * 0x40;
	model_set_config(model_of(s), MODEL_CAP_ISR + 4, 1, MODEL_BAR);
	assert_int_equal(try_open(s), 0);
	assert_int_equal(s->guest->ops->caps(s->guest->device)->dirty_log, DRIVER_LOG_BUFFERS);
}

/* ------------------------------------------------------------------------------- positions */

static void begin_at(struct guest *g, uint16_t index)
{
	for (uint16_t i = 0; i < g->n_queues; i++)
		guest_ring_init(g, i, (uint16_t)(index + i));
}

static void assert_stands_where_its_rings_say(struct guest *g, const struct queue_position *at)
{
	for (uint16_t i = 0; i < g->n_queues; i++) {
		assert_int_equal(at[i].used, g->rings[i].at.used);
		assert_int_equal(at[i].avail, at[i].used);
	}
}

/* The device has seen what waits in its receive rings, and says so; it has not written there. */
static void queues_begin_and_stop_anywhere(void **state)
{
	static const uint16_t indices[] = { 1, 1000, UINT16_MAX - 2 };
	struct stand *s = *state;
	struct queue_position at[QUEUE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(indices); i++) {
		begin_at(s->guest, indices[i]);
		guest_run(s->guest);
		guest_exchange(s->guest, s->peer, 5);
		guest_exchange(s->peer, s->guest, 7);
		assert_int_equal(guest_stop(s->guest, at), 0);
		assert_stands_where_its_rings_say(s->guest, at);
		assert_int_not_equal(model_of(s)->ifc.pairs, 0);
	}
}

static void all_pairs_are_told_of_and_none_that_does_not_run(void **state)
{
	struct stand *s = *state;
	const struct queue_set second = guest_set(2, 3);
	struct queue_position at[QUEUE_MAX];

	guest_run(s->guest);
	assert_int_equal(model_of(s)->ifc.pairs, 2);
	assert_int_equal(s->guest->ops->stop(s->guest->device, &second, at), 0);
	assert_int_equal(model_of(s)->ifc.pairs, 1);
	guest_exchange(s->guest, s->peer, 3);
	assert_int_equal(s->guest->ops->start(s->guest->device, &second), 0);
	assert_int_equal(model_of(s)->ifc.pairs, 2);
}

static void a_queue_that_takes_its_time_to_stop_is_waited_for(void **state)
{
	struct stand *s = *state;
	struct queue_position at[QUEUE_MAX];

	guest_run(s->guest);
	guest_exchange(s->peer, s->guest, 3);
	model_of(s)->ifc.disable_reads = 100;
	assert_int_equal(guest_stop(s->guest, at), 0);
	assert_stands_where_its_rings_say(s->guest, at);
}

static void a_queue_that_never_stops_fails_the_device_and_a_reset_ends_it(void **state)
{
	struct stand *s = *state;
	struct queue_position at[QUEUE_MAX];
	uint64_t begun;

	guest_run(s->guest);
	model_of(s)->ifc.disable_reads = UINT32_MAX;
	begun = clock_now_ns();
	assert_int_equal(guest_stop(s->guest, at), -ETIMEDOUT);
	assert_in_range(clock_now_ns() - begun, DRIVER_DEADLINE_COMMAND / 2 * NS_PER_MS,
		(DRIVER_DEADLINE_COMMAND + SLACK_MS) * NS_PER_MS);
	model_of(s)->ifc.disable_reads = 0;
	assert_int_equal(s->guest->ops->reset(s->guest->device), 0);
	begin_at(s->guest, 0);
	assert_int_equal(guest_setup(s->guest), 0);
	guest_run(s->guest);
	guest_exchange(s->peer, s->guest, 3);
}

/* ------------------------------------------------------------------------------- log */

static bool is_mapped(struct stand *s, uint64_t iova)
{
	for (size_t i = 0; i < s->function->dma.n; i++) {
		const struct nic_range *range = &s->function->dma.ranges[i];

		if (iova - range->iova < range->size)
			return true;
	}
	return false;
}

static void a_log_lies_in_a_window_of_its_own_as_long_as_it_is_needed(void **state)
{
	struct stand *s = *state;
	struct bitmap a = bitmap_new(0), b = bitmap_new(4096 + 8);
	uint64_t first, second;

	log_to(s, &a);
	first = model_ifc_log_address(model_of(s));
	assert_int_equal(model_ifc_log_size(model_of(s)), BITMAP_SIZE);
	assert_true(is_mapped(s, first));
	guest_run(s->guest);
	guest_exchange(s->peer, s->guest, 3);
	assert_true(bitmap_any(&a));

	log_to(s, &b);
	second = model_ifc_log_address(model_of(s));
	assert_int_equal(second % 4096, 8);
	assert_true(is_mapped(s, second));
	assert_false(is_mapped(s, first));
	assert_false(bitmap_any(&b));
	guest_exchange(s->peer, s->guest, 3);
	assert_true(bitmap_any(&b));

	log_to(s, NULL);
	assert_int_equal(model_ifc_log_size(model_of(s)), 0);
	assert_false(is_mapped(s, second));
	guest_exchange(s->peer, s->guest, 3);
	bitmap_free(&a);
	bitmap_free(&b);
}

static void a_log_is_told_again_after_all_queues_stopped(void **state)
{
	struct stand *s = *state;
	struct bitmap m = bitmap_new(0);
	struct queue_position at[QUEUE_MAX];

	log_to(s, &m);
	guest_run(s->guest);
	assert_int_equal(guest_stop(s->guest, at), 0);
	assert_int_equal(model_ifc_log_size(model_of(s)), 0); /* the reset took it */
	assert_int_equal(guest_start(s->guest), 0);
	guest_exchange(s->peer, s->guest, 3);
	assert_true(bitmap_any(&m));
	bitmap_free(&m);
}

static void a_function_that_keeps_its_log_over_a_reset_is_told_that_there_is_none(void **state)
{
	struct stand *s = *state;
	struct bitmap m = bitmap_new(0);

	model_of(s)->ifc.keeps_log = true;
	log_to(s, &m);
	assert_int_equal(s->guest->ops->reset(s->guest->device), 0);
	assert_int_equal(model_ifc_log_size(model_of(s)), 0);
	assert_int_equal(guest_setup(s->guest), 0);
	guest_run(s->guest);
	guest_exchange(s->peer, s->guest, 3);
	assert_false(bitmap_any(&m));
	bitmap_free(&m);
}

static void a_log_that_is_not_mapped_is_a_fault(void **state)
{
	struct stand *s = *state;
	struct bitmap m = bitmap_new(0);
	uint64_t at;

	guest_run(s->guest);
	log_to(s, &m);
	at = model_ifc_log_address(model_of(s));
	assert_int_equal(nic_dma_unmap(&s->function->dma, at, align_up(BITMAP_SIZE, 4096)), 0);
	guest_send(s->peer, 0, s->guest->nic_device->mac, 1);
	assert_int_equal(guest_wait_event(s->guest).kind, DRIVER_EVENT_FAILED);
	assert_in_range(nic_function_figures(s->function).last_fault, at, at + BITMAP_SIZE);
	bitmap_free(&m);
}

/* ------------------------------------------------------------------------------- deaths */

/* @before: the log that was in force, if it is exchanged for @m */
struct mortal_call {
	const char *name;
	int (*call)(struct stand *s, const struct bitmap *m);
	const struct bitmap *m;
	struct bitmap *before;
};

static int call_set_log(struct stand *s, const struct bitmap *m)
{
	const struct driver_log log = m ? bitmap_log(m) : (struct driver_log){ 0 };

	return s->guest->ops->set_log(s->guest->device, m ? &log : NULL);
}

static int call_stop(struct stand *s, const struct bitmap *m)
{
	struct queue_position at[QUEUE_MAX];
	int r = guest_stop(s->guest, at);

	if (r == 0)
		assert_stands_where_its_rings_say(s->guest, at);
	return r;
}

static int call_start(struct stand *s, const struct bitmap *m)
{
	int r;

	for (uint16_t i = 0; i < s->guest->n_queues; i++) {
		s->guest->rings[i].start.avail = s->guest->rings[i].at.used;
		s->guest->rings[i].start.used = s->guest->rings[i].at.used;
	}
	r = guest_prepare(s->guest);
	return r < 0 ? r : guest_start(s->guest);
}

/* The call, by a process that dies after @n accesses. Return: false: it was done before. */
static bool die_in(struct stand *s, const struct mortal_call *call, unsigned int n)
{
	struct nic_device *d = nic_device_of(s->guest);

	if (setjmp(d->died) != 0)
		return true;
	d->left = n;
	if (call->call(s, call->m) != 0)
		fail_msg("%s failed", call->name);
	d->left = 0;
	return false;
}

/* Wherever its process dies in a call, the next one repeats it, and all is as if nothing had been. */
static void repeat_after_death(struct stand *s, const struct mortal_call *call, unsigned int n,
	bool *ret_died)
{
	*ret_died = die_in(s, call, n);
	if (!*ret_died)
		return;
	guest_close(s->guest);
	assert_int_equal(guest_open(s->guest), 0);
	if (call->before) {
		bitmap_clear(call->before);
		guest_exchange(s->peer, s->guest, 2);
		if (!bitmap_any(call->before) && !bitmap_any(call->m))
			fail_msg("%s: after %u accesses nothing is marked", call->name, n);
	}
	if (call->call(s, call->m) != 0)
		fail_msg("%s can't be repeated after %u accesses", call->name, n);
}

static void a_driver_may_die_wherever_it_is(void **state)
{
	struct stand *s = *state;
	struct bitmap a = bitmap_new(0), b = bitmap_new(4096);
	const struct mortal_call calls[] = {
		{ "set_log to the first", call_set_log, &a, NULL },
		{ "set_log to another", call_set_log, &b, &a },
		{ "set_log to none", call_set_log, NULL, NULL },
		{ "stop", call_stop, NULL, NULL },
		{ "start", call_start, NULL, NULL },
	};
	unsigned int n_deaths = 0;
	bool died = true;

	guest_run(s->guest);
	for (unsigned int n = 1; died && n < MOST_STEPS; n++) {
		const struct bitmap *holds = NULL;
		bool one_died = false;

		for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
			repeat_after_death(s, &calls[i], n, &died);
			one_died = one_died || died;
			n_deaths += died;
			if (calls[i].call == call_set_log)
				holds = calls[i].m;
			if (calls[i].call == call_stop)
				continue;
			bitmap_clear(&a);
			bitmap_clear(&b);
			guest_exchange(s->guest, s->peer, 2);
			guest_exchange(s->peer, s->guest, 2);
			if (bitmap_any(&a) != (holds == &a) || bitmap_any(&b) != (holds == &b))
				fail_msg("after %u accesses of %s the wrong log is marked", n,
					calls[i].name);
		}
		died = one_died;
	}
	assert_false(died);
	assert_int_not_equal(n_deaths, 0);
	bitmap_free(&a);
	bitmap_free(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_intels_numbers_are_taken),
		TEST(capabilities_are_those_of_its_registers),
		TEST(without_its_registers_it_is_a_virtio_function),
		TEST(queues_begin_and_stop_anywhere),
		TEST(all_pairs_are_told_of_and_none_that_does_not_run),
		TEST(a_queue_that_takes_its_time_to_stop_is_waited_for),
		TEST(a_queue_that_never_stops_fails_the_device_and_a_reset_ends_it),
		TEST(a_log_lies_in_a_window_of_its_own_as_long_as_it_is_needed),
		TEST(a_log_is_told_again_after_all_queues_stopped),
		TEST(a_function_that_keeps_its_log_over_a_reset_is_told_that_there_is_none),
		TEST(a_log_that_is_not_mapped_is_a_fault),
		TEST(a_driver_may_die_wherever_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

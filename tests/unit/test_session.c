/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conversations that the fuzzer found once (tests/fuzz/play.h). What has to hold is checked there, after
 * each step and by the driver double at each call; the program ends when it does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/play.h"
#include "vdpa/base/bits.h"

/* Numbers of steps.c: 0 and 4096. */
enum { OFF = 56, A_PAGE = 22 };

/* Which of the errors of STEP_FAIL. */
enum { REFUSES, HAS_NO_ROOM, IS_GONE, TIMES_OUT };

#define PLAY(...)                                                                                  \
	do {                                                                                       \
		static const struct step steps[] = { __VA_ARGS__ };                                \
                                                                                                   \
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++)                                     \
			play_step(&steps[i]);                                                      \
	} while (0)

#define MESSAGE(name, ...) { .request = WIRE_##name, __VA_ARGS__ }
#define FAIL(after, how)   { .kind = STEP_FAIL, .ring = (how), .more = { (after) } }
#define RESTART		   { .kind = STEP_RESTART }

/* The first ring runs relayed: the device has no log, and the front-end wants one. */
#define RELAYED                                                                                    \
	MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES), MESSAGE(SET_MEM_TABLE),  \
		MESSAGE(SET_LOG_BASE), MESSAGE(SET_VRING_NUM), MESSAGE(SET_VRING_BASE, .value = { 31 }), \
		MESSAGE(SET_VRING_ADDR), MESSAGE(SET_VRING_KICK), MESSAGE(SET_VRING_ENABLE)

static const uint8_t plain[STEPS_HEAD_SIZE];

static int begin(void **state)
{
	play_begin(plain);
	return 0;
}

/* With an IOTLB; a doorbell; a control queue (play.h). */
static int begin_translating(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [7] = 1 });
	return 0;
}

static int begin_with_doorbell(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [7] = 2 });
	return 0;
}

static int begin_with_control(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [7] = 8 });
	return 0;
}

static int begin_with_postcopy(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [4] = 1 });
	return 0;
}

static int begin_with_log(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [5] = DRIVER_LOG_ALL });
	return 0;
}

static int begin_shuffled_with_log(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [3] = 1, [5] = DRIVER_LOG_ALL });
	return 0;
}

static int begin_with_control_and_pairs(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [0] = 1, [7] = 8 });
	return 0;
}

static int end(void **state)
{
	play_end();
	return 0;
}

static const struct device_section *device(void)
{
	return &play_stand()->device_section;
}

static void nothing_is_kept_of_a_message_that_came_when_the_device_failed(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES, .ring = 1), FAIL(0, TIMES_OUT),
		MESSAGE(SET_MEM_TABLE, .flags = 1));
	assert_true(device()->failed);
	assert_int_equal(device()->memory.n_regions, 0);
}

static void a_device_that_refuses_its_reset_has_failed_until_one_works(void **state)
{
	PLAY(MESSAGE(SET_MEM_TABLE), FAIL(0, REFUSES), { .kind = STEP_CLOSE });
	assert_true(device()->failed);
	PLAY(MESSAGE(GET_FEATURES));
	assert_false(device()->failed);
	assert_int_equal(play_stand()->driver.n_maps, 0);
}

static void a_size_from_before_the_layout_was_known_does_not_spoil_the_page(void **state)
{
	PLAY(MESSAGE(SET_VRING_NUM, .value = { 3 }), RESTART);
	assert_int_equal(device()->rings[0].size, 3);
	PLAY(MESSAGE(SET_FEATURES, .ring = 7), RESTART); /* split, and it can't run */
	assert_int_equal(device()->rings[0].size, 3);
}

static void a_ring_is_relayed(void **state)
{
	PLAY(RELAYED);
	assert_true(device()->rings[0].running);
	assert_int_not_equal(device()->relays[0].kept_slot, RELAY_NO_SLOT);
}

#define A_RING                                                                                     \
	MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM), MESSAGE(SET_VRING_BASE, .value = { OFF }),         \
		MESSAGE(SET_VRING_ADDR), MESSAGE(SET_VRING_KICK), \
		MESSAGE(SET_VRING_ENABLE)

/* What a device hears with a kick, if it wants that. */
static void where_the_next_buffers_go_is_known_of_split_rings_and_of_relays(void **state)
{
	const struct device *d = &play_stand()->device;
	struct queue_position at = { .avail = 7 };

	assert_int_equal(device_next_available(d, 0, &at), -ENOENT);
	PLAY(MESSAGE(SET_FEATURES, .ring = 7), A_RING); /* split, direct */
	assert_true(device()->rings[0].running && device()->relays[0].kept_slot == RELAY_NO_SLOT);
	memcpy(files_memory() + 0x2002, &(uint16_t){ 4242 }, 2);
	assert_int_equal(device_next_available(d, 0, &at), 0);
	assert_true(queue_position_equal(at, (struct queue_position){ .avail = 4242 }));
	assert_int_equal(device_next_available(d, d->n_queues, &at), -ENOENT);

	PLAY({ .kind = STEP_CLOSE }, MESSAGE(SET_FEATURES, .ring = 1), A_RING); /* packed, direct */
	assert_true(device()->rings[0].running && device()->relays[0].kept_slot == RELAY_NO_SLOT);
	assert_int_equal(device_next_available(d, 0, &at), -ENOENT);

	PLAY({ .kind = STEP_CLOSE }, RELAYED);
	assert_true(device()->rings[0].running && device()->relays[0].kept_slot != RELAY_NO_SLOT);
	assert_int_equal(device_next_available(d, 0, &at), 0);
	assert_true(queue_position_equal(at, queue_position_initial(true)));
}

/* A driver's control queue is its last one, wherever the guest's is. */
static void a_queue_that_a_driver_names_is_the_ring_that_it_is_for_the_guest(void **state)
{
	const struct device *d = &play_stand()->device;

	PLAY(MESSAGE(SET_FEATURES, .ring = 10)); /* without MQ */
	assert_int_equal(device_ring_of(d, 4), 2);
	assert_int_equal(device_ring_of(d, 1), 1);
	assert_int_equal(device_ring_of(d, 2), UINT32_MAX);
	assert_int_equal(device_ring_of(d, 5), UINT32_MAX);
	PLAY(MESSAGE(SET_FEATURES, .ring = 1));
	assert_int_equal(device_ring_of(d, 4), 4);
	assert_int_equal(device_ring_of(d, 2), 2);
	PLAY(MESSAGE(SET_FEATURES, .ring = 11)); /* without the queue */
	assert_int_equal(device_ring_of(d, 4), UINT32_MAX);
	assert_int_equal(device_ring_of(d, 3), 3);
}

/* At each call of the way to a relay. */
static void a_device_that_goes_while_a_relay_begins_is_asked_nothing_more(void **state)
{
	static const struct step enable = MESSAGE(SET_VRING_ENABLE);

	for (uint8_t how = REFUSES; how <= TIMES_OUT; how++) {
		for (uint8_t after = 0; after < 6; after++) {
			const struct step fail = FAIL(after, how);

			PLAY(RELAYED, MESSAGE(SET_VRING_ENABLE, .value = { OFF }));
			play_step(&fail);
			play_step(&enable);
			PLAY({ .kind = STEP_RETURN }, { .kind = STEP_CLOSE });
		}
	}
}

static void a_device_that_was_replaced_before_anybody_noticed_is_not_asked_about_its_relays(void **state)
{
	PLAY(RELAYED, { .kind = STEP_RETURN });
	assert_true(device()->rings[0].running);
}

/* Steps that were not done are not undone: at the same place there may be something else. */
static void memory_that_is_refused_leaves_the_memory_of_before(void **state)
{
	for (uint8_t after = 0; after < 5; after++) {
		const struct step fail = FAIL(after, HAS_NO_ROOM);

		PLAY({ .kind = STEP_CLOSE }, MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_MEM_TABLE, .value = { 1 }));
		play_step(&fail);
		PLAY(MESSAGE(SET_MEM_TABLE, .flags = 1, .value = { 2, 0, A_PAGE })); /* five calls */
		assert_false(device()->failed);
		assert_int_equal(device()->memory.n_regions, 2);
	}
}

static void a_device_that_fails_when_it_is_back_works_after_a_reset(void **state)
{
	PLAY(RELAYED, FAIL(0, TIMES_OUT), { .kind = STEP_RETURN });
	assert_true(device()->failed);
	PLAY({ .kind = STEP_CLOSE }, RESTART, RELAYED);
	assert_false(device()->failed);
	assert_true(device()->rings[0].running);
}

static void a_device_that_keeps_a_shadow_ring_has_failed_until_a_reset(void **state)
{
	PLAY(RELAYED, FAIL(1, REFUSES), MESSAGE(GET_VRING_BASE));
	assert_true(device()->failed);
	PLAY({ .kind = STEP_CLOSE }, RELAYED);
	assert_true(device()->rings[0].running);
}

/* A relay that stops makes state and descriptors lasting before the message is decided on. */
static void memory_that_is_refused_after_a_relay_stopped_for_it_is_not_kept(void **state)
{
	for (uint8_t how = REFUSES; how <= TIMES_OUT; how++) {
		for (uint8_t after = 0; after < 6; after++) {
			const struct step fail = FAIL(after, how);

			PLAY(RELAYED);
			assert_int_not_equal(device()->relays[0].kept_slot, RELAY_NO_SLOT);
			play_step(&fail);
			PLAY(MESSAGE(SET_MEM_TABLE, .ring = 7));
			end(state);
			begin(state);
		}
	}
}

/* In each message, before each call to the device or the shim. */
static void a_worker_that_dies_in_a_message_is_followed_by_one_that_does_all_of_it(void **state)
{
	static const struct step all[] = { RELAYED };

	for (size_t where = 0; where < ARRAY_SIZE(all); where++) {
		for (uint8_t after = 0; after < 8; after++) {
			const struct step die = { .kind = STEP_DIE, .more = { after } };

			for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
				if (i == where)
					play_step(&die);
				play_step(&all[i]);
			}
			assert_true(device()->rings[0].running);
			assert_int_not_equal(device()->relays[0].kept_slot, RELAY_NO_SLOT);
			PLAY({ .kind = STEP_CLOSE });
		}
	}
}

/* Before each call: the device that came back was told a part of what it has to know, or nothing. */
static void a_worker_that_dies_while_a_device_returns_is_followed_by_one_that_gives_it_all(void **state)
{
	for (uint8_t after = 0; after < 12; after++) {
		const struct step die = { .kind = STEP_DIE, .more = { after } };

		PLAY(RELAYED);
		play_step(&die);
		PLAY({ .kind = STEP_RETURN });
		if (after == 0) /* before it was reopened: it is away for the next worker too */
			PLAY({ .kind = STEP_RETURN });
		assert_true(device()->rings[0].running);
		PLAY({ .kind = STEP_CLOSE });
		end(state);
		begin(state);
	}
}

/* The first ring is where the front-end says, and waits for a translation. */
#define UNTRANSLATED                                                                               \
	MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_BACKEND_REQ_FD),                    \
		MESSAGE(SET_FEATURES, .ring = 1), MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM),  \
		MESSAGE(SET_VRING_BASE, .value = { 31 }), MESSAGE(SET_VRING_ADDR),                 \
		MESSAGE(SET_VRING_KICK), MESSAGE(SET_VRING_ENABLE)

enum { ELSEWHERE = 0x20 }; /* as a ring of IOTLB_MSG: the same addresses lead to another page */
#define TAKE_BACK MESSAGE(IOTLB_MSG, .value = { 1 })

static void a_ring_of_a_driver_behind_an_iommu_runs_as_long_as_it_is_translated(void **state)
{
	PLAY(UNTRANSLATED);
	assert_false(device()->rings[0].running);
	PLAY(MESSAGE(IOTLB_MSG));
	assert_true(device()->rings[0].running);
	PLAY(TAKE_BACK);
	assert_false(device()->rings[0].running);
	PLAY(MESSAGE(IOTLB_MSG, .ring = ELSEWHERE));
	assert_true(device()->rings[0].running);
	PLAY(MESSAGE(IOTLB_MSG));
	assert_true(device()->rings[0].running);
}

/* At each call: it refuses to move the ring, to stop it, to have the translation then, to start it. */
static void a_translation_that_the_device_refuses_leaves_state_and_device_of_one_mind(void **state)
{
	static const struct step messages[] = { MESSAGE(IOTLB_MSG, .ring = ELSEWHERE), TAKE_BACK };

	for (size_t which = 0; which < ARRAY_SIZE(messages); which++) {
		for (uint8_t after = 0; after < 6; after++) {
			const struct step fail = FAIL(after, HAS_NO_ROOM);

			PLAY(UNTRANSLATED, MESSAGE(IOTLB_MSG));
			play_step(&fail);
			play_step(&messages[which]);
			PLAY({ .kind = STEP_CLOSE });
		}
	}
}

static void a_channel_that_is_gone_when_a_translation_is_asked_for_again_is_given_up_for_good(void **state)
{
	PLAY(UNTRANSLATED);
	assert_int_not_equal(play_stand()->session_section.backend_slot, FDSTORE_NONE);
	PLAY({ .kind = STEP_CHANNEL, .ring = 2 }, { .kind = STEP_TIME, .more = { 20 } });
	assert_int_equal(play_stand()->session_section.backend_slot, FDSTORE_NONE);
	PLAY(RESTART);
	assert_int_equal(play_stand()->session_section.backend_slot, FDSTORE_NONE);
}

/* The channel is full, or nobody reads it any more. */
static void a_doorbell_that_the_front_end_could_not_be_told_of_is_known_to_be_open(void **state)
{
	for (uint8_t how = 0; how <= 2; how += 2) {
		const struct step channel = { .kind = STEP_CHANNEL, .ring = how };

		PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_BACKEND_REQ_FD));
		play_step(&channel);
		PLAY(MESSAGE(SET_FEATURES, .ring = 1), MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM),
			MESSAGE(SET_VRING_BASE, .value = { 31 }), MESSAGE(SET_VRING_ADDR),
			MESSAGE(SET_VRING_KICK), MESSAGE(SET_VRING_ENABLE), RESTART);
		assert_true(device()->doorbell);
		assert_int_equal(play_stand()->session_section.notifiers[0], 0);
		PLAY({ .kind = STEP_CHANNEL, .ring = 3 }, { .kind = STEP_CLOSE });
	}
}

/* Both checks are in play_channel.c: what is signalled goes out, and what found no room does later. */
static void a_ring_that_was_given_no_eventfds_is_told_of_by_messages_also_when_the_channel_was_full(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_BACKEND_REQ_FD),
		MESSAGE(SET_FEATURES, .ring = 1), MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM),
		MESSAGE(SET_VRING_BASE, .value = { 31 }), MESSAGE(SET_VRING_ADDR),
		MESSAGE(SET_VRING_ENABLE), MESSAGE(VRING_KICK));
	assert_true(device()->rings[0].running);
	assert_int_not_equal(device()->rings[0].call_slot, FDSTORE_NONE);
	PLAY({ .kind = STEP_CALL }, { .kind = STEP_CALL, .more = { 1 } }, { .kind = STEP_CHANNEL },
		{ .kind = STEP_CALL }, { .kind = STEP_CALL, .more = { 1 } }, RESTART,
		{ .kind = STEP_CHANNEL, .ring = 1 });
}

/* Ring 2 without MQ. */
static void what_a_control_queue_had_set_is_forgotten_when_another_driver_begins_there(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES, .ring = 10),
		MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM), MESSAGE(SET_VRING_BASE, .value = { 31 }),
		MESSAGE(SET_VRING_ADDR), MESSAGE(SET_VRING_KICK), MESSAGE(SET_VRING_ENABLE),
		MESSAGE(SET_VRING_NUM, .ring = 2), MESSAGE(SET_VRING_BASE, .ring = 2, .value = { 30 }),
		MESSAGE(SET_VRING_ADDR, .ring = 2), MESSAGE(SET_VRING_KICK, .ring = 2),
		MESSAGE(SET_VRING_ENABLE, .ring = 2));
	assert_true(device()->rings[2].running);
	PLAY({ .kind = STEP_CONTROL, .more = { 1, 1, 0, 2 } });
	assert_true(play_stand()->driver.control.flags != 0);
	PLAY(MESSAGE(GET_VRING_BASE, .ring = 2));
	assert_true(device()->rings[0].running);
	PLAY(MESSAGE(SET_VRING_BASE, .ring = 2, .value = { 31 }));
	assert_int_equal(play_stand()->driver.control.flags, 0);
}

/* The device that comes back refuses what was set, and so has failed; the next guest is another one. */
static void what_a_control_queue_had_set_is_no_other_guests(void **state)
{
	PLAY(MESSAGE(SET_FEATURES, .ring = 10), MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM, .ring = 2),
		MESSAGE(SET_VRING_ADDR, .ring = 2), MESSAGE(SET_VRING_KICK, .ring = 2),
		MESSAGE(SET_VRING_ENABLE, .ring = 2), { .kind = STEP_CONTROL, .more = { 1, 1, 0, 2 } });
	assert_true(play_stand()->driver.control.flags != 0);
	play_stand()->driver.refuses_control = true;
	PLAY({ .kind = STEP_RETURN });
	play_stand()->driver.refuses_control = false;
	assert_true(device()->failed);
	PLAY(MESSAGE(GET_STATUS), { .kind = STEP_RETURN });
	assert_int_equal(play_stand()->driver.control.flags, 0);
}

/* The guest is still arriving, so its pages can't be logged. */
static void features_that_are_refused_are_not_the_devices(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_FEATURES, .ring = 7), MESSAGE(POSTCOPY_ADVISE),
		MESSAGE(POSTCOPY_LISTEN), MESSAGE(SET_FEATURES, .flags = 1));
	assert_int_equal(play_stand()->session_section.features_refused, 1);
	assert_false(device()->features & BIT_ULL(VIRTIO_F_RING_PACKED));
	assert_int_equal(play_stand()->driver.features, device()->features);
}

/* It takes the features, and then not the log. */
static void a_device_that_takes_half_of_what_was_negotiated_has_failed(void **state)
{
	const struct step fail = FAIL(1, REFUSES);

	PLAY(MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_FEATURES, .ring = 7), MESSAGE(SET_LOG_BASE));
	play_step(&fail);
	PLAY(MESSAGE(SET_FEATURES, .flags = 1));
	assert_true(device()->failed);
}

/* With another layout there is no inflight area any more, and so no relay that would do it. */
static void a_device_logs_itself_as_soon_as_nothing_is_noted_of_chains(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES, .ring = 7), MESSAGE(GET_INFLIGHT_FD),
		MESSAGE(SET_LOG_BASE), MESSAGE(SET_FEATURES, .ring = 3));
	assert_false(play_stand()->driver.logs);
	PLAY(MESSAGE(SET_FEATURES), A_RING);
	assert_true(device()->rings[0].running && device()->logging);
	assert_int_equal(device()->relays[0].kept_slot, RELAY_NO_SLOT);
	assert_true(play_stand()->driver.logs);
}

/* Its ring stops, and old memory goes; it refuses the new one, and then to have the old one again. */
static void a_device_that_does_not_take_its_memory_back_has_failed(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES, .ring = 7), A_RING);
	assert_true(device()->rings[0].running);
	PLAY({ .kind = STEP_FAIL, .ring = HAS_NO_ROOM, .more = { 2, 1 } },
		MESSAGE(SET_MEM_TABLE, .flags = 1, .ring = 1));
	assert_true(device()->failed);
	PLAY({ .kind = STEP_CLOSE }, MESSAGE(SET_FEATURES, .ring = 7), A_RING);
	assert_true(device()->rings[0].running);
}

/* Descriptors of before may have the same numbers. */
static void a_ring_that_stops_and_starts_at_once_is_told_of_by_messages(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_BACKEND_REQ_FD),
		MESSAGE(SET_FEATURES, .ring = 1), MESSAGE(SET_MEM_TABLE), MESSAGE(SET_VRING_NUM),
		MESSAGE(SET_VRING_BASE, .value = { 31 }), MESSAGE(SET_VRING_ADDR),
		MESSAGE(SET_VRING_ENABLE), MESSAGE(VRING_KICK), { .kind = STEP_CALL },
		{ .kind = STEP_HOLD, .request = WIRE_GET_VRING_BASE }, MESSAGE(VRING_KICK));
	assert_true(device()->rings[0].running);
	PLAY({ .kind = STEP_CALL });
}

static int begin_with_many(void **state)
{
	play_begin(plain);
	play_stand()->driver.caps.n_queues = 32;
	PLAY(RESTART);
	return 0;
}

static void each_ring_of_a_large_device_is_relayed(void **state)
{
	static const struct step rings[] = { MESSAGE(SET_VRING_NUM), MESSAGE(SET_VRING_BASE, .value = { 31 }),
		MESSAGE(SET_VRING_ADDR, .value = { 0, 47, 49, 50 }), MESSAGE(SET_VRING_KICK),
		MESSAGE(SET_VRING_ENABLE) };

	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES, .ring = 1), MESSAGE(SET_MEM_TABLE),
		MESSAGE(SET_LOG_BASE));
	for (uint8_t ring = 0; ring < 32; ring++) {
		for (size_t i = 0; i < ARRAY_SIZE(rings); i++) {
			struct step step = rings[i];

			step.ring = ring;
			play_step(&step);
		}
	}
	PLAY(MESSAGE(SET_FEATURES));
	for (uint32_t ring = 0; ring < 32; ring++) {
		assert_true(device()->rings[ring].running);
		assert_int_not_equal(device()->relays[ring].kept_slot, RELAY_NO_SLOT);
	}
}

static int begin_shuffled(void **state)
{
	play_begin((const uint8_t[STEPS_HEAD_SIZE]){ [3] = 1 });
	return 0;
}

/* With room for so many descriptors more. */
static void an_inflight_area_for_which_there_is_no_room_is_refused(void **state)
{
	struct rlimit before, less;

	PLAY(MESSAGE(SET_PROTOCOL_FEATURES));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (rlim_t room = 0; room < 6; room++) {
		int lowest = dup(0);

		close(lowest);
		less = (struct rlimit){ (rlim_t)lowest + room, before.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
		PLAY(MESSAGE(GET_INFLIGHT_FD), MESSAGE(GET_FEATURES));
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		PLAY(MESSAGE(GET_FEATURES));
	}
	assert_int_not_equal(device()->inflight.slot, DEVICE_NO_INFLIGHT);
}

/* Two devices of one kind. */
static int begin_with_standby(void **state)
{
	play_begin(plain);
	stand_add_standby(play_stand(), &play_stand()->driver.caps);
	PLAY(RESTART);
	assert_true(device_side_is_well(&play_stand()->device, DEVICE_STANDBY));
	return 0;
}

/* The end of a round of the loop. */
static void follow(void)
{
	struct stand *s = play_stand();

	if (device_failover_is_due(&s->device))
		device_update(&s->device);
	stand_commit(s);
}

/* In one round. It can't serve, and nobody will bring another one: that it failed is to be known. */
static void a_device_that_fails_while_its_standby_goes_has_failed_until_a_reset(void **state)
{
	struct stand *s = play_stand();

	PLAY(MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_FEATURES, .ring = 7), A_RING, MESSAGE(SET_STATUS));
	assert_true(device()->rings[0].running);
	s->driver.broken = s->standby.gone = true;
	device_side_failed(&s->device, DEVICE_PRIMARY);
	s->standby.fail_after = 1;
	s->standby.fail_with = -ENODEV;
	device_side_gone(&s->device, DEVICE_STANDBY);
	follow();
	assert_true(device()->failed);
	assert_false(s->device.lost);
	PLAY(MESSAGE(SET_STATUS, .value = { 0, 0 }, .flags = 1));
	assert_true(device()->failed); /* 15 is no reset */
	PLAY({ .kind = STEP_CLOSE }, MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_FEATURES, .ring = 7), A_RING,
		MESSAGE(SET_STATUS));
	assert_false(device()->failed);
	assert_true(device()->rings[0].running);
}

/* The device fails at a question, and its standby when it is to take over. */
static void a_question_after_which_both_sides_have_failed_leaves_it_known(void **state)
{
	struct stand *s = play_stand();

	PLAY(MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_FEATURES, .ring = 7), A_RING, MESSAGE(SET_STATUS),
		FAIL(0, TIMES_OUT));
	s->standby.fail_after = 1;
	s->standby.fail_with = -EIO;
	PLAY(MESSAGE(GET_CONFIG));
	assert_true(device()->failed);
	assert_int_equal(device()->failover.well_ns, 0);
}

/* Which is tried now and then; that it was in vain, or not, is nothing that a refusal takes back. */
static void a_standby_that_is_well_again_is_so_after_a_refused_message(void **state)
{
	struct stand *s = play_stand();

	PLAY(MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_FEATURES, .ring = 7), A_RING, MESSAGE(SET_STATUS));
	s->standby.broken = true;
	device_side_failed(&s->device, DEVICE_STANDBY);
	stand_commit(s);
	assert_false(device_side_is_well(&s->device, DEVICE_STANDBY));
	for (int round = 0; round < 3; round++)
		PLAY({ .kind = STEP_TIME, .more = { 200 } }, MESSAGE(SET_VRING_ADDR, .flags = 1, .value = { 0, 65 }));
	assert_true(device()->rings[0].running);
	follow();
	assert_true(device_side_is_well(&s->device, DEVICE_STANDBY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_queue_that_a_driver_names_is_the_ring_that_it_is_for_the_guest,
			begin_with_control_and_pairs, end),
		cmocka_unit_test_setup_teardown(
			what_a_control_queue_had_set_is_no_other_guests, begin_with_control, end),
		cmocka_unit_test_setup_teardown(
			nothing_is_kept_of_a_message_that_came_when_the_device_failed, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_refuses_its_reset_has_failed_until_one_works, begin, end),
		cmocka_unit_test_setup_teardown(
			a_size_from_before_the_layout_was_known_does_not_spoil_the_page, begin, end),
		cmocka_unit_test_setup_teardown(a_ring_is_relayed, begin, end),
		cmocka_unit_test_setup_teardown(
			where_the_next_buffers_go_is_known_of_split_rings_and_of_relays, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_goes_while_a_relay_begins_is_asked_nothing_more, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_was_replaced_before_anybody_noticed_is_not_asked_about_its_relays,
			begin, end),
		cmocka_unit_test_setup_teardown(
			memory_that_is_refused_leaves_the_memory_of_before, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_fails_when_it_is_back_works_after_a_reset, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_keeps_a_shadow_ring_has_failed_until_a_reset, begin, end),
		cmocka_unit_test_setup_teardown(
			memory_that_is_refused_after_a_relay_stopped_for_it_is_not_kept, begin, end),
		cmocka_unit_test_setup_teardown(
			a_worker_that_dies_in_a_message_is_followed_by_one_that_does_all_of_it,
			begin, end),
		cmocka_unit_test_setup_teardown(
			a_worker_that_dies_while_a_device_returns_is_followed_by_one_that_gives_it_all,
			begin, end),
		cmocka_unit_test_setup_teardown(
			a_ring_of_a_driver_behind_an_iommu_runs_as_long_as_it_is_translated,
			begin_translating, end),
		cmocka_unit_test_setup_teardown(
			a_translation_that_the_device_refuses_leaves_state_and_device_of_one_mind,
			begin_translating, end),
		cmocka_unit_test_setup_teardown(
			a_channel_that_is_gone_when_a_translation_is_asked_for_again_is_given_up_for_good,
			begin_translating, end),
		cmocka_unit_test_setup_teardown(
			a_doorbell_that_the_front_end_could_not_be_told_of_is_known_to_be_open,
			begin_with_doorbell, end),
		cmocka_unit_test_setup_teardown(
			a_ring_that_was_given_no_eventfds_is_told_of_by_messages_also_when_the_channel_was_full,
			begin, end),
		cmocka_unit_test_setup_teardown(
			what_a_control_queue_had_set_is_forgotten_when_another_driver_begins_there,
			begin_with_control, end),
		cmocka_unit_test_setup_teardown(
			features_that_are_refused_are_not_the_devices, begin_with_postcopy, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_takes_half_of_what_was_negotiated_has_failed, begin_with_log, end),
		cmocka_unit_test_setup_teardown(
			a_device_logs_itself_as_soon_as_nothing_is_noted_of_chains,
			begin_shuffled_with_log, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_does_not_take_its_memory_back_has_failed, begin, end),
		cmocka_unit_test_setup_teardown(
			a_ring_that_stops_and_starts_at_once_is_told_of_by_messages, begin, end),
		cmocka_unit_test_setup_teardown(
			each_ring_of_a_large_device_is_relayed, begin_with_many, end),
		cmocka_unit_test_setup_teardown(
			an_inflight_area_for_which_there_is_no_room_is_refused, begin_shuffled, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_fails_while_its_standby_goes_has_failed_until_a_reset,
			begin_with_standby, end),
		cmocka_unit_test_setup_teardown(
			a_question_after_which_both_sides_have_failed_leaves_it_known, begin_with_standby,
			end),
		cmocka_unit_test_setup_teardown(
			a_standby_that_is_well_again_is_so_after_a_refused_message, begin_with_standby, end),
	};

	play_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest, relay and device each in a thread of its own that sleeps when it has nothing to do. */
#include "relay_lab.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PATIENCE_MS 8000 /* a notification that took so long never came */

static struct lab lab;
static int guest_kick, guest_call, device_kick, device_call;
static uint64_t n_chains;
static bool done; /* atomic */
static const char *lost;

static bool is_done(void)
{
	return __atomic_load_n(&done, __ATOMIC_ACQUIRE);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Sleeps until one of two descriptors is signalled, and resets both. */
static void sleep_on(int a, int b, const char *who)
{
	struct pollfd fds[] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };
	uint64_t n;

	if (poll(fds, 2, PATIENCE_MS) == 0 && !is_done()) {
		__atomic_store_n(&lost, who, __ATOMIC_RELAXED);
		__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	}
	for (int i = 0; i < 2; i++) {
		if ((fds[i].revents & POLLIN) && read(fds[i].fd, &n, sizeof(n)) < 0)
			continue;
	}
}

/* One side of a ring, as the side that puts things there sees the other's wish to be told. */
struct area {
	uint16_t *flags, *event; /* split */
	struct vring_packed_desc_event *packed;
	uint16_t no;
};

static struct area driver_area(void *at)
{
	struct vring_avail *avail = at;

	return (struct area){ &avail->flags, &avail->ring[lab.size], at, VRING_AVAIL_F_NO_INTERRUPT };
}

static struct area device_area(void *at)
{
	struct vring_used *used = at;

	return (struct area){ &used->flags, (uint16_t *)&used->ring[lab.size], at,
		VRING_USED_F_NO_NOTIFY };
}

static bool wants(struct area a, struct queue_position before, struct queue_position after,
	bool avail)
{
	uint16_t old = avail ? before.avail : before.used, new = avail ? after.avail : after.used;
	bool old_wrap = avail ? before.avail_wrap : before.used_wrap;
	bool new_wrap = avail ? after.avail_wrap : after.used_wrap;
	uint16_t off_wrap, at;

	shared_fence();
	if (!lab.packed && lab.event_idx)
		return vring_need_event(shared_load16(a.event), new, old);
	if (!lab.packed)
		return !(shared_load16(a.flags) & a.no);
	off_wrap = shared_load16(&a.packed->off_wrap);
	if (shared_load16(&a.packed->flags) != VRING_PACKED_EVENT_FLAG_DESC)
		return shared_load16(&a.packed->flags) != VRING_PACKED_EVENT_FLAG_DISABLE;
	at = off_wrap & 0x7fff;
	if (off_wrap >> 15 != new_wrap)
		at = (uint16_t)(at - lab.size);
	if (old_wrap != new_wrap)
		old = (uint16_t)(old - lab.size);
	return vring_need_event(at, new, old);
}

static void ask(struct area a, bool wanted, uint16_t at, bool wrap)
{
	if (lab.packed && lab.event_idx && wanted) {
		shared_store16(&a.packed->off_wrap, (uint16_t)(at | wrap << 15));
		shared_store16(&a.packed->flags, VRING_PACKED_EVENT_FLAG_DESC);
	} else if (lab.packed) {
		shared_store16(&a.packed->flags, wanted ? VRING_PACKED_EVENT_FLAG_ENABLE
							: VRING_PACKED_EVENT_FLAG_DISABLE);
	} else if (lab.event_idx) {
		if (wanted)
			shared_store16(a.event, at);
	} else {
		shared_store16(a.flags, wanted ? 0 : a.no);
	}
	shared_fence();
}

static void *play_device(void *unused)
{
	struct area mine = device_area(lab.dev.device), other = driver_area(lab.dev.driver);

	while (!is_done()) {
		struct queue_position before = lab.dev.at;
		uint32_t n = lab_take(&lab, 1 + lab_below(&lab.dev.rng, 40));

		if (lab_complete(&lab, lab.dev.n_taken) > 0 && wants(other, before, lab.dev.at, false))
			signal_fd(device_call);
		if (n > 0)
			continue;
		ask(mine, true, lab.dev.at.avail, lab.dev.at.avail_wrap);
		if (lab_take(&lab, 1) == 0)
			sleep_on(device_kick, -1, "device");
		if (lab_below(&lab.dev.rng, 2))
			ask(mine, false, 0, 0);
	}
	return NULL;
}

static void *play_relay(void *unused)
{
	const struct timespec nap = { .tv_nsec = 20000 };
	struct relay_work work;
	uint64_t rng = 1;

	while (!is_done()) {
		if (lab_below(&rng, 8) == 0) {
			relay_nap(lab.relay);
			nanosleep(&nap, NULL);
		}
		if (relay_run(lab.relay, 64, &work) < 0) {
			__atomic_store_n(&lost, relay_reason(lab.relay), __ATOMIC_RELAXED);
			__atomic_store_n(&done, true, __ATOMIC_RELEASE);
		} else if (work.offered + work.returned == 0 && relay_sleep(lab.relay)) {
			sleep_on(guest_kick, device_call, "relay");
		}
	}
	return NULL;
}

/* Gives bursts of any size; sleeps when all are out, or now and then until something is back. */
static void *play_guest(void *unused)
{
	struct area mine = driver_area(lab.ram + lab.driver);
	struct area other = device_area(lab.ram + lab.device);

	while (!is_done() && lab.n_got < n_chains) {
		struct queue_position before = lab.at;
		uint32_t n = lab.n_given < n_chains ? lab_give_some(&lab, 1 + lab_below(&lab.rng, 30))
						    : 0;

		if (n > 0 && wants(other, before, lab.at, true))
			signal_fd(guest_kick);
		if (lab_get(&lab) > 0 || lab_out(&lab) == 0)
			continue;
		ask(mine, true, lab.at.used, lab.at.used_wrap);
		if (lab_get(&lab) == 0)
			sleep_on(guest_call, -1, "guest");
		if (lab_below(&lab.rng, 2))
			ask(mine, false, 0, 0);
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	signal_fd(guest_kick);
	signal_fd(device_kick);
	return NULL;
}

static void play_all(uint32_t size, uint64_t features)
{
	static void *(*const parts[])(void *) = { play_guest, play_relay, play_device };
	struct relay_stats stats;
	pthread_t threads[3];

	lab_open_flat(&lab, size, features);
	lab.setup.call_fd = guest_call = eventfd(0, EFD_NONBLOCK);
	lab.setup.device_fd = device_kick = eventfd(0, EFD_NONBLOCK);
	guest_kick = eventfd(0, EFD_NONBLOCK);
	device_call = eventfd(0, EFD_NONBLOCK);
	done = false;
	lost = NULL;
	lab_relay_open(&lab, queue_position_initial(lab.packed), RELAY_FRESH);
	lab_log(&lab, true, true);
	lab_device_shadow(&lab);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, parts[i], NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	relay_stats(lab.relay, &stats);
	if (lost)
		fail_msg("%s: asleep or ended after %lu of %lu chains; size %u, features %#lx", lost,
			lab.n_got, n_chains, size, features);
	assert_int_equal(lab.n_empty, 0);
	assert_true(stats.kicks + stats.calls > 0);
	lab_close(&lab);
	close(guest_call);
	close(guest_kick);
	close(device_call);
	close(device_kick);
}

static void nobody_is_left_asleep(void **state)
{
	n_chains = 1500;
	for (uint64_t i = 0; i < 8; i++)
		play_all(i & 4 ? 32 : 2,
			(i & 1 ? LAB_PACKED : 0) | (i & 2 ? LAB_EVENT : 0) | LAB_INDIRECT);
	n_chains = 70000; /* event indices go round */
	play_all(256, LAB_EVENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_left_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

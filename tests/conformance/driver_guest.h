/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtual machine with a virtio-net driver of its own, on one device under test: memory, rings
 * of both layouts, eventfds, and a keeper that outlives the driver's instance. Each chain is one
 * descriptor; slot i of a ring has a buffer of its own.
 */
#ifndef TESTS_DRIVER_GUEST_H
#define TESTS_DRIVER_GUEST_H

#include "tests/conformance/driver_rig.h"

#define GUEST_BASE	0x100000000ULL /* IOVA of the guest's memory */
#define GUEST_MEMORY	(8U << 20)
#define GUEST_MAX_QUEUES 8
#define GUEST_MAX_SIZE	64
#define GUEST_BUFFER	2048U
#define GUEST_HEADER	12U /* virtio-net's, with VIRTIO_F_VERSION_1 */
#define GUEST_PATIENCE_MS 20000
#define GUEST_KEPT	8
#define GUEST_EVENTS	8

enum guest_layout { GUEST_SPLIT, GUEST_PACKED };

struct guest_ring {
	uint32_t size;
	uint64_t desc, driver, device, buffers; /* IOVA */
	struct queue_position at;	/* @avail the next to offer, @used the next to come back */
	struct queue_position start;	/* where the device is told to begin */
	uint16_t free_slots[GUEST_MAX_SIZE];
	uint32_t n_free;
	uint32_t n_used;		/* chains that came back */
	int kick, call, err;
};

struct guest {
	const struct driver_rig *rig;
	struct rig_device *nic_device;
	const struct driver_ops *ops;
	struct driver_device *device; /* NULL: closed */
	bool packed;
	uint64_t features;
	uint16_t n_queues;
	int memory_fd;
	uint8_t *memory;
	uint64_t next; /* free memory, offset */
	struct guest_ring rings[GUEST_MAX_QUEUES];
	struct driver_event events[GUEST_EVENTS]; /* that came while something else was waited for */
	size_t n_events;

	struct driver_keeper keeper;
	uint64_t kept_state[64];
	int kept[GUEST_KEPT];
};

/** guest_new() - a guest on a fresh device: opened, features set, memory mapped, rings made. */
struct guest *guest_new(const struct driver_rig *rig, enum guest_layout layout, uint16_t pairs);

/** guest_new_sized() - with rings of @size descriptors. */
struct guest *guest_new_sized(const struct driver_rig *rig, enum guest_layout layout,
	uint16_t pairs, uint32_t size);

/**
 * guest_rings_new(), guest_rings_free() - memory and rings alone, and their eventfds, of a guest whose
 * device is driven without @ops. Nothing else is set but @n_queues.
 */
void guest_rings_new(struct guest *g, uint16_t n_queues, uint32_t size);
void guest_rings_free(struct guest *g);

/** guest_free() - accepts NULL. */
void guest_free(struct guest *g);

/**
 * guest_open(), guest_close() - the driver's instance alone, with the same keeper. Where caps say
 * @forgets_fds, the instance is told the eventfds of queues that run.
 */
int guest_open(struct guest *g);
void guest_close(struct guest *g);

/** guest_at() - our address of an IOVA. */
void *guest_at(struct guest *g, uint64_t iova);

/** guest_setup() - features and memory; guest_new() did it. Return: as the driver. */
int guest_setup(struct guest *g);

/** guest_map() - the whole memory as a map. */
struct driver_map guest_map(struct guest *g);

/** guest_facts() - a queue as the driver wants to know it. */
struct driver_queue guest_facts(struct guest *g, uint16_t queue);

/** guest_set() - a set of the queues first .. last. */
struct queue_set guest_set(unsigned int first, unsigned int last);

/** guest_prepare(), guest_start(), guest_stop() - all queues. Return: as the driver. */
int guest_prepare(struct guest *g);
int guest_start(struct guest *g);
int guest_stop(struct guest *g, struct queue_position *ret);

/**
 * guest_stop_set() - as @stop. Where caps say @ring_positions, and nothing that a ring does not say,
 * positions are those of split rings; packed ones are not written.
 */
int guest_stop_set(struct guest *g, const struct queue_set *set, struct queue_position *ret);

/**
 * guest_restart_set() - as @start, of queues that were stopped at the position they had begun at.
 * Where caps say @ring_positions, the device does not know that, and they are prepared again.
 */
int guest_restart_set(struct guest *g, const struct queue_set *set);

/** guest_lost_position() - as @lost_position. */
int guest_lost_position(struct guest *g, uint16_t queue, struct queue_position *ret);

/** guest_knows_positions() - whether it can be known where a stopped queue stands. */
bool guest_knows_positions(struct guest *g);

/** guest_run() - prepare and start all queues, which must succeed; receive rings are filled. */
void guest_run(struct guest *g);

/** guest_ring_init() - the ring of a driver that was just loaded, first chains at @split_index. */
void guest_ring_init(struct guest *g, uint16_t queue, uint16_t split_index);

/** guest_add() - one chain. @size of the buffer, which begins as it is. Return: its slot, or -1. */
int guest_add(struct guest *g, uint16_t queue, uint32_t size);

/** guest_add_at() - the same with a buffer anywhere. */
int guest_add_at(struct guest *g, uint16_t queue, uint64_t iova, uint32_t size);

/** guest_buffer() - our address of a slot's buffer. */
uint8_t *guest_buffer(struct guest *g, uint16_t queue, int slot);

/** guest_fill() - offer all free receive buffers. */
void guest_fill(struct guest *g, uint16_t queue);

/** guest_kick() - and let a driver that passes kicks on do so. */
void guest_kick(struct guest *g, uint16_t queue);

/** guest_count() - take what an eventfd counted; 0: nothing. */
uint64_t guest_count(int eventfd);

/** guest_wait_count() - wait until an eventfd counted something. */
void guest_wait_count(int eventfd);

/** guest_take() - take a chain that came back. Return: its slot, or -1; *@ret_size may be NULL. */
int guest_take(struct guest *g, uint16_t queue, uint32_t *ret_size);

/** guest_wait() - wait for one. Return: its slot. */
int guest_wait(struct guest *g, uint16_t queue, uint32_t *ret_size);

/** guest_send() - a frame with a number in it, and wait until the device has taken it. */
void guest_send(struct guest *g, uint16_t pair, const uint8_t to[6], uint32_t number);

/** guest_offer_frame() - the same without kick and without waiting. Return: slot or -1. */
int guest_offer_frame(struct guest *g, uint16_t pair, const uint8_t to[6], uint32_t number);

/** guest_offer_flow() - the same, of another flow. */
int guest_offer_flow(struct guest *g, uint16_t pair, const uint8_t to[6], uint16_t flow,
	uint32_t number);

/** guest_receive() - wait for a frame on any receive queue that may get one. Return: its number. */
uint32_t guest_receive(struct guest *g);

/** guest_received() - the same without waiting. Return: false: there is none. */
bool guest_received(struct guest *g, uint32_t *ret);

/** guest_exchange() - @n frames from @a to @b, each of which must arrive, in order. */
void guest_exchange(struct guest *a, struct guest *b, uint32_t n);

/** guest_next_event() - as @next_event. */
int guest_next_event(struct guest *g, struct driver_event *ret);

/** guest_pump() - ask a driver that passes kicks on for events as long as it has something to do. */
void guest_pump(struct guest *g);

/** guest_wait_event() - wait for an event of the driver. */
struct driver_event guest_wait_event(struct guest *g);

/**
 * guest_pause() - give way while something is waited for; ends the test after the deadline.
 *
 * Meanwhile drivers that pass kicks on are asked for events, of all guests that there are.
 */
void guest_pause(uint64_t since_ns, const char *what);

#endif

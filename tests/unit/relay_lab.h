/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's driver and a device, played for tests of the relay, in one process: a ring in memory
 * of two regions that adjoin, chains of random shape with a number each, and an auditor of what
 * comes back and of each page that changes. One thread may play the guest and another the device.
 */
#ifndef TESTS_RELAY_LAB_H
#define TESTS_RELAY_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>

#include "vdpa/base/bits.h"
#include "vdpa/relay.h"
#include "vdpa/shared.h"

#define LAB_GPA        0x3ffff000ULL /* so that memory lies in two gigabytes */
#define LAB_SHADOW     0x7000000000ULL
#define LAB_MAX_PIECES 7
#define LAB_MAX_SIZE   QUEUE_SIZE_MAX
#define LAB_PAGE       4096ULL

#define LAB_PACKED   BIT_ULL(VIRTIO_F_RING_PACKED)
#define LAB_EVENT    BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define LAB_INDIRECT BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)
#define LAB_IN_ORDER BIT_ULL(VIRTIO_F_IN_ORDER)

enum lab_chain_state { LAB_FREE, LAB_GIVEN, LAB_COMPLETED };

/* A chain of the guest's, by the place of its buffers. */
struct lab_chain {
	uint64_t seq;
	uint32_t state; /* enum lab_chain_state */
	uint32_t size[LAB_MAX_PIECES];
	uint32_t n_read, n_pieces;
	uint32_t writable;
	uint32_t written; /* by the device, when completed */
	uint32_t head;    /* split: first descriptor; packed: buffer id */
	uint32_t n_desc;
};

/* A chain that a device has taken. */
struct lab_taken {
	uint16_t id;
	uint16_t n_desc;
	uint32_t slot;
	uint64_t gpa[LAB_MAX_PIECES];
	uint32_t size[LAB_MAX_PIECES];
	uint32_t n_pieces, n_read, writable;
};

struct lab_device {
	bool shadow, in_order, lenient;
	void *desc, *driver, *device;
	struct queue_position at;
	struct lab_taken *taken;
	uint32_t n_taken;
	uint64_t n_completed;
	uint64_t rng;
	uint64_t wrote[4096]; /* lenient: where it has written since n_wrote was set to 0 */
	uint32_t n_wrote;
};

struct lab {
	uint64_t features;
	uint32_t size;
	bool packed, indirect, event_idx, in_order, flat;
	uint64_t rng;

	/* memory */
	uint64_t ram_size, desc, driver, device, tables, buffers; /* offsets */
	uint32_t slot_size;
	int ram_fd, log_fd;
	uint8_t *ram, *before;
	uint8_t *log_bits;
	uint64_t log_size;
	struct memory_table table;
	struct fdstore fds;
	struct guestmem memory;
	struct dirty_log *log;
	bool log_ring;
	uint64_t log_addr;

	/* guest's driver */
	struct lab_chain *chains;
	uint32_t *free_slots, n_free_slots;
	uint32_t *slot_of;               /* by head or buffer id */
	uint16_t *next_free, first_free; /* split's descriptors; packed: buffer ids */
	uint16_t in_order_next;
	uint32_t n_free_desc;
	uint32_t *fifo, fifo_first, n_fifo; /* slots as given */
	struct queue_position at;           /* avail: next to give, used: next to look at */
	uint64_t n_given, n_got, n_empty;   /* empty: completed by nobody's device */
	uint32_t max_pieces;

	/* relay */
	void *kept;
	uint64_t kept_size;
	struct relay_setup setup;
	struct relay *relay;
	struct lab_device dev;
};

uint64_t lab_random(uint64_t *rng);
static inline uint32_t lab_below(uint64_t *rng, uint32_t n)
{
	return (uint32_t)(lab_random(rng) % n);
}

/* A new guest with an unused ring, and no device or relay. */
void lab_open(struct lab *lab, uint32_t size, uint64_t features);
void lab_open_slots(struct lab *lab, uint32_t size, uint64_t features, uint32_t slot_size);
/* With one region, at the address where the relay has it: else detectors of races see two memories.
 */
void lab_open_flat(struct lab *lab, uint32_t size, uint64_t features);
void lab_close(struct lab *lab);

/* Lets an unused ring begin elsewhere: at an index, or a slot of the first round. */
void lab_begin_at(struct lab *lab, uint16_t start);

/* Opens the process's own view of memory and log anew, as a successor would. */
void lab_attach(struct lab *lab);
void lab_detach(struct lab *lab);

/* Puts a chain into the ring. Return: false when there is no room. */
bool lab_give(struct lab *lab);
uint32_t lab_give_some(struct lab *lab, uint32_t max);
/* Takes completions and checks each. Return: how many. */
uint32_t lab_get(struct lab *lab);
uint32_t lab_out(const struct lab *lab);

/* The device, on the guest's ring or on the shadow. */
void lab_device_direct(struct lab *lab, struct queue_position at);
void lab_device_shadow(struct lab *lab);
uint32_t lab_take(struct lab *lab, uint32_t max);
/* Completes chains; in order, or any. Return: how many. */
uint32_t lab_complete(struct lab *lab, uint32_t max);
/* Forgets what was taken. Return: where it stopped. */
struct queue_position lab_device_stop(struct lab *lab);

/* The relay. */
void lab_relay_open(struct lab *lab, struct queue_position at, enum relay_begin begin);
/* Runs until nothing moves. Return: what relay_run() said. */
int lab_relay_run(struct lab *lab);
/* Plays guest and device until @n chains came back, or for @ns. 0 chains: for that long. */
void lab_play(struct lab *lab, uint64_t n, uint64_t ns);
/* The relay goes on in a process of its own, which is killed after a while, while guest and device play. */
void lab_relay_killed(struct lab *lab, bool logs);
/* The device serves the guest's ring from @at on until every chain is back. */
void lab_drain(struct lab *lab, struct queue_position at);
/* The device stops, the relay ends, and the device serves the guest's ring until every chain is back. */
void lab_relay_end(struct lab *lab);
/* relay_set_log() with the lab's log. */
void lab_log(struct lab *lab, bool on, bool ring);

/* Remembers memory; then says which page has changed without a mark, or -1. Clears the log. */
void lab_audit_begin(struct lab *lab);
int64_t lab_audit(struct lab *lab);
bool lab_log_has(const struct lab *lab, uint64_t gpa);

#define lab_gpa(lab, offset) (LAB_GPA + (offset))

#endif

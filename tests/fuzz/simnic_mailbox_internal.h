/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the fuzzer of simnic's mailbox share. What does not hold ends the program. */
#ifndef TESTS_FUZZ_SIMNIC_MAILBOX_INTERNAL_H
#define TESTS_FUZZ_SIMNIC_MAILBOX_INTERNAL_H

#include "tests/fuzz/fuzz.h"
#include "tools/simnic/function.h"

/*
 * What the driver calls FILE_RAM. The ring of queue i is there at i times the step: descriptors,
 * 0x2000 on the available ring, 0x3000 the used one.
 */
#define SIMNIC_IOVA      0x40000000ULL
#define SIMNIC_RING_STEP 0x4000ULL
#define SIMNIC_RING_SIZE 16

/* How queues are opened; bits. */
enum simnic_open {
	SIMNIC_OPEN_PACKED = 1,
	SIMNIC_OPEN_LOGGED = 2,
	SIMNIC_OPEN_TRANSLATED = 4, /* rings; with SIMNIC_OPEN_ALL also buffers */
	SIMNIC_OPEN_ALL = 8,
	SIMNIC_OPEN_CONTROL = 16, /* too */
};

/**
 * struct simnic_stand - a simnic without a process of its own, and two functions of it.
 * @nic:                 works from the first input on
 * @function:            whose driver and guest do anything
 * @peer:                gets frames, and sends some
 * @mailbox:             the end of the function's driver
 * @peer_mailbox:        the end of the peer's
 * @seq:                 of the last request
 * @address_was_brought: a guest may have the address of another function
 */
struct simnic_stand {
	struct nic nic;
	struct function *function, *peer;
	int mailbox, peer_mailbox;
	uint32_t seq;
	bool address_was_brought;
};

/* simnic_mailbox.c */

/** simnic_run_loop() - the control thread's: what there is to do. */
void simnic_run_loop(struct simnic_stand *s);

/** simnic_let_work() - the data thread had its turn. */
void simnic_let_work(struct simnic_stand *s);

/* simnic_mailbox_driver.c: what drivers ask. Each request has an answer of its form. */

/** simnic_ask() - for something near what is right; @any: with any bytes and descriptors. */
void simnic_ask(struct simnic_stand *s, struct input *in, bool any);

/**
 * simnic_request() - a good request.
 * @sock:     whose: one of the two mailboxes
 * @fds:      lent
 * @demanded: it has to succeed
 */
void simnic_request(struct simnic_stand *s, int sock, uint32_t command, const void *payload,
	size_t size, const int *fds, size_t n_fds, bool demanded);

/** simnic_translate() - have what the driver calls @iova at @address. */
void simnic_translate(struct simnic_stand *s, int sock, uint64_t iova, uint64_t address,
	uint64_t size, bool demanded);

/**
 * simnic_open_queues() - what a driver asks for so that its queues run.
 * @how: enum simnic_open bits
 */
void simnic_open_queues(struct simnic_stand *s, int sock, uint8_t how, bool demanded);

/** simnic_log_pages() - in a log that ends where the memory of simnic_open_queues() does. */
void simnic_log_pages(struct simnic_stand *s);

/* simnic_mailbox_guest.c: what the function's guest does */

/** simnic_offer() - chains of any shape, with frames in them, and a kick. */
void simnic_offer(struct simnic_stand *s, struct input *in);

/** simnic_poke() - a byte of its rings. */
void simnic_poke(struct input *in);

/** simnic_command() - through its control queue. */
void simnic_command(struct simnic_stand *s, struct input *in);

/** simnic_answer_misses() - its front-end translates what queues wait for. */
void simnic_answer_misses(struct simnic_stand *s, struct input *in);

/** simnic_send_frames() - @n of the peer's, which find buffers of it, or have to wait for them. */
void simnic_send_frames(struct simnic_stand *s, unsigned int n);

/* simnic_mailbox_check.c */

/** simnic_check() - what has to hold after each step. */
void simnic_check(struct simnic_stand *s);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker in parts: the protocol and the device model with a page, a keeper of descriptors and the
 * driver double, put together as tools/worker/start.c and connection.c do it. A worker may end and
 * another begin, in the middle of a conversation, without a process.
 */
#ifndef TESTS_FUZZ_STAND_H
#define TESTS_FUZZ_STAND_H

#include "protocol/session.h"
#include "tests/fuzz/driver.h"
#include "tools/shim/wire.h"

struct stand {
	int page_fd;                 /* made once, for all inputs */
	int kept[FDSTORE_MAX_SLOTS]; /* what the keeper has, by slot; -1: nothing */
	struct fdstore_keeper keeper;
	struct fuzz_driver driver;
	bool has_standby;
	struct fuzz_driver standby;
	uint16_t max_pairs;
	bool doorbell_allowed;

	/* of one worker */
	bool works;
	struct fdstore fds;
	struct page page;
	struct device_section device_section;
	struct session_section session_section;
	struct device device;
	struct session session;
};

/** stand_init() - once for the process. */
void stand_init(struct stand *s);

/** stand_begin() - a new device of which nobody knows anything; no worker yet. */
void stand_begin(struct stand *s, const struct driver_caps *caps, uint16_t max_pairs);

/** stand_add_standby() - the device has one, with these capabilities; for the next worker, and all after it. */
void stand_add_standby(struct stand *s, const struct driver_caps *caps);

/** stand_end() - worker, keeper and device go. */
void stand_end(struct stand *s);

/**
 * stand_worker_begin() - a worker takes over what there is. Return: 0; -EBADMSG, -EPROTO: of the
 * page. A connection that is in its slot is not looked at yet.
 */
int stand_worker_begin(struct stand *s);

/** stand_worker_end() - it dies: nothing of it stays but the page and what the keeper has. */
void stand_worker_end(struct stand *s);

/** stand_wipe() - as if the page was never written. */
void stand_wipe(struct stand *s);

/** stand_commit() - a change outside of a message. */
void stand_commit(struct stand *s);

/** stand_check() - what has to hold between two messages; else the program ends. */
void stand_check(const struct stand *s);

/** stand_check_sections() - could a worker take over now? */
void stand_check_sections(const struct stand *s);

/** stand_count_fds() - descriptors that a worker, keeper and device may have open now. */
size_t stand_count_fds(const struct stand *s);

#endif

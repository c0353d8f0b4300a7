/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the command asks of those who have devices. Each has a row in the table of backend.c; the
 * command asks all of them and shows the answers together.
 *
 * Facts and answers are jansson values of the shapes below. A backend answers with these shapes and
 * nothing less; keys beyond them are allowed. [key] may be absent. Numbers are not negative, and
 * features are names or, for bits without a name, numbers.
 */
#ifndef VDPA_COMMAND_BACKEND_H
#define VDPA_COMMAND_BACKEND_H

#include <jansson.h>

enum operation {
	/*
	 * Shows. Facts: [name], or [handle] of a management device; all without it.
	 * Answer: a list, sorted by name, of objects:
	 *
	 * OP_MGMTDEV_SHOW  handle, [classes] (names), [max_vqs], [features], [state], [reason],
	 *                  [devices] (how many), [uplink], [uplink_state], [pid], [restarts]
	 * OP_DEV_SHOW      name, type, mgmtdev, vendor_id, max_vqs, max_vq_size
	 * OP_DEV_CONFIG    name, [mac], [link_up], [link_announce] (booleans), [max_vqp], [mtu],
	 *                  [negotiated_features]
	 * OP_DEV_MIGRATION name, [number], [phase], [method], [outcome] (names), [age_s],
	 *                  [switch_us], [logging_us], [stop_us], [leave_us]
	 * OP_DEV_STATUS    name, state, and much more: see dev.status in docs/control-socket.md
	 */
	OP_MGMTDEV_SHOW,
	OP_DEV_SHOW,
	OP_DEV_CONFIG,
	OP_DEV_MIGRATION,
	OP_DEV_STATUS,

	/*
	 * Facts: name, [qidx]. Answer: a list, of one where qidx is given: qidx, queue_type (name),
	 * stats (an object of numbers, in the order in which they are shown).
	 */
	OP_DEV_VSTATS,

	/*
	 * Changes; the answer means nothing.
	 *
	 * OP_DEV_ADD      name, mgmtdev ("bus/name" or "name"), [mac], [mtu], [max_vqp],
	 *                 [features] ("0x..."), [socket] (absolute path), [mode] ("server",
	 *                 "client"), [vm], [spoof_check], [ctrl_vq] (boolean)
	 * OP_DEV_DEL      name
	 * OP_DEV_SET      name, [mac], [spoof_check], [log_level] ("error", "warning", "info",
	 *                 "debug"), [link] ("up", "down")
	 * OP_DEV_UPGRADE  name, [worker] (absolute path)
	 */
	OP_DEV_ADD,
	OP_DEV_DEL,
	OP_DEV_SET,
	OP_DEV_UPGRADE,

	/* Facts: name. Answer: an object; in it [worker_report], a string, JSON as a rule. */
	OP_DEV_DUMP,

	OP_COUNT,
};

/* Why something did not happen: object, reason, remedy; a line without its line feed. */
struct fault {
	char text[2048];
};

struct backend_options {
	const char *socket; /* path of vdpad's control socket */
};

/* Events of one backend, between watch_open() and watch_close(). */
struct watch;

struct backend {
	/**
	 * @ask: do one operation, and wait until it is done.
	 * @facts: an object as above; stays the caller's
	 * @ret:   the answer, the caller's; written on success only
	 * @why:   written on failure only
	 *
	 * Return: 0; -ENOENT: this backend has no such device, another may; -EOPNOTSUPP: it never
	 *         does that; -ENOTCONN: it isn't there; any other negative errno ends the search.
	 */
	int (*ask)(const struct backend_options *options, enum operation op, json_t *facts,
		json_t **ret, struct fault *why);

	/**
	 * @watch_open: begin to receive events.
	 * @name: of the device that they are about; NULL for all
	 * Return: as of @ask.
	 */
	int (*watch_open)(const struct backend_options *options, const char *name,
		struct watch **ret, struct fault *why);

	/** @watch_fd: readable when watch_next() has something to do. */
	int (*watch_fd)(const struct watch *watch);

	/**
	 * @watch_next: take one event, without waiting.
	 * @ret: event (a name), time_ms (since 1970), [dev] or [mgmtdev], [text], [count] of those
	 *       that were lost; the caller's
	 * Return: 0; -EAGAIN: nothing now; any other negative errno: the watch is over, for the
	 *         reason in @why.
	 */
	int (*watch_next)(struct watch *watch, json_t **ret, struct fault *why);

	void (*watch_close)(struct watch *watch);
};

/* Ends with NULL. */
extern const struct backend *const backends[];

/**
 * fault_set() - fill @why.
 * Return: @error.
 */
int fault_set(struct fault *why, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * backends_show() - ask all for a list, and put their answers together.
 * @ret: a list, even on failure: what could be had; the caller's
 *
 * Facts that name a device are for the first that has it.
 *
 * Return: 0, or the first failure as a negative errno.
 */
int backends_show(const struct backend_options *options, enum operation op, json_t *facts,
	json_t **ret, struct fault *why);

/**
 * backends_ask() - have an operation done by the first backend that can.
 * @ret: its answer, the caller's; NULL when it does not matter
 * Return: 0, or the first failure as a negative errno.
 */
int backends_ask(const struct backend_options *options, enum operation op, json_t *facts,
	json_t **ret, struct fault *why);

#endif

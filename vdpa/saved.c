/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Figures are taken along as differences: what the device itself counts is added when they are shown, so
 * a device that counted before does not add what belongs to someone else.
 */
#include "vdpa/saved.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vdpa/device_internal.h"
#include "vdpa/saved_control.h"

#define MAGIC	"vdpad-ds"
#define VERSION 1

struct head {
	char magic[8];
	uint32_t version;
	uint32_t n_sections;
	uint64_t size; /* with the head */
};

/* SECTION_CONTROL is there when its guest used the control queue: it can't do without. */
enum section_id { SECTION_DEVICE = 1, SECTION_QUEUES = 2, SECTION_CONTROL = 3 };

#define SECTION_MUST BIT(0) /* a reader that does not know it refuses all */

struct section {
	uint16_t id;
	uint16_t flags;
	uint32_t size; /* bytes that follow */
};

#define N_DEVICE (sizeof(struct carried_device) / sizeof(uint64_t))
#define N_QUEUE	 (sizeof(struct carried_queue) / sizeof(uint64_t))

_Static_assert(sizeof(struct head) + 3 * sizeof(struct section) + sizeof(struct carried_device) +
			       QUEUE_MAX * sizeof(struct carried_queue) + SAVED_CONTROL_SIZE <=
		       SAVED_MAX_SIZE,
	"the largest device's state has room");

/* ------------------------------------------------------------------------------ figures */

static struct carried_queue count_queue(const struct driver_queue_stats *s)
{
	return (struct carried_queue){
		.received_desc = s->received_desc,
		.completed_desc = s->completed_desc,
		.bytes = s->bytes,
		.drops = s->drops,
		.errors = s->errors,
		.calls = s->calls,
	};
}

static struct carried_device count_device(const struct driver_device_stats *s)
{
	return (struct carried_device){
		.rx_frames = s->rx_frames,
		.rx_bytes = s->rx_bytes,
		.tx_frames = s->tx_frames,
		.tx_bytes = s->tx_bytes,
		.spoof_drops = s->spoof_drops,
		.flood_drops = s->flood_drops,
		.no_queue_drops = s->no_queue_drops,
	};
}

static void ask_queue(const struct device *d, uint32_t index, struct driver_queue_stats *ret)
{
	if (ring_stats(d, index, ret) < 0)
		memset(ret, 0, sizeof(*ret));
}

static void ask_device(const struct device *d, struct driver_device_stats *ret)
{
	if (d->driver->ops->device_stats(d->driver, ret) < 0)
		memset(ret, 0, sizeof(*ret));
}

void device_queue_stats(const struct device *d, uint32_t index, struct driver_queue_stats *ret)
{
	const struct carried_queue *more = &d->state->carried_queues[index];

	ask_queue(d, index, ret);
	ret->received_desc += more->received_desc;
	ret->completed_desc += more->completed_desc;
	ret->bytes += more->bytes;
	ret->drops += more->drops;
	ret->errors += more->errors;
	ret->calls += more->calls;
}

void device_stats(const struct device *d, struct driver_device_stats *ret)
{
	const struct carried_device *more = &d->state->carried;

	ask_device(d, ret);
	ret->rx_frames += more->rx_frames;
	ret->rx_bytes += more->rx_bytes;
	ret->tx_frames += more->tx_frames;
	ret->tx_bytes += more->tx_bytes;
	ret->spoof_drops += more->spoof_drops;
	ret->flood_drops += more->flood_drops;
	ret->no_queue_drops += more->no_queue_drops;
}

/* --------------------------------------------------------------------------------- save */

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

static uint8_t *put_words(uint8_t *at, const void *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t word;

		memcpy(&word, (const uint8_t *)words + i * sizeof(word), sizeof(word));
		word = htole64(word);
		at = put(at, &word, sizeof(word));
	}
	return at;
}

static uint8_t *put_section(uint8_t *at, enum section_id id, uint16_t flags, size_t size)
{
	const struct section section = {
		.id = htole16((uint16_t)id),
		.flags = htole16(flags),
		.size = htole32((uint32_t)size),
	};

	return put(at, &section, sizeof(section));
}

static uint8_t *put_control(uint8_t *at, const struct control_state *control)
{
	at = put_section(at, SECTION_CONTROL, SECTION_MUST, SAVED_CONTROL_SIZE);
	saved_control_put(control, at);
	return at + SAVED_CONTROL_SIZE;
}

size_t device_save(const struct device *d, uint8_t *data)
{
	struct head head = { .version = htole32(VERSION), .n_sections = htole32(2) };
	uint8_t *at = data + sizeof(head);
	struct driver_device_stats device;
	struct carried_device carried;
	struct control_state control;

	device_stats(d, &device);
	carried = count_device(&device);
	at = put_section(at, SECTION_DEVICE, 0, sizeof(carried));
	at = put_words(at, &carried, N_DEVICE);
	at = put_section(at, SECTION_QUEUES, 0, d->n_queues * sizeof(struct carried_queue));
	for (uint32_t i = 0; i < d->n_queues; i++) {
		struct driver_queue_stats stats;
		struct carried_queue queue;

		device_queue_stats(d, i, &stats);
		queue = count_queue(&stats);
		at = put_words(at, &queue, N_QUEUE);
	}
	if (device_control_get(d, &control)) {
		at = put_control(at, &control);
		head.n_sections = htole32(3);
	}
	memcpy(head.magic, MAGIC, sizeof(head.magic));
	head.size = htole64((uint64_t)(at - data));
	put(data, &head, sizeof(head));
	return (size_t)(at - data);
}

/* --------------------------------------------------------------------------------- load */

struct loaded {
	struct carried_device device;
	struct carried_queue queues[QUEUE_MAX];
	struct control_state control;
	bool has_control;
};

static void get_words(void *to, size_t n, const uint8_t *from, size_t size)
{
	for (size_t i = 0; i < n && (i + 1) * sizeof(uint64_t) <= size; i++) {
		uint64_t word;

		memcpy(&word, from + i * sizeof(word), sizeof(word));
		word = le64toh(word);
		memcpy((uint8_t *)to + i * sizeof(word), &word, sizeof(word));
	}
}

static int refuse(const char **ret_reason, int error, const char *reason)
{
	*ret_reason = reason;
	return error;
}

static int load_section(const struct section *s, const uint8_t *data, struct loaded *ret,
	const char **ret_reason)
{
	switch (s->id) {
	case SECTION_DEVICE:
		get_words(&ret->device, N_DEVICE, data, s->size);
		return 0;
	case SECTION_QUEUES:
		get_words(ret->queues, QUEUE_MAX * N_QUEUE, data, s->size);
		return 0;
	case SECTION_CONTROL:
		ret->has_control = true;
		if (saved_control_get(data, s->size, &ret->control) < 0)
			return refuse(ret_reason, -EBADMSG,
				"what the control queue had set makes no sense");
		return 0;
	default:
		if (s->flags & SECTION_MUST)
			return refuse(ret_reason, -EPROTO, "it needs what a later version has");
		return 0;
	}
}

static int load_sections(uint32_t n, const uint8_t *data, size_t size, struct loaded *ret,
	const char **ret_reason)
{
	while (n-- > 0) {
		struct section s;
		int r;

		if (size < sizeof(s))
			return refuse(ret_reason, -EBADMSG, "it ends before its last section");
		memcpy(&s, data, sizeof(s));
		s.id = le16toh(s.id);
		s.flags = le16toh(s.flags);
		s.size = le32toh(s.size);
		data += sizeof(s);
		size -= sizeof(s);
		if (s.size > size || s.size % 8 != 0)
			return refuse(ret_reason, -EBADMSG, "a section's size is wrong");
		r = load_section(&s, data, ret, ret_reason);
		if (r < 0)
			return r;
		data += s.size;
		size -= s.size;
	}
	return size == 0 ? 0 : refuse(ret_reason, -EBADMSG, "something is behind its last section");
}

static int read_saved(const uint8_t *data, size_t size, struct loaded *ret, const char **ret_reason)
{
	struct head head;

	if (size < sizeof(head))
		return refuse(ret_reason, -EBADMSG, "it is too short");
	memcpy(&head, data, sizeof(head));
	if (memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0)
		return refuse(ret_reason, -EBADMSG, "it is none of a vdpad device");
	if (le32toh(head.version) != VERSION)
		return refuse(ret_reason, -EPROTO, "it was written in a version that can't be read");
	if (le64toh(head.size) != size)
		return refuse(ret_reason, -EBADMSG, "it is not as long as it says");
	return load_sections(le32toh(head.n_sections), data + sizeof(head), size - sizeof(head), ret,
		ret_reason);
}

/* What is to be added to @now so that it becomes @wanted. */
static void subtract(uint64_t *wanted, const uint64_t *now, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wanted[i] -= now[i];
}

/* From now on figures are these, plus what the device counts from here. */
static void carry(struct device *d, struct carried_device *device, struct carried_queue *queues)
{
	struct driver_device_stats stats;
	struct carried_device now;

	ask_device(d, &stats);
	now = count_device(&stats);
	subtract((uint64_t *)device, (const uint64_t *)&now, N_DEVICE);
	d->state->carried = *device;
	for (uint32_t i = 0; i < d->n_queues; i++) {
		struct driver_queue_stats queue_stats;
		struct carried_queue queue;

		ask_queue(d, i, &queue_stats);
		queue = count_queue(&queue_stats);
		subtract((uint64_t *)&queues[i], (const uint64_t *)&queue, N_QUEUE);
		d->state->carried_queues[i] = queues[i];
	}
}

/* The guest comes to a new place in the network, and says so where the device asks it to. */
static int load_control(struct device *d, struct loaded *loaded, const char **ret_reason)
{
	int r;

	if (!loaded->has_control)
		return 0;
	loaded->control.flags |= CONTROL_ANNOUNCE;
	r = control_load(d, &loaded->control);
	if (r == -EOPNOTSUPP)
		return refuse(ret_reason, -EPROTO, "its guest uses a control queue, and there is none");
	return r < 0 ? refuse(ret_reason, r, "the device does not take what the control queue had set") : 0;
}

int device_load(struct device *d, const uint8_t *data, size_t size, const char **ret_reason)
{
	struct loaded loaded = { 0 };
	int r;

	if (device_runs(d))
		return refuse(ret_reason, -EBUSY, "rings run");
	r = read_saved(data, size, &loaded, ret_reason);
	if (r == 0)
		r = load_control(d, &loaded, ret_reason);
	if (r < 0)
		return r;
	carry(d, &loaded.device, loaded.queues);
	return 0;
}

/* ------------------------------------------------------------------------- another driver */

struct figures {
	struct carried_device device;
	struct carried_queue queues[QUEUE_MAX];
};

struct figures *figures_take(const struct device *d)
{
	struct figures *figures = calloc(1, sizeof(*figures));
	struct driver_device_stats device;

	if (!figures)
		return NULL;
	device_stats(d, &device);
	figures->device = count_device(&device);
	for (uint32_t i = 0; i < d->n_queues; i++) {
		struct driver_queue_stats queue;

		device_queue_stats(d, i, &queue);
		figures->queues[i] = count_queue(&queue);
	}
	return figures;
}

void figures_give(struct device *d, struct figures *figures)
{
	if (figures)
		carry(d, &figures->device, figures->queues);
	free(figures);
}

void figures_drop(struct figures *figures)
{
	free(figures);
}

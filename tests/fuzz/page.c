/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page that a hostile predecessor left: a usual conversation, then bytes of the page that are changed,
 * in the sections or anywhere, and a worker that takes over, is talked to, and leaves.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/play.h"
#include "vdpa/base/bits.h"

#define HEAD_SIZE   (STEPS_HEAD_SIZE + 2)
#define FORGE_SIZE  8
#define MAX_STEPS   24
#define MAX_FORGES  64

/* What is most often looked at; each is a part of one section. */
static const struct {
	enum { DEVICE, SESSION } section;
	size_t start, size;
} parts[] = {
	{ DEVICE, 0, offsetof(struct device_section, reason) },
	{ DEVICE, offsetof(struct device_section, driver_slots), sizeof(int32_t) * DEVICE_DRIVER_SLOTS },
	{ DEVICE, offsetof(struct device_section, rings), 2 * sizeof(struct ring_state) },
	{ DEVICE, offsetof(struct device_section, memory), 8 + 2 * sizeof(struct memory_region) },
	{ DEVICE, offsetof(struct device_section, logging), 40 },
	{ DEVICE, offsetof(struct device_section, migration), sizeof(struct migration_record) },
	{ DEVICE, offsetof(struct device_section, relays), 2 * sizeof(struct kept_relay) },
	{ DEVICE, offsetof(struct device_section, inflight), sizeof(struct kept_inflight) },
	{ DEVICE, offsetof(struct device_section, postcopy), 16 },
	{ DEVICE, 0, sizeof(struct device_section) },
	{ SESSION, 0, offsetof(struct session_section, refusal) },
	{ SESSION, offsetof(struct session_section, reply_size), 80 },
	{ SESSION, offsetof(struct session_section, trace_next), 16 },
	{ SESSION, offsetof(struct session_section, reply_slot), 8 },
	{ SESSION, 0, sizeof(struct session_section) },
};

/* Where a section is in the file, as the first page_open() of this program lays it out. */
static size_t section_at(const struct stand *s, unsigned int section)
{
	return (size_t)(s->page.layout - s->page.base) + s->page.offsets[section];
}

struct forgery {
	struct input in;
	unsigned int n;
	size_t section[2];
};

static void forge(void *arg, uint8_t *page)
{
	struct forgery *f = arg;

	while (f->n-- > 0) {
		uint8_t part = input_byte(&f->in), how = input_byte(&f->in);
		size_t at = input_word(&f->in, 2);
		uint32_t value = (uint32_t)input_word(&f->in, 4);
		uint8_t bytes[8];
		uint64_t word = how & 0x80 ? (uint64_t)(int32_t)value : value;

		if (part < 0xf0)
			at = f->section[parts[part % ARRAY_SIZE(parts)].section] +
			     parts[part % ARRAY_SIZE(parts)].start + at % parts[part % ARRAY_SIZE(parts)].size;
		else
			at = (at * (part & 8 ? 16 : 1)) % (SHIM_PAGE_SIZE - sizeof(bytes));
		memcpy(bytes, page + at, sizeof(bytes));
		for (size_t i = 0; i < sizeof(word); i++)
			bytes[i] = (uint8_t)(how & 0x40 ? bytes[i] ^ word >> (8 * i) : word >> (8 * i));
		memcpy(page + at, bytes, 1U << (how & 3));
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	play_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct step leave = { .kind = STEP_CLOSE }, again = { .kind = STEP_RESTART };
	struct forgery f = { .in = { data, size } };
	uint8_t head[HEAD_SIZE];
	const struct step *steps;
	size_t n;

	for (size_t i = 0; i < sizeof(head); i++)
		head[i] = input_byte(&f.in);
	play_begin(head);
	for (size_t i = 0; (steps = steps_play(i, &n)) != NULL; i++) {
		for (size_t k = 0; k < n && head[STEPS_HEAD_SIZE] >> i & 1; k++)
			play_step(&steps[k]);
	}
	f.n = head[STEPS_HEAD_SIZE + 1] % MAX_FORGES;
	f.section[DEVICE] = section_at(play_stand(), 0);
	f.section[SESSION] = section_at(play_stand(), 1);
	play_forge(forge, &f);
	for (size_t i = 0; i < MAX_STEPS && f.in.size >= sizeof(struct step); i++) {
		struct step step;

		memcpy(&step, f.in.data, sizeof(step));
		f.in.data += sizeof(step);
		f.in.size -= sizeof(step);
		play_step(&step);
	}
	play_step(&again);
	play_step(&leave);
	play_end();
	return 0;
}

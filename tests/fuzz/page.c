/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page that a hostile predecessor left: a usual conversation, then bytes of the page that are
 * changed, in the sections or anywhere, and a worker that takes over, is talked to, and leaves.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/play.h"
#include "vdpa/base/bits.h"

#define HEAD_SIZE  (STEPS_HEAD_SIZE + 2)
#define FORGE_SIZE 8
#define MAX_STEPS  24
#define MAX_FORGES 64

/* What is most often looked at. */
static const struct {
	enum { DEVICE, SESSION, HEADERS, JOURNAL, N_PLACES } place;
	size_t start, size;
} parts[] = {
	{ DEVICE, 0, offsetof(struct device_section, reason) },
	{ DEVICE, offsetof(struct device_section, driver_slots),
		sizeof(int32_t) * DEVICE_DRIVER_SLOTS },
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
	{ SESSION, offsetof(struct session_section, inband), 4 },
	{ SESSION, offsetof(struct session_section, notifiers), 4 },
	{ SESSION, 0, sizeof(struct session_section) },
	{ HEADERS, 0, 256 }, /* of the file, and of the layout */
	{ HEADERS, 64, 64 },
	{ JOURNAL, 0, 1 }, /* how many lines, and the first one's place and size */
	{ JOURNAL, 8, 1 },
	{ JOURNAL, 12, 1 },
	{ JOURNAL, 0, 1024 },
};

/* Where these are in the file, as page.c lays it out the first time. */
struct forgery {
	struct input in;
	unsigned int n;
	size_t at[N_PLACES];
};

static void find_places(const struct page *p, size_t ret[N_PLACES])
{
	uint32_t journal;

	memcpy(&journal, p->layout + sizeof(uint32_t), sizeof(journal));
	ret[DEVICE] = (size_t)(p->layout - p->base) + p->offsets[0];
	ret[SESSION] = (size_t)(p->layout - p->base) + p->offsets[1];
	ret[HEADERS] = 0;
	ret[JOURNAL] = (size_t)(p->layout - p->base) + journal;
}

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
			at = f->at[parts[part % ARRAY_SIZE(parts)].place] +
			     parts[part % ARRAY_SIZE(parts)].start +
			     at % parts[part % ARRAY_SIZE(parts)].size;
		else
			at = (at * (part & 8 ? 16 : 1)) % (SHIM_PAGE_SIZE - sizeof(bytes));
		memcpy(bytes, page + at, sizeof(bytes));
		for (size_t i = 0; i < sizeof(word); i++)
			bytes[i] = (uint8_t)(how & 0x40 ? bytes[i] ^ word >> (8 * i)
							: word >> (8 * i));
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
	find_places(&play_stand()->page, f.at);
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

static void some_forgery(uint8_t *at, uint64_t *rng)
{
	static const uint32_t values[] = { 0, 1, 2, 3, 7, 8, 9, 63, 64, 255, 256, 509, 510, 1535,
		1536, 4096, 32768, 65535, 65536, INT32_MAX, 0x7fffff00, 1U << 31, UINT32_MAX };
	uint32_t value = fuzz_below(rng, 4) ? values[fuzz_below(rng, ARRAY_SIZE(values))]
					    : (uint32_t)fuzz_random(rng);

	at[0] = (uint8_t)fuzz_below(rng, fuzz_below(rng, 16) ? ARRAY_SIZE(parts) : 256);
	at[1] = (uint8_t)(fuzz_below(rng, 4) | (fuzz_below(rng, 4) ? 0 : fuzz_random(rng) & 0xc0));
	at[2] = (uint8_t)fuzz_random(rng);
	at[3] = (uint8_t)fuzz_below(rng, fuzz_below(rng, 2) ? 1 : 256);
	memcpy(at + 4, &value, sizeof(value));
}

/* Forgeries are put in and changed as a whole; everything else is bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint64_t rng = (uint64_t)seed * 0x9e3779b97f4a7c15ULL + 1;
	size_t n, at;

	if (size < HEAD_SIZE || size + FORGE_SIZE > max_size || fuzz_below(&rng, 3) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	n = data[STEPS_HEAD_SIZE + 1] % MAX_FORGES;
	n = n < (size - HEAD_SIZE) / FORGE_SIZE ? n : (size - HEAD_SIZE) / FORGE_SIZE;
	at = HEAD_SIZE + fuzz_below(&rng, (uint32_t)n + 1) * FORGE_SIZE;
	if (fuzz_below(&rng, 4) == 0)
		data[STEPS_HEAD_SIZE] = (uint8_t)fuzz_below(&rng, 128);
	if (n > 0 && at < HEAD_SIZE + n * FORGE_SIZE && fuzz_below(&rng, 2)) {
		some_forgery(data + at, &rng);
		return size;
	}
	if (n + 1 == MAX_FORGES)
		return LLVMFuzzerMutate(data, size, max_size);
	memmove(data + at + FORGE_SIZE, data + at, size - at);
	some_forgery(data + at, &rng);
	data[STEPS_HEAD_SIZE + 1] = (uint8_t)(n + 1);
	return size + FORGE_SIZE;
}

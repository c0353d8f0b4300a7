/* SPDX-License-Identifier: BSD-2-Clause */
/* Conversations out of others, by whole steps and by the table's rows. */
#include <string.h>

#include "protocol/table.h"
#include "tests/fuzz/files.h"
#include "tests/fuzz/steps.h"
#include "vdpa/base/bits.h"

/* What a front-end does so that a pair of rings runs; where to begin and end is the mutation's
 * choice. */
static const struct step opening[] = {
	{ .request = WIRE_GET_FEATURES },
	{ .request = WIRE_GET_PROTOCOL_FEATURES },
	{ .request = WIRE_SET_PROTOCOL_FEATURES, .ring = 5 },
	{ .request = WIRE_SET_FEATURES, .ring = 1 },
	{ .request = WIRE_SET_MEM_TABLE, .flags = 1 },
	{ .request = WIRE_SET_VRING_NUM },
	{ .request = WIRE_SET_VRING_BASE, .value = { 31 } },
	{ .request = WIRE_SET_VRING_ADDR },
	{ .request = WIRE_SET_VRING_KICK },
	{ .request = WIRE_SET_VRING_CALL },
	{ .request = WIRE_SET_VRING_ENABLE },
	{ .request = WIRE_SET_VRING_NUM, .ring = 1 },
	{ .request = WIRE_SET_VRING_ADDR, .ring = 1 },
	{ .request = WIRE_SET_VRING_KICK, .ring = 1 },
	{ .request = WIRE_SET_VRING_ENABLE, .ring = 1 },
};

static const struct step logging[] = {
	{ .request = WIRE_SET_LOG_BASE },
	{ .request = WIRE_SET_FEATURES, .ring = 0 },
	{ .request = WIRE_SET_VRING_ADDR, .value = { 1 } },
	{ .kind = STEP_GUEST, .more = { 3 } },
	{ .kind = STEP_RELAY },
	{ .kind = STEP_WORK, .more = { 3 } },
	{ .kind = STEP_RELAY },
	{ .request = WIRE_GET_VRING_BASE },
	{ .request = WIRE_GET_VRING_BASE, .ring = 1 },
};

static const struct step arriving[] = {
	{ .request = WIRE_POSTCOPY_ADVISE },
	{ .request = WIRE_POSTCOPY_LISTEN },
	{ .request = WIRE_SET_MEM_TABLE, .flags = 1 },
	{ .request = WIRE_SET_MEM_TABLE, .n_fds = 1, .value = { 200 } }, /* the acknowledgement */
	{ .request = WIRE_POSTCOPY_END },
};

/* As opening, for a guest whose driver is behind an IOMMU. */
static const struct step translating[] = {
	{ .request = WIRE_SET_PROTOCOL_FEATURES, .ring = 5 },
	{ .request = WIRE_SET_BACKEND_REQ_FD },
	{ .request = WIRE_SET_FEATURES, .ring = 1 },
	{ .request = WIRE_SET_MEM_TABLE },
	{ .request = WIRE_SET_VRING_NUM },
	{ .request = WIRE_SET_VRING_BASE, .value = { 31 } },
	{ .request = WIRE_SET_VRING_ADDR },
	{ .request = WIRE_SET_VRING_KICK },
	{ .request = WIRE_SET_VRING_ENABLE },
	{ .request = WIRE_IOTLB_MSG },
	{ .request = WIRE_IOTLB_MSG, .ring = 1 },
	{ .kind = STEP_MISS, .more = { 200 } },
	{ .request = WIRE_IOTLB_MSG, .ring = 8 },
	{ .request = WIRE_IOTLB_MSG, .ring = 0x20 },
	{ .request = WIRE_IOTLB_MSG, .value = { 1 } },
	{ .request = WIRE_IOTLB_MSG },
};

static const struct step told_by_message[] = {
	{ .request = WIRE_SET_PROTOCOL_FEATURES, .ring = 5 },
	{ .request = WIRE_SET_BACKEND_REQ_FD },
	{ .request = WIRE_SET_FEATURES, .ring = 11 },
	{ .request = WIRE_SET_MEM_TABLE },
	{ .request = WIRE_SET_VRING_NUM },
	{ .request = WIRE_SET_VRING_BASE, .value = { 31 } },
	{ .request = WIRE_SET_VRING_ADDR },
	{ .request = WIRE_SET_VRING_ENABLE },
	{ .request = WIRE_VRING_KICK },
	{ .kind = STEP_CALL },
	{ .kind = STEP_CHANNEL },
	{ .kind = STEP_CALL, .more = { 1 } },
	{ .kind = STEP_CHANNEL, .ring = 1 },
	{ .request = WIRE_GET_VRING_BASE },
};

/* Of a guest without MQ, whose control queue is behind the first pair. */
static const struct step controlling[] = {
	{ .request = WIRE_SET_PROTOCOL_FEATURES, .ring = 5 },
	{ .request = WIRE_SET_FEATURES, .ring = 10 },
	{ .request = WIRE_SET_MEM_TABLE },
	{ .request = WIRE_SET_VRING_NUM, .ring = 2 },
	{ .request = WIRE_SET_VRING_BASE, .ring = 2, .value = { 31 } },
	{ .request = WIRE_SET_VRING_ADDR, .ring = 2 },
	{ .request = WIRE_SET_VRING_KICK, .ring = 2 },
	{ .request = WIRE_SET_VRING_ENABLE, .ring = 2 },
	{ .kind = STEP_CONTROL, .more = { 1, 1, 0, 2 } },
	{ .kind = STEP_RETURN },
	{ .request = WIRE_GET_VRING_BASE, .ring = 2 },
	{ .request = WIRE_SET_VRING_BASE, .ring = 2, .value = { 56 } },
};

static const struct step moving[] = {
	{ .request = WIRE_SET_DEVICE_STATE_FD },
	{ .kind = STEP_PIPE },
	{ .request = WIRE_CHECK_DEVICE_STATE },
	{ .kind = STEP_PIPE, .ring = 1 },
	{ .request = WIRE_SET_DEVICE_STATE_FD, .ring = 1 },
	{ .kind = STEP_PIPE, .ring = 2 },
	{ .request = WIRE_CHECK_DEVICE_STATE },
};

static const struct {
	const struct step *steps;
	size_t n;
} plays[] = {
	{ opening, ARRAY_SIZE(opening) },
	{ logging, ARRAY_SIZE(logging) },
	{ arriving, ARRAY_SIZE(arriving) },
	{ moving, ARRAY_SIZE(moving) },
	{ translating, ARRAY_SIZE(translating) },
	{ told_by_message, ARRAY_SIZE(told_by_message) },
	{ controlling, ARRAY_SIZE(controlling) },
};

const struct step *steps_play(size_t i, size_t *ret_n)
{
	if (i >= ARRAY_SIZE(plays))
		return NULL;
	*ret_n = plays[i].n;
	return plays[i].steps;
}

static struct step some_message(uint64_t *rng)
{
	struct step step = { .request = (uint8_t)fuzz_below(rng, WIRE_N_REQUESTS) };

	while (fuzz_below(rng, 16) > 0 && !message_find(step.request)->handle)
		step.request = (uint8_t)fuzz_below(rng, WIRE_N_REQUESTS);
	step.ring = (uint8_t)fuzz_below(rng, fuzz_below(rng, 8) ? 4 : 256);
	step.flags = (uint8_t)fuzz_below(rng, 2);
	if (fuzz_below(rng, 2))
		step.value[fuzz_below(rng, sizeof(step.value))] = (uint8_t)fuzz_random(rng);
	if (fuzz_below(rng, 8) == 0)
		step.file = (uint8_t)(1 + fuzz_below(rng, FILE_N_KINDS));
	if (fuzz_below(rng, 16) == 0)
		step.n_fds = (uint8_t)fuzz_below(rng, 12);
	if (fuzz_below(rng, 16) == 0)
		step.size = (uint8_t)fuzz_random(rng);
	return step;
}

static struct step some_step(uint64_t *rng)
{
	struct step step = some_message(rng);

	step.kind = fuzz_below(rng, 3) ? STEP_MESSAGE : (uint8_t)fuzz_below(rng, STEP_N_KINDS);
	for (size_t i = 0; i < sizeof(step.more) && fuzz_below(rng, 2); i++)
		step.more[i] = (uint8_t)fuzz_below(rng, fuzz_below(rng, 2) ? 8 : 256);
	return step;
}

struct script {
	struct step *steps;
	size_t n, max;
};

static void put_in(struct script *s, size_t at, const struct step *steps, size_t n)
{
	if (n > s->max - s->n)
		n = s->max - s->n;
	memmove(s->steps + at + n, s->steps + at, (s->n - at) * sizeof(*s->steps));
	memcpy(s->steps + at, steps, n * sizeof(*steps));
	s->n += n;
}

static void mutate_once(struct script *s, uint64_t *rng)
{
	size_t at = fuzz_below(rng, (uint32_t)s->n + 1), play = fuzz_below(rng, ARRAY_SIZE(plays)),
	       n;
	struct step some[16];

	switch (fuzz_below(rng, s->n > 0 ? 9 : 2)) {
	case 0:
		put_in(s, at, plays[play].steps, plays[play].n);
		break;
	case 1:
	case 2:
		some[0] = some_step(rng);
		put_in(s, at, some, 1);
		break;
	case 3: /* without some */
		at %= s->n;
		n = 1 + fuzz_below(rng, fuzz_below(rng, 4) ? 2 : 16);
		n = n < s->n - at ? n : s->n - at;
		memmove(s->steps + at, s->steps + at + n, (s->n - at - n) * sizeof(*s->steps));
		s->n -= n;
		break;
	case 4: /* again, elsewhere */
		at %= s->n;
		n = 1 + fuzz_below(rng, ARRAY_SIZE(some));
		n = n < s->n - at ? n : s->n - at;
		memcpy(some, s->steps + at, n * sizeof(some[0]));
		put_in(s, fuzz_below(rng, (uint32_t)s->n + 1), some, n);
		break;
	case 5: /* in another order */
		at %= s->n;
		n = fuzz_below(rng, (uint32_t)s->n);
		some[0] = s->steps[at];
		s->steps[at] = s->steps[n];
		s->steps[n] = some[0];
		break;
	case 6: /* something else instead */
		s->steps[at % s->n] = some_step(rng);
		break;
	default: /* one byte of one */
		((uint8_t *)&s->steps[at % s->n])[fuzz_below(rng, sizeof(struct step))] =
			(uint8_t)fuzz_below(rng, fuzz_below(rng, 2) ? 8 : 256);
	}
}

size_t steps_mutate(uint8_t *data, size_t size, size_t max_size, uint64_t seed)
{
	static struct step steps[STEPS_MAX];
	struct script s = { .steps = steps };
	uint64_t rng = seed * 0x9e3779b97f4a7c15ULL + 1;

	if (max_size < STEPS_HEAD_SIZE + sizeof(struct step))
		return LLVMFuzzerMutate(data, size, max_size);
	if (size < STEPS_HEAD_SIZE)
		memset(data + size, 0, STEPS_HEAD_SIZE - size);
	s.max = (max_size - STEPS_HEAD_SIZE) / sizeof(struct step);
	s.max = s.max < STEPS_MAX ? s.max : STEPS_MAX;
	s.n = size < STEPS_HEAD_SIZE ? 0 : (size - STEPS_HEAD_SIZE) / sizeof(struct step);
	s.n = s.n < s.max ? s.n : s.max;
	memcpy(steps, data + STEPS_HEAD_SIZE, s.n * sizeof(struct step));
	if (size < STEPS_HEAD_SIZE || fuzz_below(&rng, 12) == 0)
		data[STEPS_HEAD_SIZE - 1] = (uint8_t)fuzz_random(&rng); /* what it can, mostly */
	if (fuzz_below(&rng, 20) == 0)
		data[fuzz_below(&rng, STEPS_HEAD_SIZE)] = (uint8_t)fuzz_random(&rng);
	if (fuzz_below(&rng, 10) == 0)
		LLVMFuzzerMutate(
			(uint8_t *)steps, s.n * sizeof(struct step), s.n * sizeof(struct step));
	else
		for (uint32_t i = 1 + fuzz_below(&rng, 4); i > 0; i--)
			mutate_once(&s, &rng);
	memcpy(data + STEPS_HEAD_SIZE, steps, s.n * sizeof(struct step));
	return STEPS_HEAD_SIZE + s.n * sizeof(struct step);
}

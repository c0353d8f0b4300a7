/* SPDX-License-Identifier: BSD-2-Clause */
/* What libFuzzer calls, and what of it targets call. Source: LLVM, "libFuzzer". */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* An input, read from its beginning; behind its end everything is 0. */
struct input {
	const uint8_t *data;
	size_t size;
};

static inline uint8_t input_byte(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

static inline uint64_t input_word(struct input *in, unsigned int bytes)
{
	uint64_t word = 0;

	for (unsigned int i = 0; i < bytes; i++)
		word |= (uint64_t)input_byte(in) << (8 * i);
	return word;
}

/* Of numbers that only have to differ, from a seed that is not 0. */
static inline uint64_t fuzz_random(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

static inline uint32_t fuzz_below(uint64_t *rng, uint32_t n)
{
	return (uint32_t)(fuzz_random(rng) % n);
}

#endif

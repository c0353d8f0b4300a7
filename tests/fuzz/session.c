/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front-end that sends any messages, with any descriptors, to a worker on a device that may fail,
 * and workers that die in between. What has to hold is in play.h.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/play.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	play_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < STEPS_HEAD_SIZE)
		return 0;
	play_begin(data);
	for (size_t i = 0; i < STEPS_MAX && STEPS_HEAD_SIZE + (i + 1) * sizeof(struct step) <= size;
		i++) {
		struct step step;

		memcpy(&step, data + STEPS_HEAD_SIZE + i * sizeof(step), sizeof(step));
		play_step(&step);
	}
	play_end();
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	return steps_mutate(data, size, max_size, seed);
}

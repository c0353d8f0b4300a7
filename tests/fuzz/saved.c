/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device takes along, with anything in it. What is refused has changed nothing, and a device
 * that loaded its own words says the same again.
 */
#include <errno.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tests/fuzz/play.h"
#include "vdpa/saved.h"

static struct device *device(void)
{
	return &play_stand()->device;
}

static void load(const uint8_t *data, size_t size)
{
	static struct device_section before;
	static uint8_t now[SAVED_MAX_SIZE], again[SAVED_MAX_SIZE];
	const char *reason = "";
	size_t n;
	int r;

	before = *device()->state;
	r = device_load(device(), data, size, &reason);
	must(r == 0 || r == -EBADMSG || r == -EPROTO, "device_load: %d", r);
	if (r < 0) {
		must(reason[0] != '\0', "it is refused for no reason");
		must(memcmp(&before, device()->state, sizeof(before)) == 0,
			"it is refused, and changed something");
	}
	n = device_save(device(), now);
	must(n <= sizeof(now) && device_load(device(), now, n, &reason) == 0,
		"its own words are refused: %s", reason);
	must(device_save(device(), again) == n && memcmp(now, again, n) == 0,
		"figures changed on the way");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	play_init();
	return 0;
}

/* What the device would say itself, with bytes that are changed: where, and what. Return: how many.
 */
static size_t own_words(struct input *in, uint8_t *ret)
{
	size_t n = device_save(device(), ret), cut = input_byte(in);

	while (in->size >= 3) {
		size_t at = input_word(in, 2);

		ret[at % n] = input_byte(in);
	}
	return cut & 1 ? n : n - n * cut / 256;
}

/*
 * The first byte is how many queues the device has, whether there is a control queue too, and whether the
 * rest is all or only changes.
 * What is loaded has no room behind it.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t words[SAVED_MAX_SIZE];
	struct input in = { data, size };
	uint8_t first = input_byte(&in), *copy;
	const uint8_t head[STEPS_HEAD_SIZE] = { [0] = first, [7] = first & 0x40 ? 8 : 0 };
	size_t n = in.size < sizeof(words) ? in.size : sizeof(words);

	play_begin(head);
	if (first & 0x80)
		n = own_words(&in, words);
	else if (n > 0)
		memcpy(words, in.data, n);
	copy = malloc(n > 0 ? n : 1);
	must(copy, "no memory");
	memcpy(copy, words, n);
	load(copy, n);
	free(copy);
	stand_commit(play_stand());
	play_end();
	return 0;
}

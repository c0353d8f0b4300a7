/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device takes along, with anything in it. What is refused has changed nothing, and a device that
 * loaded its own words says the same again.
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
		must(memcmp(&before, device()->state, sizeof(before)) == 0, "it is refused, and changed something");
	}
	n = device_save(device(), now);
	must(n <= sizeof(now) && device_load(device(), now, n, &reason) == 0, "its own words are refused: %s", reason);
	must(device_save(device(), again) == n && memcmp(now, again, n) == 0, "figures changed on the way");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	play_init();
	return 0;
}

/* The first byte is how many queues the device has. The copy has no room behind it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t head[STEPS_HEAD_SIZE] = { size > 0 ? data[0] : 0 };
	uint8_t *copy = size > 1 ? malloc(size - 1) : NULL;

	play_begin(head);
	if (copy)
		memcpy(copy, data + 1, size - 1);
	load(copy, copy ? size - 1 : 0);
	free(copy);
	stand_commit(play_stand());
	play_end();
	return 0;
}

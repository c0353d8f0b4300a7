/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of virtio-net's control queue, one after the other, on one state. Whatever they are: a
 * verdict is one of two, a command that is refused changed nothing, what is accepted leads to a state
 * that simnic takes from another device, and whose tables have nothing behind their ends; and a
 * command that needs a feature is refused without it. How rings bring commands is simnic-mailbox's.
 */
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tools/simnic/control_command.h"

#define MAX_COMMANDS 64

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

static void check_table(const uint8_t (*table)[6], uint16_t n)
{
	static const uint8_t none[6];

	for (uint32_t i = n; i < SIM_CONTROL_MACS; i++)
		must(memcmp(table[i], none, sizeof(none)) == 0, "an address behind the end of its table");
}

static void check_state(uint64_t features, uint16_t max_pairs, const struct sim_control *state)
{
	must(control_state_ok(max_pairs, state), "a command leads to a state that is refused elsewhere");
	check_table(state->unicast, state->n_unicast);
	check_table(state->multicast, state->n_multicast);
	must(!(state->offloads & ~features), "offloads %#lx were never negotiated",
		state->offloads & ~features);
	must(!(state->flags & SIM_CONTROL_MORE_UNICAST) || state->n_unicast == 0,
		"all unicast addresses pass, and some are listed");
	must(!(state->flags & SIM_CONTROL_MORE_MULTICAST) || state->n_multicast == 0,
		"all multicast addresses pass, and some are listed");
}

/* @bytes: as many as there are, and nothing behind them */
static void carry_out(uint64_t features, uint16_t max_pairs, const uint8_t *bytes, uint32_t size,
	struct sim_control *state)
{
	struct sim_control before = *state, without = *state;
	uint8_t verdict = control_command(features, max_pairs, bytes, size, state);

	must(verdict == VIRTIO_NET_OK || verdict == VIRTIO_NET_ERR, "a verdict of %u", verdict);
	must(verdict == VIRTIO_NET_OK || memcmp(state, &before, sizeof(before)) == 0,
		"a command that is refused changed something");
	must(verdict == VIRTIO_NET_ERR || size >= 2, "a command of %u bytes is accepted", size);
	check_state(features, max_pairs, state);
	must(control_command(0, max_pairs, bytes, size, &without) == VIRTIO_NET_ERR &&
			memcmp(&without, &before, sizeof(before)) == 0,
		"a command is carried out whose feature was not negotiated");
	if (verdict == VIRTIO_NET_ERR)
		return;
	before = *state;
	must(control_command(features, max_pairs, bytes, size, state) == VIRTIO_NET_OK &&
			memcmp(state, &before, sizeof(before)) == 0,
		"the same command again has another effect");
}

/* Features and pairs; then commands: their sizes and bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint64_t features = ~input_word(&in, 8); /* so that an input of zeros has all */
	uint16_t max_pairs = (uint16_t)(1 + input_byte(&in) % SIM_MAX_CONTROL_PAIRS);
	struct sim_control state = { .flags = SIM_CONTROL_ANNOUNCE }; /* as a guest that arrived */

	for (int i = 0; i < MAX_COMMANDS && in.size > 0; i++) {
		uint32_t n = (uint32_t)input_word(&in, 2) % (CONTROL_MAX_COMMAND + 1);
		uint8_t *bytes;

		n = n < in.size ? n : (uint32_t)in.size;
		bytes = malloc(n > 0 ? n : 1);
		must(bytes, "no memory");
		if (n > 0)
			memcpy(bytes, in.data, n);
		in.data += n;
		in.size -= n;
		carry_out(features, max_pairs, bytes, n, &state);
		free(bytes);
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints the table of messages as docs/messages.md shows it; a unit test compares the two. */
#include <stdio.h>

#include "protocol/table.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/features.h"
#include "vdpa/health.h"

static const char head[] =
	"# Messages\n"
	"\n"
	"Made from [protocol/table.c](../protocol/table.c) by `meson compile -C build messages`; a unit\n"
	"test compares the two. Every message of the specification is here. One without an entry under\n"
	"*payload* is not built: it is refused like a message that nobody knows.\n"
	"\n"
	"*payload*: bytes, `+` when more may follow. *ring*: has to be below the number of queues;\n"
	"*stopped*: refused while the device serves it. *failed*: what becomes of it on a failed device.\n"
	"*reply*: `ack` when the front-end asks for it, `ack, always` also else, `own` always; where neither is possible a refusal\n"
	"ends the connection. `own or empty`: refused by a reply without a body; `own or\n"
	"zeros`: by a body of zeros. `ack, no fd`: always, with bit 8 set. `ack or own`: own while the front-end\n"
	"listens for page faults. What then has to follow, the same message or, of slots, the last one, with 8 bytes\n"
	"of zeros and without descriptors, is recognised before the table is asked; anything but that and more\n"
	"slots ends the connection.\n"
	"\n"
	"| | message | payload | descriptors | ring | needs | failed | reply |\n"
	"|---|---|---|---|---|---|---|---|\n";

static const char *const fds[] = {
	[FDS_NONE] = "",
	[FDS_ONE] = "1",
	[FDS_ONE_OR_NONE] = "1 or none",
	[FDS_BY_WORD] = "1 or 0",
	[FDS_PER_REGION] = "1 a region",
};

static const char *const rings[] = {
	[RING_NOWHERE] = "",
	[RING_IN_STATE] = "index",
	[RING_IN_ADDR] = "index",
	[RING_IN_FD_WORD] = "low byte",
};

static const char *const replies[] = {
	[REPLY_ACK] = "ack",
	[REPLY_OWN] = "own",
	[REPLY_OWN_EMPTY] = "own or empty",
	[REPLY_OWN_ZERO] = "own or zeros",
	[REPLY_ACK_NO_FD] = "ack, no fd",
	[REPLY_ACK_ALWAYS] = "ack, always",
	[REPLY_ACK_OR_OWN] = "ack or own",
};

static void print_needs(const struct message_desc *row)
{
	const char *name = protocol_feature_name(row->needs - 1U);

	if (row->needs != NEEDS_NOTHING)
		printf("%s", name ? name : "?");
	for (unsigned int i = 0; i < 64; i++) {
		if (row->needs_virtio & BIT_ULL(i))
			printf(", virtio bit %u", i);
	}
}

static void print_row(uint32_t request, const struct message_desc *row)
{
	if (!row->handle) {
		printf("| %u | %s | | | | | | |\n", request, row->name);
		return;
	}
	printf("| %u | %s | %u%s | %s | %s%s | ", request, row->name, row->size,
		row->check_size ? "+" : "", fds[row->fds], rings[row->ring],
		row->ring_state == RING_STOPPED ? ", stopped" : "");
	print_needs(row);
	printf(" | %s | %s |\n", row->states & BIT(DEVICE_FAILED) ? "" : "refused",
		replies[row->reply]);
}

int main(void)
{
	fputs(head, stdout);
	for (uint32_t i = 1; i < WIRE_N_REQUESTS; i++)
		print_row(i, message_find(i));
	return fflush(stdout) == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints the tables of messages and of protocol features, as docs/messages.md shows them, or with --json
 * for programs. A unit test compares the page with what this says.
 */
#include <stdio.h>
#include <string.h>

#include "protocol/offer.h"
#include "protocol/table.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/features.h"
#include "vdpa/health.h"

/* A value of a column: for programs, and for people. */
struct word {
	const char *name;
	const char *text;
};

static const char head[] =
	"# Messages\n"
	"\n"
	"Made from the tables in [protocol/table.c](../protocol/table.c) and\n"
	"[protocol/offer.c](../protocol/offer.c) by `meson compile -C build messages`; a unit test compares\n"
	"them. What becomes of each message in each state of a device is in\n"
	"[message-states.md](message-states.md).\n"
	"\n"
	"## Messages that are served\n"
	"\n"
	"*bytes*: of the payload. *ring*: the payload says which ring it is about; one that the device does\n"
	"not have is refused. *needs*: a protocol feature that was negotiated, or a bit that the device\n"
	"offers. *device*: what it must not be. *reply*: how a front-end learns of success and failure;\n"
	"where there is no way to say that something failed, the connection ends.\n"
	"\n"
	"While a front-end listens for page faults, the acknowledgement that has to follow a reply with\n"
	"addresses is recognised before the table is asked: the same message or, of slots, the last one, with\n"
	"8 bytes of zeros and without descriptors. Anything but that and more slots ends the connection.\n"
	"\n"
	"| | message | bytes | descriptors | ring | needs | device | reply |\n"
	"|---|---|---|---|---|---|---|---|\n";

static const char refused_head[] =
	"\n"
	"## Messages that nobody serves\n"
	"\n"
	"They are refused like one that nobody knows; the log, and `vdpa dev status show`, tell why.\n"
	"\n"
	"| | message | feature | why |\n"
	"|---|---|---|---|\n";

static const char features_head[] =
	"\n"
	"## Protocol features\n"
	"\n"
	"What a device offers never changes, so that a front-end finds the same when it comes back.\n"
	"\n"
	"| bit | feature | offered |\n"
	"|---|---|---|\n";

static const struct word fds[] = {
	[FDS_NONE] = { "0", "none" },
	[FDS_ONE] = { "1", "one" },
	[FDS_ONE_OR_NONE] = { "1 or none", "one or none" },
	[FDS_BY_WORD] = { "1 or 0", "one; none with bit 8" },
	[FDS_PER_REGION] = { "1 a region", "one a region" },
};

static const struct word rings[] = {
	[RING_NOWHERE] = { "", "" },
	[RING_IN_STATE] = { "index", "first 4 bytes" },
	[RING_IN_ADDR] = { "index", "first 4 bytes" },
	[RING_IN_FD_WORD] = { "low byte", "first byte" },
};

static const struct word replies[] = {
	[REPLY_ACK] = { "ack", "acknowledged if asked for" },
	[REPLY_OWN] = { "own", "its own" },
	[REPLY_OWN_EMPTY] = { "own or empty", "its own; empty if refused" },
	[REPLY_OWN_ZERO] = { "own or zeros", "its own; zeros if refused" },
	[REPLY_ACK_ALWAYS] = { "ack, always", "acknowledged always" },
	[REPLY_ACK_NO_FD] = { "ack, no fd", "acknowledged always, with bit 8" },
	[REPLY_ACK_OR_OWN] = { "ack or own",
		"acknowledged if asked for; its own while page faults are listened for" },
};

static const char *protocol_feature(uint8_t needs)
{
	const char *name = needs == NEEDS_NOTHING ? "" : protocol_feature_name(needs - 1U);

	return name ? name : "?";
}

/* The bit that a row wants to be offered, or accepted, the only one; -1: none. */
static int bit_of(uint64_t bits)
{
	return bits ? __builtin_ctzll(bits) : -1;
}

static void print_needs(const struct message_desc *row)
{
	fputs(protocol_feature(row->needs), stdout);
	if (row->needs_virtio)
		printf(", virtio bit %d (%s)", bit_of(row->needs_virtio),
			feature_name((unsigned int)bit_of(row->needs_virtio)));
	if (row->needs_accepted)
		printf("virtio bit %d (%s), accepted", bit_of(row->needs_accepted),
			feature_name((unsigned int)bit_of(row->needs_accepted)));
}

static void print_served(uint32_t request, const struct message_desc *row)
{
	printf("| %u | %s | ", request, row->name);
	if (row->check_size)
		fputs(row->sizes, stdout);
	else
		printf("%u", row->size);
	printf(" | %s | %s%s | ", fds[row->fds].text, rings[row->ring].text,
		row->ring_state == RING_STOPPED ? "; not running" : "");
	print_needs(row);
	printf(" | %s | %s |\n", row->states & BIT(DEVICE_FAILED) ? "" : "failed",
		replies[row->reply].text);
}

static void print_offers(void)
{
	const struct offer_desc *offer;

	fputs(features_head, stdout);
	for (unsigned int bit = 0; (offer = offer_find(bit)) != NULL; bit++)
		printf("| %u | %s | %s%s |\n", bit, protocol_feature_name(bit),
			offer->always ? "always" : offer->device_can ? "if " : "no: ",
			offer->always ? "" : offer->device_can ? offer->when : offer->why);
}

static void print_page(void)
{
	fputs(head, stdout);
	for (uint32_t i = 0; i < WIRE_N_REQUESTS; i++) {
		if (message_find(i)->handle)
			print_served(i, message_find(i));
	}
	fputs(refused_head, stdout);
	for (uint32_t i = 0; i < WIRE_N_REQUESTS; i++) {
		const struct message_desc *row = message_find(i);

		if (!row->handle)
			printf("| %u | %s | %s | %s |\n", i, row->name, protocol_feature(row->needs), row->why);
	}
	print_offers();
}

/* No text in the tables has a quote or a backslash. */
static void print_json_row(uint32_t request, const struct message_desc *row)
{
	printf("{\"number\": %u, \"name\": \"%s\", \"served\": %s, \"why\": \"%s\", \"size\": %u, "
	       "\"more\": %s, \"fds\": \"%s\", \"ring\": \"%s\", \"stopped\": %s, \"needs\": \"%s\", "
	       "\"virtio\": %d, \"accepted\": %d, \"failed\": \"%s\", \"reply\": \"%s\"}%s\n",
		request, row->name, row->handle ? "true" : "false", row->why ? row->why : "", row->size,
		row->check_size ? "true" : "false", fds[row->fds].name, rings[row->ring].name,
		row->ring_state == RING_STOPPED ? "true" : "false", protocol_feature(row->needs),
		bit_of(row->needs_virtio), bit_of(row->needs_accepted), row->states & BIT(DEVICE_FAILED) ? "accepted" : "refused",
		replies[row->reply].name, request + 1 < WIRE_N_REQUESTS ? "," : "");
}

static void print_json(void)
{
	fputs("[\n", stdout);
	for (uint32_t i = 0; i < WIRE_N_REQUESTS; i++)
		print_json_row(i, message_find(i));
	fputs("]\n", stdout);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--json") == 0)
		print_json();
	else
		print_page();
	return fflush(stdout) == 0 ? 0 : 1;
}

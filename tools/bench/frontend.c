/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front-end for measuring back-ends: it sends what QEMU and DPDK's virtio-user send until their
 * device runs, in their order, and takes the time.
 *
 *   frontend SOCKET ready qemu|virtio-user PAIRS COUNT MEMORY_MIB
 *	COUNT times: connect, start, disconnect. A line each, in microseconds:
 *	FIRST CONNECT TABLE START MESSAGES
 *	FIRST is connect(2) to the first answer, which holds the back-end's delay in accepting;
 *	CONNECT the rest of the negotiation; TABLE the first SET_MEM_TABLE, of fresh memory that
 *	nobody has touched, up to its acknowledgement; START all else until the device runs.
 *
 *   frontend SOCKET trip BLOCKS COUNT
 *	BLOCKS lines: nanoseconds of a GET_FEATURES round trip, the mean of COUNT.
 *
 * A message without an answer costs the front-end only its sending, so each phase ends with a
 * round trip: what is measured is the work, not the queue it waits in.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "messages.h"

#define MAX_PAIRS   64
#define RING_SIZE   256U
#define RING_STRIDE 0x4000U	 /* a ring's descriptors, available and used part */
#define GUEST_BASE  0x100000000ULL

/* QEMU repeats the set of SET_VRING_ENABLE at each reset and feature write of a booting guest. */
#define QEMU_ENABLE_SETS 6

static struct {
	int fd;
	unsigned int pairs, messages;
	uint64_t offered, features, protocol;
	size_t memory_size;
	uint8_t *memory;
	int memory_fd, call[2 * MAX_PAIRS], kick[2 * MAX_PAIRS], err;
	int channel; /* our end of the back-end's own channel; -1: none */
} fe;

static void send_message(const struct message *msg, int fd)
{
	message_send(fe.fd, msg, fd);
	fe.messages++;
}

static uint64_t receive(uint32_t request)
{
	return message_receive(fe.fd, request);
}

static uint64_t get(uint32_t request)
{
	struct message msg = { .request = request, .flags = FLAG_VERSION };

	send_message(&msg, -1);
	return receive(request);
}

static void acked(struct message *msg, int fd)
{
	msg->flags = FLAG_VERSION | FLAG_NEED_REPLY;
	send_message(msg, fd);
	if (receive(msg->request) != 0) {
		fprintf(stderr, "frontend: request %u was refused\n", msg->request);
		exit(1);
	}
}

static void set_owner(void)
{
	struct message msg = { .request = SET_OWNER, .flags = FLAG_VERSION };

	send_message(&msg, -1);
}

static void set(uint32_t request, uint64_t value)
{
	struct message msg = { request, FLAG_VERSION, sizeof(msg.u64), .u64 = value };

	send_message(&msg, -1);
}

static void set_acked(uint32_t request, uint64_t value)
{
	struct message msg = { request, FLAG_VERSION, sizeof(msg.u64), .u64 = value };

	acked(&msg, -1);
}

static void set_ring(uint32_t request, unsigned int ring, unsigned int value)
{
	struct message msg = { request, FLAG_VERSION, sizeof(msg.state), .state = { ring, value } };

	send_message(&msg, -1);
}

static void set_ring_fd(uint32_t request, unsigned int ring, int fd)
{
	struct message msg = { request, FLAG_VERSION, sizeof(msg.u64), .u64 = ring };

	send_message(&msg, fd);
}

/* @uva_is_gpa: virtio-user's guest addresses are its own. */
static void set_table(bool uva_is_gpa)
{
	struct message msg = { SET_MEM_TABLE, FLAG_VERSION, sizeof(msg.table), .table = {
		.n = 1, .size = fe.memory_size, .uva = (uintptr_t)fe.memory,
		.gpa = uva_is_gpa ? (uintptr_t)fe.memory : GUEST_BASE,
	} };

	acked(&msg, fe.memory_fd);
}

static void set_ring_addr(unsigned int ring, bool with_log)
{
	uint64_t at = (uintptr_t)fe.memory + (uint64_t)ring * RING_STRIDE;
	struct message msg = { SET_VRING_ADDR, FLAG_VERSION, sizeof(msg.addr), .addr = {
		.index = ring, .desc_user_addr = at, .avail_user_addr = at + 0x1000,
		.used_user_addr = at + 0x2000,
		.log_guest_addr = with_log ? GUEST_BASE + (uint64_t)ring * RING_STRIDE + 0x2000 : 0,
	} };

	send_message(&msg, -1);
}

static void negotiate_protocol(uint64_t wanted)
{
	fe.protocol = get(GET_PROTOCOL_FEATURES) & wanted;
	set(SET_PROTOCOL_FEATURES, fe.protocol);
}

static void choose_features(void)
{
	uint64_t wanted = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MRG_RXBUF |
			1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |
			1ULL << VIRTIO_NET_F_MQ | 1ULL << 30;

	fe.features = fe.offered & wanted;
}

/* ------------------------------------------------------------------- QEMU */

static void qemu_ring_fds(unsigned int pair)
{
	unsigned int ring;

	for (ring = 2 * pair; ring < 2 * pair + 2; ring++) {
		set_ring_fd(SET_VRING_CALL, ring, fe.call[ring]);
		set_ring_fd(SET_VRING_ERR, ring, fe.err);
	}
}

static void qemu_enable(void)
{
	unsigned int ring;

	for (ring = 0; ring < 2 * fe.pairs; ring++)
		set_ring(SET_VRING_ENABLE, ring, ring < 2);
}

static void qemu_connect(void)
{
	struct message channel = { .request = SET_BACKEND_REQ_FD };
	int pair[2];
	unsigned int i;

	negotiate_protocol(UINT64_MAX);
	if (fe.protocol & PROTOCOL_MQ)
		get(GET_QUEUE_NUM);
	if (fe.protocol & PROTOCOL_BACKEND) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
			die("socketpair");
		acked(&channel, pair[1]);
		close(pair[1]);
		fe.channel = pair[0];
	}
	set_owner();
	get(GET_FEATURES);
	qemu_ring_fds(0);
	for (i = 1; i < fe.pairs; i++) {
		get(GET_FEATURES);
		negotiate_protocol(UINT64_MAX);
		get(GET_FEATURES);
		qemu_ring_fds(i);
	}
	for (i = 0; i < QEMU_ENABLE_SETS; i++)
		qemu_enable();
}

static void qemu_start_pair(unsigned int pair)
{
	unsigned int ring;

	for (ring = 2 * pair; ring < 2 * pair + 2; ring++) {
		set_ring(SET_VRING_NUM, ring, RING_SIZE);
		set_ring(SET_VRING_BASE, ring, 0);
		set_ring_addr(ring, true);
		set_ring_fd(SET_VRING_KICK, ring, fe.kick[ring]);
		set_ring_fd(SET_VRING_CALL, ring, fe.call[ring]);
	}
}

static uint64_t qemu_start(void)
{
	unsigned int i;
	uint64_t begun, table;

	set(SET_FEATURES, fe.features);
	get(GET_STATUS);
	set(SET_STATUS, VIRTIO_CONFIG_S_FEATURES_OK);
	begun = now_ns();
	set_table(false);
	table = now_ns() - begun;
	qemu_start_pair(0);
	for (i = 1; i < fe.pairs; i++) {
		set(SET_FEATURES, fe.features);
		get(GET_STATUS);
		qemu_start_pair(i);
	}
	get(GET_STATUS);
	set(SET_STATUS, 0xf);
	for (i = 0; fe.pairs > 1 && i < 2 * fe.pairs; i++)
		set_ring(SET_VRING_ENABLE, i, 1);
	return table;
}

/* ------------------------------------------------------------ virtio-user */

static void virtio_user_connect(void)
{
	unsigned int ring;

	negotiate_protocol(PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_STATUS);
	for (ring = 0; ring < 2 * fe.pairs; ring++)
		set_ring_fd(SET_VRING_CALL, ring, fe.call[ring]);
}

static void virtio_user_start_ring(unsigned int ring)
{
	set_ring(SET_VRING_NUM, ring, RING_SIZE);
	set_ring(SET_VRING_BASE, ring, 0);
	set_ring_addr(ring, false);
	set_ring_fd(SET_VRING_KICK, ring, fe.kick[ring]);
}

static uint64_t virtio_user_start(void)
{
	unsigned int i;
	uint64_t begun, table;

	set(SET_FEATURES, fe.features);
	set_acked(SET_STATUS, 0xb);
	get(GET_STATUS);
	get(GET_STATUS);
	begun = now_ns();
	set_table(true);
	table = now_ns() - begun;
	for (i = 0; i < fe.pairs; i++)
		virtio_user_start_ring(2 * i);
	for (i = 0; i < fe.pairs; i++)
		virtio_user_start_ring(2 * i + 1);
	set_ring(SET_VRING_ENABLE, 0, 1);
	set_ring(SET_VRING_ENABLE, 1, 1);
	set_acked(SET_STATUS, 0xf);
	for (i = 2; i < 2 * fe.pairs; i++)
		set_ring(SET_VRING_ENABLE, i, 1);
	return table;
}

/* ------------------------------------------------------------------- runs */

static const struct frontend {
	const char *name;
	bool owner_first;
	void (*connect)(void);
	uint64_t (*start)(void); /* nanoseconds of SET_MEM_TABLE */
} frontends[] = {
	{ .name = "qemu", .connect = qemu_connect, .start = qemu_start },
	{ .name = "virtio-user", .owner_first = true, .connect = virtio_user_connect,
	  .start = virtio_user_start },
};

static void make_memory(void)
{
	fe.memory_fd = memfd_create("guest", MFD_CLOEXEC);
	if (fe.memory_fd < 0 || ftruncate(fe.memory_fd, (off_t)fe.memory_size) < 0)
		die("memfd");
	fe.memory = mmap(NULL, fe.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, fe.memory_fd, 0);
	if (fe.memory == MAP_FAILED)
		die("mmap");
}

static void make_eventfds(void)
{
	unsigned int ring;

	fe.err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (ring = 0; ring < 2 * fe.pairs; ring++) {
		fe.call[ring] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		fe.kick[ring] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fe.call[ring] < 0 || fe.kick[ring] < 0)
			die("eventfd");
	}
}

/* The back-end closes its side once it is done with us; the next run finds it idle. */
static void hang_up(void)
{
	struct pollfd gone = { .fd = fe.fd, .events = POLLRDHUP };
	unsigned int ring;

	shutdown(fe.fd, SHUT_WR);
	poll(&gone, 1, 5000);
	close(fe.fd);
	munmap(fe.memory, fe.memory_size);
	close(fe.memory_fd);
	close(fe.err);
	if (fe.channel >= 0)
		close(fe.channel);
	for (ring = 0; ring < 2 * fe.pairs; ring++) {
		close(fe.call[ring]);
		close(fe.kick[ring]);
	}
}

static void ready_once(const char *path, const struct frontend *kind)
{
	uint64_t begun, first, connected, done, table;

	fe.messages = 0;
	make_memory();
	make_eventfds();
	fe.channel = -1;
	begun = now_ns();
	fe.fd = dial(path);
	if (kind->owner_first)
		set_owner();
	fe.offered = get(GET_FEATURES);
	choose_features();
	first = now_ns();
	kind->connect();
	get(GET_FEATURES);
	connected = now_ns();
	table = kind->start();
	get(GET_FEATURES);
	done = now_ns();
	printf("%.1f %.1f %.1f %.1f %u\n", (double)(first - begun) / 1e3,
			(double)(connected - first) / 1e3, (double)table / 1e3,
			(double)(done - connected - table) / 1e3, fe.messages - 2);
	fflush(stdout);
	hang_up();
}

static int ready(int argc, char **argv)
{
	const struct frontend *kind = NULL;
	unsigned long count, i;
	size_t k;

	for (k = 0; argc == 7 && k < sizeof(frontends) / sizeof(frontends[0]); k++)
		if (!strcmp(argv[3], frontends[k].name))
			kind = &frontends[k];
	if (!kind)
		return -EINVAL;
	fe.pairs = (unsigned int)strtoul(argv[4], NULL, 0);
	count = strtoul(argv[5], NULL, 0);
	fe.memory_size = strtoul(argv[6], NULL, 0) << 20;
	if (fe.pairs < 1 || fe.pairs > MAX_PAIRS || fe.memory_size < 2 * MAX_PAIRS * RING_STRIDE)
		return -EINVAL;
	for (i = 0; i < count; i++)
		ready_once(argv[1], kind);
	return 0;
}

static int trip(int argc, char **argv)
{
	unsigned long blocks, count, i, k;
	uint64_t begun;

	if (argc != 5)
		return -EINVAL;
	blocks = strtoul(argv[3], NULL, 0);
	count = strtoul(argv[4], NULL, 0);
	if (count == 0)
		return -EINVAL;
	fe.fd = dial(argv[1]);
	set_owner();
	get(GET_FEATURES);
	for (i = 0; i < blocks; i++) {
		begun = now_ns();
		for (k = 0; k < count; k++)
			get(GET_FEATURES);
		printf("%.1f\n", (double)(now_ns() - begun) / (double)count);
	}
	close(fe.fd);
	return 0;
}

int main(int argc, char **argv)
{
	int r = -EINVAL;

	if (argc > 2 && !strcmp(argv[2], "ready"))
		r = ready(argc, argv);
	else if (argc > 2 && !strcmp(argv[2], "trip"))
		r = trip(argc, argv);
	if (r < 0) {
		fprintf(stderr, "usage: frontend SOCKET ready qemu|virtio-user PAIRS COUNT MEMORY_MIB\n"
				"       frontend SOCKET trip BLOCKS COUNT\n");
		return 2;
	}
	return 0;
}

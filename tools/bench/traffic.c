/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front-end that keeps its devices busy, and can have them log pages as QEMU does: one thread gives
 * each buffer back as soon as its device is done with it, so the sending rings are always full of
 * frames, and the receiving rings of room. Frames are written once, and those received are not read.
 *
 *   traffic split|packed SIZE MAC SOCKET [MAC SOCKET]
 *	SIZE bytes on the wire a frame, with its checksum. Two devices send to each other; one alone
 *	to an address that nobody has.
 *
 * Commands come on standard input, a line each, with an answer of a line or more:
 *   measure SECONDS	million frames a second, received by all devices
 *   log on|off		`ok` when all devices have acknowledged
 *   switch COUNT	COUNT lines of the first device, microseconds: EMPTY ON ACK OFF ACK. The longest time
 *			without a frame received while logging was left alone, begun, and ended;
 *			and how long SET_FEATURES took to be acknowledged.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "messages.h"

#define N_DEVICES   2
#define RING_SIZE   1024U /* the largest that QEMU makes */
#define BUFFER_SIZE 2048U
#define GPA	    (1ULL << 32)
#define DRIVER_AT   0x5000U /* in a ring's part of the memory */
#define DEVICE_AT   0x8000U
#define RING_STRIDE 0x10000U
#define BUFFERS_AT  0x100000U
#define MEMORY_SIZE (BUFFERS_AT + 2 * RING_SIZE * BUFFER_SIZE)
#define LOG_SIZE    ((GPA + MEMORY_SIZE) / 4096 / 8)
#define HEADER_SIZE 12U /* virtio-net's */
#define CHECKSUM    4U
#define WINDOW_NS   3000000 /* that is looked at for a gap, after the acknowledgement */

#define FLAG_AVAIL (1U << VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED  (1U << VRING_PACKED_DESC_F_USED)

struct ring {
	uint8_t *at;
	uint32_t buffers; /* offset in the memory */
	uint32_t length;
	uint16_t flags; /* of each descriptor */
	int kick, call;
	uint16_t next; /* used entry or slot, and buffer given back: they go along */
	bool wrap;
	atomic_ulong done;
};

struct device {
	int sock, memory_fd, log_fd;
	uint8_t *memory;
	uint64_t features;
	struct ring rings[2]; /* receives, sends */
};

static bool packed;
static unsigned int n_devices;
static struct device devices[N_DEVICES];

/* ------------------------------------------------------------------- messages */

static void acked(const struct device *d, struct message msg, int fd)
{
	msg.flags = FLAG_VERSION | FLAG_NEED_REPLY;
	message_send(d->sock, &msg, fd);
	if (message_receive(d->sock, msg.request) != 0) {
		fprintf(stderr, "traffic: request %u was refused\n", msg.request);
		exit(1);
	}
}

static void set(const struct device *d, uint32_t request, uint64_t value, int fd)
{
	acked(d, (struct message){ .request = request, .size = 8, .u64 = value }, fd);
}

static void set_ring(const struct device *d, uint32_t request, uint32_t ring, uint32_t value)
{
	acked(d, (struct message){ .request = request, .size = 8, .state = { ring, value } }, -1);
}

static uint64_t get(const struct device *d, uint32_t request)
{
	struct message msg = { .request = request, .flags = FLAG_VERSION };

	message_send(d->sock, &msg, -1);
	return message_receive(d->sock, request);
}

static void set_addr(const struct device *d, uint32_t ring, bool log)
{
	uint64_t at = GPA + ring * RING_STRIDE;

	/* The memory table says that our addresses are the guest's. */
	acked(d, (struct message){ .request = SET_VRING_ADDR, .size = sizeof(struct vhost_vring_addr),
		.addr = { .index = ring, .flags = log, .desc_user_addr = at,
			.used_user_addr = at + DEVICE_AT, .avail_user_addr = at + DRIVER_AT,
			.log_guest_addr = at + DEVICE_AT } }, -1);
}

static void negotiate(struct device *d)
{
	const struct message owner = { .request = SET_OWNER, .flags = FLAG_VERSION };
	uint64_t wanted = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << 30;

	wanted |= packed ? 1ULL << VIRTIO_F_RING_PACKED : 0;
	message_send(d->sock, &owner, -1);
	d->features = get(d, GET_FEATURES) & wanted;
	if (d->features != wanted) {
		fprintf(stderr, "traffic: of features %#llx there are %#llx\n",
			(unsigned long long)wanted, (unsigned long long)d->features);
		exit(1);
	}
	wanted = PROTOCOL_LOG_SHMFD | PROTOCOL_REPLY_ACK | PROTOCOL_STATUS;
	if ((get(d, GET_PROTOCOL_FEATURES) & wanted) != wanted)
		die("protocol features");
	message_send(d->sock, &(struct message){ SET_PROTOCOL_FEATURES, FLAG_VERSION, 8, .u64 = wanted },
		-1);
	set(d, SET_FEATURES, d->features, -1);
	set(d, SET_STATUS, VIRTIO_CONFIG_S_FEATURES_OK, -1);
}

static void start(struct device *d)
{
	negotiate(d);
	acked(d, (struct message){ .request = SET_MEM_TABLE, .size = sizeof(((struct message *)0)->table),
		.table = { .n = 1, .gpa = GPA, .size = MEMORY_SIZE, .uva = GPA } }, d->memory_fd);
	for (uint32_t i = 0; i < 2; i++) {
		set_ring(d, SET_VRING_NUM, i, RING_SIZE);
		set_ring(d, SET_VRING_BASE, i, packed ? 0x80008000U : 0);
		set_addr(d, i, false);
		set(d, SET_VRING_KICK, i, d->rings[i].kick);
		set(d, SET_VRING_CALL, i, d->rings[i].call);
	}
	for (uint32_t i = 0; i < 2; i++)
		set_ring(d, SET_VRING_ENABLE, i, 1);
	set(d, SET_STATUS, 0xf, -1);
}

/* In QEMU's order. The log stays known when logging ends, as there. */
static void set_logging(struct device *d, bool on)
{
	if (on) {
		struct message msg = { SET_LOG_BASE, FLAG_VERSION, 16, .log = { LOG_SIZE, 0 } };

		message_send(d->sock, &msg, d->log_fd);
		message_receive(d->sock, SET_LOG_BASE);
	}
	set(d, SET_FEATURES, d->features | (on ? 1ULL << VHOST_F_LOG_ALL : 0), -1);
	for (uint32_t i = 0; i < 2; i++)
		set_addr(d, i, on);
}

/* ---------------------------------------------------------------------- rings */

static uint64_t buffer_gpa(const struct ring *r, uint16_t id)
{
	return GPA + r->buffers + id * BUFFER_SIZE;
}

/* The round's flags change by one store, as virtio asks for. */
static void put_packed(const struct ring *r, uint16_t slot, uint16_t id, bool wrap)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)(void *)r->at + slot;

	d->addr = buffer_gpa(r, id);
	d->len = r->length;
	d->id = id;
	__atomic_store_n(&d->flags, (uint16_t)(r->flags | (wrap ? FLAG_AVAIL : FLAG_USED)),
		__ATOMIC_RELEASE);
}

static uint32_t recycle_packed(struct ring *r)
{
	const struct vring_packed_desc *ring = (void *)r->at;
	uint32_t n;

	for (n = 0; n < RING_SIZE; n++) {
		uint16_t flags = __atomic_load_n(&ring[r->next].flags, __ATOMIC_ACQUIRE);

		if (!(flags & FLAG_AVAIL) == r->wrap || !(flags & FLAG_USED) == r->wrap)
			break;
		put_packed(r, r->next, ring[r->next].id, !r->wrap);
		if (++r->next == RING_SIZE) {
			r->next = 0;
			r->wrap = !r->wrap;
		}
	}
	return n;
}

static uint32_t recycle_split(struct ring *r)
{
	struct vring_avail *avail = (void *)(r->at + DRIVER_AT);
	const struct vring_used *used = (void *)(r->at + DEVICE_AT);
	uint16_t until = __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
	uint32_t n;

	for (n = 0; r->next != until; n++, r->next++)
		avail->ring[r->next % RING_SIZE] = (uint16_t)used->ring[r->next % RING_SIZE].id;
	if (n > 0)
		__atomic_store_n(&avail->idx, (uint16_t)(r->next + RING_SIZE), __ATOMIC_RELEASE);
	return n;
}

static bool wants_kick(const struct ring *r)
{
	const struct vring_packed_desc_event *event = (void *)(r->at + DEVICE_AT);
	const struct vring_used *used = (void *)(r->at + DEVICE_AT);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return packed ? __atomic_load_n(&event->flags, __ATOMIC_RELAXED) != VRING_PACKED_EVENT_FLAG_DISABLE
		      : !(__atomic_load_n(&used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
}

/* Return: buffers that came back. */
static uint32_t recycle(struct ring *r)
{
	uint32_t n = packed ? recycle_packed(r) : recycle_split(r);
	uint64_t one = 1;

	if (n == 0)
		return 0;
	if (wants_kick(r) && write(r->kick, &one, sizeof(one)) < 0 && errno != EAGAIN)
		die("kick");
	atomic_store_explicit(&r->done, atomic_load_explicit(&r->done, memory_order_relaxed) + n,
		memory_order_relaxed);
	return n;
}

static void fill(struct ring *r)
{
	struct vring_desc *desc = (void *)r->at;
	struct vring_avail *avail = (void *)(r->at + DRIVER_AT);
	struct vring_packed_desc_event *event = (void *)(r->at + DRIVER_AT);

	r->wrap = true;
	if (packed)
		event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	for (uint16_t i = 0; i < RING_SIZE; i++) {
		if (packed) {
			put_packed(r, i, i, true);
			continue;
		}
		desc[i] = (struct vring_desc){ buffer_gpa(r, i), r->length, r->flags, 0 };
		avail->ring[i] = i;
	}
	if (!packed)
		avail->idx = RING_SIZE;
}

/* --------------------------------------------------------------------- memory */

static void parse_mac(const char *text, uint8_t *ret)
{
	for (int i = 0; i < 6; i++)
		ret[i] = (uint8_t)strtoul(text + 3 * i, NULL, 16);
}

static void write_frames(struct device *d, uint32_t length, const uint8_t *from, const uint8_t *to)
{
	for (uint32_t i = 0; i < RING_SIZE; i++) {
		uint8_t *frame = d->memory + d->rings[1].buffers + i * BUFFER_SIZE + HEADER_SIZE;

		memcpy(frame, to, 6);
		memcpy(frame + 6, from, 6);
		frame[12] = 0x88; /* an EtherType for experiments */
		frame[13] = 0xb5;
		memset(frame + 14, (int)i, length - 14);
	}
}

static void make_device(struct device *d, uint32_t length, const uint8_t *from, const uint8_t *to)
{
	d->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	d->log_fd = memfd_create("log", MFD_CLOEXEC);
	if (d->memory_fd < 0 || ftruncate(d->memory_fd, MEMORY_SIZE) < 0 || d->log_fd < 0 ||
		ftruncate(d->log_fd, LOG_SIZE) < 0)
		die("memfd");
	d->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->memory_fd, 0);
	if (d->memory == MAP_FAILED)
		die("mmap");
	for (uint32_t i = 0; i < 2; i++) {
		struct ring *r = &d->rings[i];

		r->at = d->memory + i * RING_STRIDE;
		r->buffers = BUFFERS_AT + i * RING_SIZE * BUFFER_SIZE;
		r->flags = i == 0 ? VRING_DESC_F_WRITE : 0;
		r->length = i == 0 ? BUFFER_SIZE : HEADER_SIZE + length;
		r->kick = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
		r->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (r->kick < 0 || r->call < 0)
			die("eventfd");
		memset(d->memory + r->buffers, 0, RING_SIZE * BUFFER_SIZE);
		fill(r);
	}
	write_frames(d, length, from, to);
}

/* -------------------------------------------------------------------- traffic */

static struct {
	atomic_bool open; /* the window, in which gaps count */
	atomic_ulong longest_ns;
} gap;

static void *traffic(void *unused)
{
	struct ring *watched = &devices[0].rings[0];
	uint64_t last = now_ns();

	for (;;) {
		for (unsigned int i = 0; i < n_devices; i++) {
			uint32_t received = recycle(&devices[i].rings[0]);
			uint64_t now;

			recycle(&devices[i].rings[1]);
			if (received == 0 || &devices[i].rings[0] != watched)
				continue;
			now = now_ns();
			if (atomic_load_explicit(&gap.open, memory_order_relaxed) &&
				now - last > atomic_load_explicit(&gap.longest_ns, memory_order_relaxed))
				atomic_store(&gap.longest_ns, now - last);
			last = now;
		}
	}
	return unused;
}

static void wait_ns(uint64_t ns)
{
	nanosleep(&(struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) }, NULL);
}

static uint64_t received(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < n_devices; i++)
		sum += atomic_load(&devices[i].rings[0].done);
	return sum;
}

/* ------------------------------------------------------------------- commands */

static void measure(const char *seconds)
{
	uint64_t before = received(), begun = now_ns(), ended;

	wait_ns((uint64_t)(strtod(seconds, NULL) * 1e9));
	ended = now_ns();
	printf("%.4f\n", (double)(received() - before) * 1e3 / (double)(ended - begun));
}

static void change_log(const char *how)
{
	for (unsigned int i = 0; i < n_devices; i++)
		set_logging(&devices[i], !strcmp(how, "on"));
	printf("ok\n");
}

/* The longest gap around SET_FEATURES, or while nothing is said when @features is 0. */
static double gap_around(struct device *d, uint64_t features, double *ret_acked)
{
	uint64_t begun = now_ns();

	atomic_store(&gap.longest_ns, 0);
	atomic_store(&gap.open, true);
	if (features)
		set(d, SET_FEATURES, features, -1);
	*ret_acked = (double)(now_ns() - begun) / 1e3;
	wait_ns(WINDOW_NS);
	atomic_store(&gap.open, false);
	wait_ns(WINDOW_NS / 10);
	return (double)atomic_load(&gap.longest_ns) / 1e3;
}

static void change_way(const char *count)
{
	struct device *d = &devices[0];

	set_logging(d, true);
	set_logging(d, false);
	for (unsigned long n = strtoul(count, NULL, 0); n > 0; n--) {
		double none, on_acked, off_acked;
		double empty = gap_around(d, 0, &none);
		double on = gap_around(d, d->features | 1ULL << VHOST_F_LOG_ALL, &on_acked);
		double off = gap_around(d, d->features, &off_acked);

		printf("%.1f %.1f %.1f %.1f %.1f\n", empty, on, on_acked, off, off_acked);
	}
}

static const struct command {
	const char *name;
	void (*run)(const char *argument);
} commands[] = {
	{ "measure", measure },
	{ "log", change_log },
	{ "switch", change_way },
};

static int serve(void)
{
	char line[64], name[16], argument[16];

	while (fgets(line, sizeof(line), stdin)) {
		size_t i, n = sizeof(commands) / sizeof(commands[0]);

		if (sscanf(line, "%15s %15s", name, argument) != 2)
			return 2;
		for (i = 0; i < n && strcmp(name, commands[i].name); i++)
			;
		if (i == n)
			return 2;
		commands[i].run(argument);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint8_t macs[N_DEVICES][6] = { { 0 }, { 0x52, 0x54, 0, 0xff, 0xff, 0xff } };
	pthread_t thread;
	uint32_t length;

	if ((argc != 5 && argc != 7) || strtoul(argv[2], NULL, 0) < 64 ||
		strtoul(argv[2], NULL, 0) > BUFFER_SIZE - HEADER_SIZE) {
		fprintf(stderr, "usage: traffic split|packed SIZE MAC SOCKET [MAC SOCKET]\n");
		return 2;
	}
	packed = !strcmp(argv[1], "packed");
	length = (uint32_t)strtoul(argv[2], NULL, 0) - CHECKSUM;
	n_devices = (unsigned int)(argc - 3) / 2;
	for (unsigned int i = 0; i < n_devices; i++)
		parse_mac(argv[3 + 2 * i], macs[i]);
	for (unsigned int i = 0; i < n_devices; i++) {
		make_device(&devices[i], length, macs[i], macs[!i]);
		devices[i].sock = dial(argv[4 + 2 * i]);
		start(&devices[i]);
	}
	if (pthread_create(&thread, NULL, traffic, NULL) != 0)
		die("pthread_create");
	return serve();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simnic with a data thread, and a function whose driver asks for anything, with any descriptors,
 * while its guest writes to rings and buffers, sends commands, and may be behind an IOMMU; a second
 * function gets the frames that come of it. Whatever the two do, each request has one answer of its
 * form, memory is mapped and translated without overlaps, a queue that is prepared or runs has its
 * ring in mapped memory, what commands set is what they can set, frames that wait are counted, and
 * when the function goes nothing of it is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tools/simnic/backlog.h"
#include "tools/simnic/control.h"
#include "tools/simnic/control_command.h"
#include "tools/simnic/eal.h"
#include "tools/simnic/frame.h"
#include "tools/simnic/function.h"
#include "tools/simnic/mailbox.h"
#include "tools/simnic/memory.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/queues.h"
#include "tools/simnic/ring.h"
#include "tools/simnic/thread.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

#define MAX_STEPS 120
#define IOVA      0x40000000ULL
#define RING_STEP 0x4000ULL /* descriptors, 0x2000 on the available ring, 0x3000 the used one */
#define RING_SIZE 16
#define BUFFERS   0x20000ULL
#define CONTROL_QUEUE 4U

enum op {
	OP_ASK,
	OP_ASK_TOO,
	OP_ASK_ANY, /* with bytes that are changed, or other descriptors */
	OP_OPEN,    /* what a driver asks for so that its queues run */
	OP_OFFER,   /* the guest offers chains, and kicks */
	OP_OFFER_TOO,
	OP_POKE, /* the guest writes anywhere */
	OP_CUT,
	OP_ATTACH, /* another driver comes */
	OP_COMMAND, /* the guest sends one through its control queue */
	OP_ANSWER,  /* what queues wait for is translated */
	OP_FRAMES,  /* for the function, from the other one */
	OP_N
};

static struct nic nic;
static struct function *function, *peer;
static int mailbox = -1, peer_mailbox = -1;
static uint32_t seq;
static uint32_t n_waiting; /* frames, as they were counted here */
static bool address_was_brought;

/* ------------------------------------------------------------------------------- process */

/* As tools/simnic/main.c. */
static void on_attention(struct source *source)
{
	uint64_t value;

	(void)!read(source->fd, &value, sizeof(value));
	for (uint32_t i = 0; i < nic.n_slots; i++) {
		struct function *f = nic.functions[i];

		if (!f || !atomic_exchange(&f->faulty_any, false))
			continue;
		nic_pause(&nic);
		function_rescan(f);
		nic_resume(&nic);
		for (uint16_t q = 0; q < f->n_queues; q++) {
			if (atomic_fetch_and(&f->faulty[q / 64], ~BIT_ULL(q % 64)) &
				BIT_ULL(q % 64))
				mailbox_event(f, SIM_EVENT_QUEUE_ERROR, q);
			if (atomic_fetch_and(&f->waiting_queues[q / 64], ~BIT_ULL(q % 64)) &
				BIT_ULL(q % 64))
				mailbox_event(f, SIM_EVENT_MISS, q);
		}
		if (f->memory_lost)
			f->regs->status = SIM_FUNCTION_FAILED;
	}
}

static void run_loop(void)
{
	struct epoll_event event;

	for (int i = 0; i < 20 && epoll_wait(nic.loop.epoll_fd, &event, 1, 0) > 0; i++) {
		struct source *source = event.data.ptr;

		source->ready(source);
	}
}

static void start_nic(void)
{
	int attention = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	nic.options = (struct options){ .name = "fuzz",
		.listen_fd = -1,
		.uplink = UPLINK_LOOP,
		.uplink_text = "loop",
		.threads = 1,
		.memory_mb = 32,
		.flood_limit = 0,
		.dirty_log = LOG_ALL,
		.log_level = LOG_LEVEL_ERROR };
	must(loop_init(&nic.loop) == 0 &&
			loop_add(&nic.loop, &nic.attention, attention, on_attention) == 0,
		"no loop");
	must(eal_start(&nic.options, &nic.pool) == 0, "DPDK does not start");
	must(memory_watch(&nic) == 0, "no signal handler");
	must(signaller_open(&nic.signaller) == 0, "no asynchronous requests");
	nic.page_faults = postcopy_possible() == 0;
	must(thread_create(&nic, UINT32_MAX, &nic.own) == 0 &&
			thread_create(&nic, 0, &nic.threads[0]) == 0,
		"no thread");
	nic.n_threads = 1;
	must(thread_start(nic.threads[0]) == 0, "no thread");
	must(control_open(&nic) == 0, "no timer");
}

/* The data thread had its turn. */
static void let_work(void)
{
	for (int i = 0; i < 4; i++)
		sched_yield();
	nic_pause(&nic);
	nic_resume(&nic);
}

/* ------------------------------------------------------------------------------- requests */

static size_t ask(int sock, uint32_t command, const union sim_payload *payload, size_t size,
	const int *fds, size_t n_fds)
{
	struct sim_message m = {
		.header = { .command = command, .seq = ++seq, .size = (uint32_t)size }
	};

	memcpy(&m.payload, payload, size < sizeof(m.payload) ? size : sizeof(m.payload));
	if (size > sizeof(m.payload))
		size = sizeof(m.payload);
	return fdmsg_send(sock, &m, sizeof(m.header) + size, fds, n_fds) == 0;
}

/* Return: whether there was one; events are passed over. */
static bool take_answer(int sock, uint32_t command, int *ret_status)
{
	struct sim_message m;
	int fds[4];
	size_t n_fds = 0;
	ssize_t n;

	while ((n = fdmsg_recv(sock, &m, sizeof(m), fds, ARRAY_SIZE(fds), &n_fds, MSG_DONTWAIT)) >
		0) {
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		must(n == (ssize_t)(sizeof(m.header) + m.header.size),
			"an answer of %zd bytes says %u", n, m.header.size);
		if (m.header.command == SIM_EVENT && m.header.seq == 0)
			continue;
		must(m.header.seq == seq && m.header.command == command,
			"request %u is answered as %u", seq, m.header.seq);
		must(m.header.status <= 0 && (m.header.status == 0 || m.header.size == 0),
			"an answer of %d with %u bytes", m.header.status, m.header.size);
		*ret_status = m.header.status;
		return true;
	}
	return false;
}

static struct sim_queue_setup setup(uint32_t queue, uint8_t how)
{
	uint64_t at = IOVA + queue % 8 * RING_STEP;

	return (struct sim_queue_setup){
		.queue = queue,
		.size = RING_SIZE,
		.desc = at,
		.driver = at + 0x2000,
		.device = at + 0x3000,
		.position = how & 1 ? 0x80008000 : 0,
		.have_fds = how & 2 ? SIM_FD_KICK | SIM_FD_CALL : SIM_FD_KICK,
	};
}

/* What each command takes; the numbers are near what is right. Return: bytes. */
static size_t fill(
	struct input *in, uint32_t command, union sim_payload *p, int *fds, size_t *n_fds)
{
	uint8_t how = input_byte(in), which = input_byte(in);

	*n_fds = 0;
	switch (command) {
	case SIM_MAP:
	case SIM_UNMAP:
	case SIM_POSTCOPY_MAP:
		p->map = (struct sim_map){ .iova = IOVA + (how & 3) * FILES_RAM_SIZE,
			.size = FILES_RAM_SIZE >> (how >> 6),
			.offset = how & 4 ? 4096 : 0,
			.perm = how & 8 ? SIM_PERM_READ : SIM_PERM_READ | SIM_PERM_WRITE };
		fds[0] = files_fd(which < 200 ? (which & 1 ? FILE_MORE_RAM : FILE_RAM)
					      : which % FILE_N_KINDS);
		*n_fds = command != SIM_UNMAP;
		return sizeof(p->map);
	case SIM_SET_LOG:
		p->log = (struct sim_log){ .offset = how & 2 ? 64 : 0 };
		if (how & 1) /* all, or up to the end of the first region */
			p->log.size = how & 4 ? (IOVA + FILES_RAM_SIZE) / SIM_LOG_PAGE / 8
					      : FILES_LOG_SIZE - 64;
		fds[0] = files_fd(which < 200 ? FILE_LOG : which % FILE_N_KINDS);
		*n_fds = how & 1;
		return sizeof(p->log);
	case SIM_PREPARE:
		for (uint32_t i = 0; i <= (how >> 6); i++) {
			p->setups[i] = setup(i + (how & 3), which);
			for (int k = __builtin_popcount(p->setups[i].have_fds); k > 0; k--)
				fds[(*n_fds)++] =
					files_fd(which < 240 ? FILE_EVENT : which % FILE_N_KINDS);
		}
		return ((how >> 6) + 1U) * sizeof(p->setups[0]);
	case SIM_START:
	case SIM_STOP:
		p->set.bits[0] = how;
		p->set.bits[1] = which > 250;
		return sizeof(p->set);
	case SIM_SET_FDS:
		p->fds = (struct sim_queue_fds){
			.queue = how & 7, .change = which & 7, .have_fds = which >> 3 & 7
		};
		for (int k = __builtin_popcount(p->fds.have_fds); k > 0; k--)
			fds[(*n_fds)++] = files_fd(how & 8 ? FILE_EVENT : FILE_OTHER_EVENT);
		return sizeof(p->fds);
	case SIM_IOTLB_UPDATE:
	case SIM_IOTLB_INVALIDATE:
		p->iotlb = (struct sim_iotlb){ .iova = IOVA + (how & 15) * RING_STEP,
			.size = which & 16 ? FILES_RAM_SIZE : RING_STEP,
			.address = IOVA + (which & 15) * RING_STEP,
			.perm = 3U ^ how >> 6 };
		if (command == SIM_IOTLB_INVALIDATE && which > 240)
			p->iotlb.size = UINT64_MAX;
		return sizeof(p->iotlb);
	case SIM_SET_CONTROL:
		p->control = (struct sim_control){ .flags = (uint32_t)input_word(in, 2),
			.pairs = how & 3,
			.n_unicast = which % (SIM_CONTROL_MACS + 2),
			.n_multicast = (how >> 2) % (SIM_CONTROL_MACS + 2),
			.mac = { 2, 0, 0, 0, 0, which },
			.offloads = input_word(in, 2) };
		memset(p->control.unicast, how, sizeof(p->control.unicast));
		p->control.vlans[how % ARRAY_SIZE(p->control.vlans)] = BIT_ULL(which % 64);
		return sizeof(p->control);
	case SIM_SET_FEATURES:
		p->u64.value = function->identity.features &
			       ~(how & 8 ? 0 : BIT_ULL(VIRTIO_F_ACCESS_PLATFORM)) &
			       ~(how & 16 ? BIT_ULL(VIRTIO_NET_F_MQ) : 0) &
			       ~(how & 32 ? BIT_ULL(VIRTIO_NET_F_CTRL_VQ) : 0) &
			       ~(how & 1 ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0) &
			       ~(how & 2 ? BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) : 0) &
			       ~(how & 4 ? BIT_ULL(FUNCTION_F_IN_ORDER) : 0) &
			       ~(uint64_t)(which > 128 ? which : 0);
		return sizeof(p->u64);
	case SIM_SET_MTU:
	case SIM_DOORBELL:
		p->u64.value = which > 240 ? how : how & 1;
		return sizeof(p->u64);
	case SIM_ANNOUNCE:
		p->u64.value = which > 128 ? how * 256U : how;
		return sizeof(p->u64);
	default:
		return 0;
	}
}

static void do_ask(struct input *in, bool any)
{
	static const uint8_t others[] = { SIM_IOTLB_UPDATE, SIM_IOTLB_UPDATE, SIM_IOTLB_UPDATE,
		SIM_IOTLB_INVALIDATE, SIM_IOTLB_INVALIDATE, SIM_SET_CONTROL, SIM_SET_CONTROL };
	uint32_t command = input_byte(in) % (SIM_IOTLB_INVALIDATE + 2 + ARRAY_SIZE(others));
	union sim_payload p = { 0 };
	int fds[MAILBOX_MAX_FDS + 4], status;
	size_t n_fds, size;

	if (command > SIM_IOTLB_INVALIDATE + 1)
		command = others[command - SIM_IOTLB_INVALIDATE - 2];
	size = fill(in, command, &p, fds, &n_fds);

	for (int i = any ? input_byte(in) % 4 : 0; i > 0; i--) {
		size_t at = input_byte(in);

		((uint8_t *)&p)[at] ^= input_byte(in);
	}
	if (any) {
		size = (size_t)((ssize_t)size + (int8_t)input_byte(in));
		n_fds = input_byte(in) % ARRAY_SIZE(fds);
		for (size_t i = 0; i < n_fds; i++)
			fds[i] = files_fd((enum file_kind)((i + input_byte(in)) % FILE_N_KINDS));
	}
	/* A guest that migrates on one NIC brings what it chose, beside the function that it comes from. */
	address_was_brought = address_was_brought || command == SIM_SET_CONTROL;
	if (!ask(mailbox, command, &p, size < 4096 ? size : 0, fds, n_fds))
		return;
	run_loop();
	must(take_answer(mailbox, command, &status), "request %u of command %u is not answered",
		seq, command);
}

/* A good one, which has to succeed when @demanded. */
static void request(int sock, uint32_t command, const void *payload, size_t size, const int *fds,
	size_t n_fds, bool demanded)
{
	union sim_payload p = { 0 };
	int status;

	if (size > 0)
		memcpy(&p, payload, size);
	must(ask(sock, command, &p, size, fds, n_fds), "a request is not taken");
	run_loop();
	must(take_answer(sock, command, &status), "command %u is not answered", command);
	must(!demanded || status == 0, "command %u is refused: %s", command, strerror(-status));
}

enum {
	OPEN_PACKED = 1,
	OPEN_LOGGED = 2,
	OPEN_TRANSLATED = 4, /* rings; with OPEN_ALL also buffers */
	OPEN_ALL = 8,
	OPEN_CONTROL = 16,   /* too */
};

static struct sim_u64 features_for(uint8_t how)
{
	uint64_t without = (how & OPEN_PACKED ? 0 : BIT_ULL(VIRTIO_F_RING_PACKED)) |
			   (how & OPEN_TRANSLATED ? 0 : BIT_ULL(VIRTIO_F_ACCESS_PLATFORM));

	return (struct sim_u64){ .value = function->identity.features & ~without };
}

static void translate(int sock, uint64_t iova, uint64_t address, uint64_t size, bool demanded)
{
	const struct sim_iotlb entry = {
		.iova = iova, .size = size, .address = address, .perm = SIM_PERM_READ | SIM_PERM_WRITE
	};

	request(sock, SIM_IOTLB_UPDATE, &entry, sizeof(entry), NULL, 0, demanded);
}

static void open_queues(int sock, uint8_t how, bool demanded)
{
	bool packed = how & OPEN_PACKED;
	uint32_t n = how & OPEN_CONTROL ? 3 : 2;
	const struct sim_map map = {
		.iova = IOVA, .size = FILES_RAM_SIZE, .perm = SIM_PERM_READ | SIM_PERM_WRITE
	};
	const struct sim_u64 features = features_for(how);
	struct sim_queue_setup setups[3] = { setup(0, packed), setup(1, packed), setup(4, packed) };
	const struct sim_queue_set set = { .bits = { how & OPEN_CONTROL ? 0x13 : 3 } };
	const int ram = files_fd(sock == mailbox ? FILE_RAM : FILE_MORE_RAM),
		  kick = files_fd(FILE_EVENT), kicks[] = { kick, kick, kick };

	if (sock != mailbox) /* an eventfd is watched once */
		setups[0].have_fds = setups[1].have_fds = 0;
	request(sock, SIM_SET_FEATURES, &features, sizeof(features), NULL, 0, demanded);
	request(sock, SIM_MAP, &map, sizeof(map), &ram, 1, demanded);
	if (how & OPEN_TRANSLATED)
		translate(sock, IOVA, IOVA, how & OPEN_ALL ? FILES_RAM_SIZE : 8 * RING_STEP, demanded);
	request(sock, SIM_PREPARE, setups, n * sizeof(setups[0]), kicks, sock == mailbox ? n : 0,
		demanded);
	request(sock, SIM_START, &set, sizeof(set), NULL, 0, demanded);
}

/* In a log that ends where the memory of open_queues() does. */
static void log_pages(void)
{
	const struct sim_log log = { .size = (IOVA + FILES_RAM_SIZE) / SIM_LOG_PAGE / 8 };
	const int fd = files_fd(FILE_LOG);

	request(mailbox, SIM_SET_LOG, &log, sizeof(log), &fd, 1, false);
}

/* --------------------------------------------------------------------------------- guest */

static void put_desc(uint32_t queue, uint32_t i, uint64_t addr, uint32_t len, uint16_t flags,
	bool packed, bool wrap)
{
	uint8_t *ring = files_memory() + queue % 8 * RING_STEP;

	if (packed)
		((struct vring_packed_desc *)(void *)ring)[i % RING_SIZE] =
			(struct vring_packed_desc){ .addr = addr,
				.len = len,
				.id = (uint16_t)i,
				.flags = (uint16_t)(flags | (wrap ? 1U << 7 : 1U << 15)) };
	else
		((struct vring_desc *)(void *)ring)[i % RING_SIZE] =
			(struct vring_desc){ .addr = addr,
				.len = len,
				.flags = flags,
				.next = (uint16_t)((i + 1) % RING_SIZE) };
}

/* A header and a frame for the peer, or for anybody, and chains of some descriptors. */
static void offer(struct input *in)
{
	uint8_t queue = input_byte(in) % 4, n = input_byte(in) % RING_SIZE, shape = input_byte(in);
	uint16_t size = (uint16_t)input_word(in, 2), *avail;
	bool packed = function->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	uint8_t *ram = files_memory(), *frame = ram + BUFFERS + queue * 0x8000U;
	uint64_t one = 1;

	for (int i = 0; i < 12; i++) /* virtio_net_hdr */
		frame[i] = shape & 1 ? input_byte(in) : 0;
	memcpy(frame + 12, shape & 2 ? "\2\0\0\0\0\2" : "\377\377\377\377\377\377", 6);
	memcpy(frame + 18, function->identity.mac, 6);
	for (int i = 24; i < 80 && shape & 4; i++)
		frame[i] = input_byte(in);
	avail = (uint16_t *)(void *)(ram + queue * RING_STEP + 0x2000);
	for (uint8_t i = 0; i < n; i++) {
		bool more = shape & 8 && i + 1 < n;
		uint16_t flags = (uint16_t)((queue % 2 ? 0 : VRING_DESC_F_WRITE) |
					    (more ? VRING_DESC_F_NEXT : 0));
		uint64_t into = (uint64_t)(frame - ram) + (more || shape & 16 ? 0 : i * 64U);
		uint16_t at = packed ? (uint16_t)((shape >> 6) * 4U + i) : (uint16_t)(avail[1] + i);

		put_desc(queue, at, IOVA + into, size, flags, packed, shape & 32);
		if (!packed)
			avail[2 + at % RING_SIZE] = at % RING_SIZE;
	}
	if (!packed)
		__atomic_store_n(
			&avail[1], (uint16_t)(avail[1] + (shape & 8 ? 1 : n)), __ATOMIC_RELEASE);
	(void)!write(files_fd(FILE_EVENT), &one, sizeof(one));
	let_work();
	run_loop();
}

/* What the guest wrote, in @n_pieces, then room for a verdict, unless the shape says otherwise. */
static void command(struct input *in)
{
	uint8_t shape = input_byte(in), n_pieces = 1 + shape % 4, size = input_byte(in) % 64;
	bool packed = function->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	uint8_t *ram = files_memory(), *bytes = ram + BUFFERS + 0x7000;
	uint16_t *avail = (uint16_t *)(void *)(ram + CONTROL_QUEUE * RING_STEP + 0x2000);
	uint16_t at = packed ? (uint16_t)(shape >> 5) : avail[1];
	uint64_t one = 1;

	for (uint8_t i = 0; i < size; i++)
		bytes[i] = input_byte(in);
	for (uint8_t i = 0; i <= n_pieces; i++) {
		bool last = i == n_pieces;
		uint32_t from = i * size / n_pieces, to = (i + 1U) * size / n_pieces;

		put_desc(CONTROL_QUEUE, at + i, IOVA + BUFFERS + (last ? 0x6000U : 0x7000U + from),
			last ? 1U + (shape & 16) : to - from,
			(uint16_t)(last ? (shape & 4 ? 0 : VRING_DESC_F_WRITE) : VRING_DESC_F_NEXT),
			packed, shape & 8);
	}
	if (!packed) {
		avail[2 + avail[1] % RING_SIZE] = at % RING_SIZE;
		__atomic_store_n(&avail[1], (uint16_t)(avail[1] + 1), __ATOMIC_RELEASE);
	}
	(void)!write(files_fd(FILE_EVENT), &one, sizeof(one));
	run_loop();
}

/* As a front-end that was asked: the page, where the driver calls it so, or another one. */
static void answer_misses(struct input *in)
{
	uint8_t how = input_byte(in);

	for (uint16_t i = 0; i < function->n_queues; i++) {
		const struct sim_miss *miss = &function->regs->misses[i];
		uint64_t iova = miss->iova & ~4095ULL;

		if (miss->state == SIM_MISS_WAITS)
			translate(mailbox, iova, how & 1 ? IOVA + (how & 0x3e) * 4096ULL : iova,
				how & 0x80 ? 65536 : 4096, false);
	}
	let_work();
	run_loop();
}

/* Broadcasts, which find buffers, or have to wait for them. */
static void send_frames(unsigned int n)
{
	const struct sim_u64 mac = { .value = macs_word(peer->identity.mac) };

	while (n-- > 0)
		request(peer_mailbox, SIM_ANNOUNCE, &mac, sizeof(mac), NULL, 0, true);
	run_loop();
}

/* -------------------------------------------------------------------------------- checks */

/* A ring's area, by the address that its queue was given. */
static bool reaches(const struct function *f, uint64_t iova, uint64_t size, const void *at,
	uint64_t address)
{
	uint64_t found;
	const void *there = iommu_range(&f->iommu, iova, size, 0, &found);

	return there && there == at && found == address;
}

static bool ring_is_reached(const struct function *f, const struct vq *q)
{
	return reaches(f, q->setup.desc, q->desc_size, q->desc, q->desc_iova) &&
	       reaches(f, q->setup.driver, q->driver_size, q->driver, q->driver_iova) &&
	       reaches(f, q->setup.device, q->device_size, q->device, q->device_iova);
}

static void check_translations(const struct iommu *iommu)
{
	const struct iotlb *t = &iommu->iotlb;

	must(t->n == 0 || iommu->translates, "%u translations that nobody asks", t->n);
	must(t->n <= IOTLB_MAX, "%u translations", t->n);
	for (uint32_t i = 0; i + 1 < t->n; i++)
		must(t->entries[i].iova + (t->entries[i].size - 1) < t->entries[i + 1].iova,
			"translations overlap at %#lx", t->entries[i + 1].iova);
}

/* Return: frames that wait. */
static uint32_t check_waiting(const struct vq *q)
{
	const struct sim_miss *miss = &q->function->regs->misses[q->index];

	must(!q->waits || (q->function->iommu.translates && q->status >= SIM_QUEUE_RUNNING),
		"queue %u waits for a translation, and has no use for any", q->index);
	must(!q->waits || miss->state == SIM_MISS_WAITS, "queue %u waits, and does not say so", q->index);
	must(q->waits || !q->backlog || q->backlog->n == 0 || !vq_is_receive(q) ||
			q->status == SIM_QUEUE_RUNNING,
		"frames wait for queue %u, which does not run", q->index);
	return q->backlog ? q->backlog->n : 0;
}

static void check_control(const struct function *f)
{
	const struct sim_control_regs *regs = (void *)(f->bar + SIM_BAR_CONTROL_OFFSET);

	must(control_state_ok(f->identity.max_pairs, &f->control), "no command leads to this state");
	must(memcmp(&regs->copies[regs->current & 1], &f->control, sizeof(f->control)) == 0,
		"the registers say something else than what was set");
	must(f == function || address_was_brought || f->mac != function->mac,
		"a guest chose another function's address");
	must(control_pairs(f) <= f->identity.max_pairs, "%u pairs", control_pairs(f));
}

static void check_function(const struct function *f)
{
	uint64_t bytes = 0, end = 0;

	nic_pause(&nic);
	for (uint32_t i = 0; i < f->iommu.n_regions; i++) {
		const struct iommu_region *r = &f->iommu.regions[i];

		must(i == 0 || r->map.iova > end, "regions overlap at %#lx", r->map.iova);
		must(!f->log.bits || dirty_covers(&f->log, &r->map),
			"a region at %#lx is beyond the log", r->map.iova);
		end = r->map.iova + (r->map.size - 1);
		bytes += r->map.size;
	}
	must(bytes == f->iommu.n_bytes, "%lu bytes are mapped, %lu are counted", bytes,
		f->iommu.n_bytes);
	check_translations(&f->iommu);
	check_control(f);
	for (uint16_t i = 0; i < f->n_queues; i++) {
		const struct vq *q = &f->queues[i];

		n_waiting += check_waiting(q);
		must(q->regs->status == (uint32_t)q->status, "queue %u: registers say %u, it is %u",
			i, q->regs->status, q->status);
		must((q->status != SIM_QUEUE_RUNNING && q->status != SIM_QUEUE_PREPARED) ||
				f->memory_lost || ring_is_reached(f, q),
			"queue %u is %u, and its ring is not mapped", i, q->status);
	}
	nic_resume(&nic);
}

/* --------------------------------------------------------------------------------- inputs */

static struct function *add_function(const char *name, uint8_t last, int *ret_mailbox)
{
	struct sim_function identity = { .mac = { 2, 0, 0, 0, 0, last },
		.mtu = 1500,
		.max_pairs = 2,
		.flags = SIM_FUNCTION_LINK_UP,
		.features = function_features(&nic) };
	struct function *f;

	snprintf(identity.name, sizeof(identity.name), "%s", name);
	must(function_create(&nic, &identity, &f) == 0 && mailbox_attach(f, ret_mailbox) == 0,
		"no function");
	return f;
}

static void remove_function(struct function *f, int *sock)
{
	function_free(f);
	*sock = close_keep_errno(*sock);
}

static void do_step(struct input *in)
{
	uint8_t how;

	switch (input_byte(in) % OP_N) {
	case OP_ASK:
	case OP_ASK_TOO:
		do_ask(in, false);
		break;
	case OP_ASK_ANY:
		do_ask(in, true);
		break;
	case OP_OPEN:
		how = input_byte(in);
		open_queues(mailbox, how, false);
		if (how & OPEN_LOGGED)
			log_pages();
		break;
	case OP_OFFER:
	case OP_OFFER_TOO:
		offer(in);
		break;
	case OP_POKE:
		how = input_byte(in);
		files_memory()[(input_word(in, 2) % RING_STEP) + how % 8 * RING_STEP] =
			input_byte(in);
		break;
	case OP_COMMAND:
		command(in);
		break;
	case OP_ANSWER:
		answer_misses(in);
		break;
	case OP_FRAMES:
		send_frames(1 + input_byte(in) % 64);
		break;
	case OP_CUT:
		how = input_byte(in);
		files_cut(how & 1 ? FILE_MORE_RAM : FILE_LOG, (uint64_t)(how / 2) * 2048);
		break;
	default:
		mailbox = close_keep_errno(mailbox);
		run_loop();
		must(mailbox_attach(function, &mailbox) == 0, "no mailbox");
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	signal(SIGPIPE, SIG_IGN);
	log_set_level(getenv("FUZZ_SHOW") ? LOG_LEVEL_DEBUG : (enum log_level)0);
	files_open();
	start_nic();
	files_open_fds(); /* opens one itself */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t n_base = files_open_fds();

	files_begin();
	address_was_brought = false;
	function = add_function("a", 1, &mailbox);
	peer = add_function("b", 2, &peer_mailbox);
	open_queues(peer_mailbox, 0, true);
	for (int i = 0; i < MAX_STEPS && in.size > 0; i++) {
		do_step(&in);
		run_loop();
		n_waiting = 0;
		check_function(function);
		check_function(peer);
		must(n_waiting == nic.n_backlog, "%u frames wait, %u are counted", n_waiting,
			nic.n_backlog);
	}
	remove_function(function, &mailbox);
	remove_function(peer, &peer_mailbox);
	run_loop();
	must(files_open_fds() == n_base, "%zu descriptors are left", files_open_fds() - n_base);
	return 0;
}

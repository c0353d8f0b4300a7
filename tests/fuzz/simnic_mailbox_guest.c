/* SPDX-License-Identifier: BSD-2-Clause */
/* The function's guest: chains that it offers, commands, and answers of who translates for it. */
#include "tests/fuzz/simnic_mailbox_internal.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/files.h"
#include "tools/simnic/frame.h"
#include "tools/simnic/ring.h"
#include "vdpa/base/bits.h"

#define BUFFERS       0x20000ULL
#define CONTROL_QUEUE 4U

static void put_desc(uint32_t queue, uint32_t i, uint64_t addr, uint32_t len, uint16_t flags,
	bool packed, bool wrap)
{
	uint8_t *ring = files_memory() + queue % 8 * SIMNIC_RING_STEP;

	if (packed)
		((struct vring_packed_desc *)(void *)ring)[i % SIMNIC_RING_SIZE] =
			(struct vring_packed_desc){ .addr = addr,
				.len = len,
				.id = (uint16_t)i,
				.flags = (uint16_t)(flags | (wrap ? 1U << 7 : 1U << 15)) };
	else
		((struct vring_desc *)(void *)ring)[i % SIMNIC_RING_SIZE] =
			(struct vring_desc){ .addr = addr,
				.len = len,
				.flags = flags,
				.next = (uint16_t)((i + 1) % SIMNIC_RING_SIZE) };
}

/* A header and a frame for the peer, or for anybody. */
void simnic_offer(struct simnic_stand *s, struct input *in)
{
	uint8_t queue = input_byte(in) % 4, n = input_byte(in) % SIMNIC_RING_SIZE,
		shape = input_byte(in);
	uint16_t size = (uint16_t)input_word(in, 2), *avail;
	bool packed = s->function->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	uint8_t *ram = files_memory(), *frame = ram + BUFFERS + queue * 0x8000U;
	uint64_t one = 1;

	for (int i = 0; i < 12; i++) /* virtio_net_hdr */
		frame[i] = shape & 1 ? input_byte(in) : 0;
	memcpy(frame + 12, shape & 2 ? "\2\0\0\0\0\2" : "\377\377\377\377\377\377", 6);
	memcpy(frame + 18, s->function->identity.mac, 6);
	for (int i = 24; i < 80 && shape & 4; i++)
		frame[i] = input_byte(in);
	avail = (uint16_t *)(void *)(ram + queue * SIMNIC_RING_STEP + 0x2000);
	for (uint8_t i = 0; i < n; i++) {
		bool more = shape & 8 && i + 1 < n;
		uint16_t flags = (uint16_t)((queue % 2 ? 0 : VRING_DESC_F_WRITE) |
					    (more ? VRING_DESC_F_NEXT : 0));
		uint64_t into = (uint64_t)(frame - ram) + (more || shape & 16 ? 0 : i * 64U);
		uint16_t at = packed ? (uint16_t)((shape >> 6) * 4U + i) : (uint16_t)(avail[1] + i);

		put_desc(queue, at, SIMNIC_IOVA + into, size, flags, packed, shape & 32);
		if (!packed)
			avail[2 + at % SIMNIC_RING_SIZE] = at % SIMNIC_RING_SIZE;
	}
	if (!packed)
		__atomic_store_n(
			&avail[1], (uint16_t)(avail[1] + (shape & 8 ? 1 : n)), __ATOMIC_RELEASE);
	(void)!write(files_fd(FILE_EVENT), &one, sizeof(one));
	simnic_let_work(s);
	simnic_run_loop(s);
}

void simnic_poke(struct input *in)
{
	uint8_t queue = input_byte(in) % 8, value = input_byte(in);
	uint64_t at = input_word(in, 2) % SIMNIC_RING_STEP;

	files_memory()[at + queue * SIMNIC_RING_STEP] = value;
}

/* What the guest wrote, in @n_pieces, then room for a verdict, unless the shape says otherwise. */
void simnic_command(struct simnic_stand *s, struct input *in)
{
	uint8_t shape = input_byte(in), n_pieces = 1 + shape % 4, size = input_byte(in) % 64;
	bool packed = s->function->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	uint8_t *ram = files_memory(), *bytes = ram + BUFFERS + 0x7000;
	uint16_t *avail = (uint16_t *)(void *)(ram + CONTROL_QUEUE * SIMNIC_RING_STEP + 0x2000);
	uint16_t at = packed ? (uint16_t)(shape >> 5) : avail[1];
	uint64_t one = 1;

	for (uint8_t i = 0; i < size; i++)
		bytes[i] = input_byte(in);
	for (uint8_t i = 0; i <= n_pieces; i++) {
		bool last = i == n_pieces;
		uint32_t from = i * size / n_pieces, to = (i + 1U) * size / n_pieces;

		put_desc(CONTROL_QUEUE, at + i,
			SIMNIC_IOVA + BUFFERS + (last ? 0x6000U : 0x7000U + from),
			last ? 1U + (shape & 16) : to - from,
			(uint16_t)(last ? (shape & 4 ? 0 : VRING_DESC_F_WRITE) : VRING_DESC_F_NEXT),
			packed, shape & 8);
	}
	if (!packed) {
		avail[2 + avail[1] % SIMNIC_RING_SIZE] = at % SIMNIC_RING_SIZE;
		__atomic_store_n(&avail[1], (uint16_t)(avail[1] + 1), __ATOMIC_RELEASE);
	}
	(void)!write(files_fd(FILE_EVENT), &one, sizeof(one));
	simnic_run_loop(s);
}

/* As a front-end that was asked: the page, where the driver calls it so, or another one. */
void simnic_answer_misses(struct simnic_stand *s, struct input *in)
{
	uint8_t how = input_byte(in);

	for (uint16_t i = 0; i < s->function->n_queues; i++) {
		const struct sim_miss *miss = &s->function->regs->misses[i];
		uint64_t iova = miss->iova & ~4095ULL;

		if (miss->state == SIM_MISS_WAITS)
			simnic_translate(s, s->mailbox, iova,
				how & 1 ? SIMNIC_IOVA + (how & 0x3e) * 4096ULL : iova,
				how & 0x80 ? 65536 : 4096, false);
	}
	simnic_let_work(s);
	simnic_run_loop(s);
}

/* Broadcasts. */
void simnic_send_frames(struct simnic_stand *s, unsigned int n)
{
	const struct sim_u64 mac = { .value = macs_word(s->peer->identity.mac) };

	while (n-- > 0)
		simnic_request(s, s->peer_mailbox, SIM_ANNOUNCE, &mac, sizeof(mac), NULL, 0, true);
	simnic_run_loop(s);
}

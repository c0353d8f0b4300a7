/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the relay costs per descriptor, beside a plain loop that does the same memory work with no
 * regard for hostile guests, crashes, or notifications. Guest and device are played in the same
 * thread and not timed; buffers are never touched.
 *
 *   relay_micro BATCH REGIONS PIECES direct|indirect BLOCKS
 *	BATCH chains at a time, of PIECES descriptors each, in the ring or in a table; BATCH * PIECES
 *	is at most 256. The guest has its memory in REGIONS parts. BLOCKS lines, each of which has
 *	split, packed, split with a log, packed with a log, in turn: OFFER RETURN LIMIT, the middle of
 *	its rounds, in nanoseconds per descriptor.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/relay.h"

#define SIZE       256U
#define REGION     (64ULL << 20)
#define GPA        (1ULL << 32)
#define SHADOW     (1ULL << 44)
#define N_ROUNDS   400
#define N_VARIANTS 4
#define TABLES_AT  0x40000U
#define FRAME      1518U
#define FLAG_AVAIL ((uint64_t)BIT(VRING_PACKED_DESC_F_AVAIL))
#define FLAG_USED  ((uint64_t)BIT(VRING_PACKED_DESC_F_USED))

struct bench {
	bool packed, log, indirect;
	uint32_t batch, n_regions, pieces;
	struct fdstore fds;
	struct memory_table table;
	struct guestmem memory;
	struct dirty_log *dirty;
	struct relay *relay;
	uint8_t *kept;
	struct vring_desc *desc; /* the guest's ring */
	struct vring_avail *avail;
	struct vring_used *used;
	uint8_t *shadow_desc, *shadow_driver, *shadow_device;
	uint64_t buffers[SIZE];
	uint16_t slot, device_slot;
	bool wrap, device_wrap;
	uint64_t offer[N_ROUNDS], give_back[N_ROUNDS], limit_offer[N_ROUNDS], limit_back[N_ROUNDS];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int memory_file(uint64_t size)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		die("memfd");
	return fd;
}

static void make_memory(struct bench *b)
{
	fdstore_init(&b->fds, NULL, 0);
	for (uint32_t i = 0; i < b->n_regions; i++) {
		struct memory_region *region = &b->table.regions[b->table.n_regions++];

		/* A gap after each, as DIMMs have it. */
		*region = (struct memory_region){ .gpa = GPA + i * 4 * REGION, .size = REGION };
		region->uva = region->gpa;
		region->slot = fdstore_add(&b->fds, memory_file(REGION));
		if (memory_file_check(fdstore_get(&b->fds, region->slot), region) < 0)
			die("memory");
	}
	if (guestmem_init(&b->memory) < 0 || guestmem_set(&b->memory, &b->table, &b->fds) < 0)
		die("guestmem");
	for (uint32_t i = 0; i < SIZE; i++)
		b->buffers[i] = GPA + (uint64_t)rand() % b->n_regions * 4 * REGION + (1 << 20) +
				(uint64_t)rand() % (uint64_t)(REGION / 2);
}

/* Where the n-th chain begins: its pieces lie behind each other, or in a table. */
static uint16_t first_of(const struct bench *b, uint16_t n)
{
	return (uint16_t)(b->indirect ? n : n % (SIZE / b->pieces) * b->pieces);
}

/* The i-th descriptor, in the ring or in all tables one after the other. */
static struct vring_desc piece(const struct bench *b, uint32_t i)
{
	bool last = i % b->pieces == b->pieces - 1;
	uint16_t next = (uint16_t)(b->indirect ? i % b->pieces + 1 : i + 1);

	return (struct vring_desc){ b->buffers[i], 2048,
		(uint16_t)(VRING_DESC_F_WRITE | (last ? 0 : VRING_DESC_F_NEXT)), next };
}

static uint64_t table_gpa(const struct bench *b, uint32_t i)
{
	return GPA + TABLES_AT + i % (SIZE / b->pieces) * b->pieces * sizeof(struct vring_desc);
}

static struct vring_desc table_desc(const struct bench *b, uint32_t i)
{
	return (struct vring_desc){ table_gpa(b, i), b->pieces * (uint32_t)sizeof(struct vring_desc),
		VRING_DESC_F_INDIRECT, 0 };
}

static void fill_tables(struct bench *b)
{
	void *at = guestmem_at(&b->memory, GPA + TABLES_AT, SIZE * sizeof(struct vring_desc));
	struct vring_packed_desc *packed = at;
	struct vring_desc *split = at;

	for (uint32_t i = 0; i < SIZE; i++) {
		if (b->packed)
			packed[i] = (struct vring_packed_desc){ b->buffers[i], 2048, 0, VRING_DESC_F_WRITE };
		else
			split[i] = piece(b, i);
	}
}

static void make_relay(struct bench *b)
{
	struct relay_kept_layout l = relay_kept_layout(SIZE, b->packed);
	struct relay_setup setup = {
		.memory = &b->memory,
		.features = (b->packed ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0) |
			    BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
		.size = SIZE,
		.desc = GPA,
		.driver = GPA + 0x10000,
		.device = GPA + 0x20000,
		.position = queue_position_initial(b->packed),
		.shadow_iova = SHADOW,
		.call_fd = -1,
		.device_fd = -1,
	};
	struct driver_queue q;

	b->kept = mmap(NULL, l.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->kept == MAP_FAILED || relay_open(&setup, b->kept, RELAY_FRESH, &b->relay) < 0 ||
		relay_device_queue(b->relay, &q) < 0)
		die("relay");
	b->shadow_desc = b->kept + l.shadow_offset + (q.desc - SHADOW);
	b->shadow_driver = b->kept + l.shadow_offset + (q.driver - SHADOW);
	b->shadow_device = b->kept + l.shadow_offset + (q.device - SHADOW);
	b->desc = guestmem_at(&b->memory, setup.desc, 16 * SIZE);
	b->avail = guestmem_at(&b->memory, setup.driver, 6 + 2 * SIZE);
	b->used = guestmem_at(&b->memory, setup.device, 6 + 8 * SIZE);
	if (dirty_log_open(memory_file(8 << 20), 0, 8 << 20, 0, &b->dirty) < 0)
		die("log");
	if (b->log && relay_set_log(b->relay, b->dirty, true, setup.device) < 0)
		die("relay_set_log");
	b->wrap = b->device_wrap = true;
	for (uint32_t i = 0; i < SIZE && !b->packed; i++) {
		b->desc[i] = b->indirect ? table_desc(b, i) : piece(b, i);
		b->avail->ring[i] = first_of(b, (uint16_t)i);
	}
	fill_tables(b);
}

static void put_word(struct vring_packed_desc *d, uint32_t size, uint16_t id, uint64_t flags)
{
	uint64_t word = size | (uint64_t)id << 32 | flags << 48;

	__atomic_store_n((uint64_t *)(void *)&d->len, word, __ATOMIC_RELEASE);
}

/* One chain; its id is its first slot. */
static void give_packed(struct bench *b)
{
	struct vring_packed_desc *ring = (void *)b->desc;
	uint32_t n = b->indirect ? 1 : b->pieces;
	uint16_t id = b->slot;

	for (uint32_t i = 0; i < n; i++) {
		struct vring_desc d = b->indirect ? table_desc(b, b->slot) : piece(b, b->slot);

		ring[b->slot].addr = d.addr;
		put_word(&ring[b->slot], d.len, id, d.flags | (b->wrap ? FLAG_AVAIL : FLAG_USED));
		if (++b->slot == SIZE) {
			b->slot = 0;
			b->wrap = !b->wrap;
		}
	}
}

static void give(struct bench *b)
{
	if (!b->packed) {
		__atomic_store_n(
			&b->avail->idx, (uint16_t)(b->avail->idx + b->batch), __ATOMIC_RELEASE);
		return;
	}
	for (uint32_t i = 0; i < b->batch; i++)
		give_packed(b);
}

static void complete(struct bench *b)
{
	struct vring_packed_desc *ring = (void *)b->shadow_desc;
	struct vring_avail *avail = (void *)b->shadow_driver;
	struct vring_used *used = (void *)b->shadow_device;

	for (uint32_t i = 0; i < b->batch && !b->packed; i++) {
		uint16_t at = (uint16_t)(used->idx + i) % SIZE;

		used->ring[at] = (struct vring_used_elem){ avail->ring[at], FRAME };
	}
	if (!b->packed) {
		__atomic_store_n(&used->idx, (uint16_t)(used->idx + b->batch), __ATOMIC_RELEASE);
		return;
	}
	for (uint32_t i = 0; i < b->batch; i++) {
		uint64_t flags = VRING_DESC_F_WRITE | (b->device_wrap ? FLAG_AVAIL | FLAG_USED : 0);

		put_word(&ring[b->device_slot], FRAME, ring[b->device_slot].id, flags);
		b->device_slot = (uint16_t)(b->device_slot + b->pieces);
		if (b->device_slot == SIZE) {
			b->device_slot = 0;
			b->device_wrap = !b->device_wrap;
		}
	}
}

/*
 * The same work on arrays of the same shape: read once, look for the region, note what the
 * completion will need, copy; read the completion, mark, copy back.
 */
struct plain {
	struct {
		uint64_t gpa;
		uint32_t size, id;
	} notes[SIZE];
	struct vring_desc desc[SIZE], shadow[SIZE];
	uint16_t avail[SIZE], shadow_avail[SIZE];
	struct vring_used_elem shadow_used[SIZE], used[SIZE];
	uint16_t index;
};

static bool plain_has(const struct bench *b, uint64_t gpa, uint64_t size)
{
	for (uint32_t i = 0; i < b->n_regions; i++) {
		const struct memory_region *region = &b->table.regions[i];

		if (gpa - region->gpa < region->size && size <= region->size - (gpa - region->gpa))
			return true;
	}
	return false;
}

static void plain_offer(struct bench *b, struct plain *p)
{
	for (uint32_t i = 0; i < b->batch; i++) {
		uint16_t head = p->avail[(p->index + i) % SIZE];

		p->notes[head].gpa = p->desc[head].addr;
		p->notes[head].size = p->desc[head].len;
		p->notes[head].id = head;
		for (uint32_t k = head; k < head + b->pieces; k++) {
			struct vring_desc d = p->desc[k];

			if (!plain_has(b, d.addr, d.len))
				abort();
			p->shadow[k] = d;
		}
		p->shadow_avail[(p->index + i) % SIZE] = head;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void plain_return(struct bench *b, struct plain *p)
{
	for (uint32_t i = 0; i < b->batch; i++) {
		uint32_t at = (p->index + i) % SIZE;
		struct vring_used_elem e = p->shadow_used[at];

		if (b->log)
			dirty_log_mark(b->dirty, p->notes[e.id].gpa, e.len);
		p->used[at] = (struct vring_used_elem){ p->notes[e.id].id, e.len };
	}
	p->index = (uint16_t)(p->index + b->batch);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void run(struct bench *b, struct plain *p)
{
	struct relay_work work;

	for (uint32_t i = 0; i < SIZE; i++) {
		p->desc[i] = piece(b, i);
		p->avail[i] = (uint16_t)(i % (SIZE / b->pieces) * b->pieces);
		p->shadow_used[i] = (struct vring_used_elem){ p->avail[i], FRAME };
	}
	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		uint64_t t0, t1, t2, t3, t4, t5;

		give(b);
		t0 = clock_now_ns();
		if (relay_run(b->relay, SIZE, &work) < 0 || work.offered != b->batch)
			die(relay_reason(b->relay));
		t1 = clock_now_ns();
		complete(b);
		t2 = clock_now_ns();
		if (relay_run(b->relay, 0, &work) < 0 || work.returned != b->batch)
			die(relay_reason(b->relay));
		t3 = clock_now_ns();
		plain_offer(b, p);
		t4 = clock_now_ns();
		plain_return(b, p);
		t5 = clock_now_ns();
		b->offer[i] = t1 - t0;
		b->give_back[i] = t3 - t2;
		b->limit_offer[i] = t4 - t3;
		b->limit_back[i] = t5 - t4;
	}
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

/* The mean of the middle half: a clock's step may be longer than a short round. */
static double middle(uint64_t *values, uint32_t n, double clock)
{
	uint64_t sum = 0;

	qsort(values, N_ROUNDS, sizeof(*values), by_value);
	for (uint32_t i = N_ROUNDS / 4; i < 3 * N_ROUNDS / 4; i++)
		sum += values[i];
	return ((double)sum / (N_ROUNDS / 2) - clock) / n;
}

/* What reading the clock costs, to be taken off. */
static double clock_cost(void)
{
	static uint64_t values[N_ROUNDS];

	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		uint64_t t = clock_now_ns();

		values[i] = clock_now_ns() - t;
	}
	return middle(values, 1, 0);
}

static void measure(struct bench *b)
{
	static struct plain p;
	uint32_t n = b->batch * b->pieces;
	double clock = clock_cost();

	memset(&p, 0, sizeof(p));
	run(b, &p);
	printf(" %.3f %.3f %.3f", middle(b->offer, n, clock), middle(b->give_back, n, clock),
		middle(b->limit_offer, n, clock) + middle(b->limit_back, n, clock));
}

int main(int argc, char **argv)
{
	static struct bench variants[N_VARIANTS];
	struct bench like = { 0 };
	unsigned long blocks;

	if (argc != 6)
		goto usage;
	like.batch = (uint32_t)strtoul(argv[1], NULL, 0);
	like.n_regions = (uint32_t)strtoul(argv[2], NULL, 0);
	like.pieces = (uint32_t)strtoul(argv[3], NULL, 0);
	like.indirect = !strcmp(argv[4], "indirect");
	blocks = strtoul(argv[5], NULL, 0);
	if (like.batch < 1 || like.pieces < 1 || like.batch * like.pieces > SIZE ||
		SIZE % like.pieces != 0 || like.n_regions < 1 || like.n_regions > 8)
		goto usage;
	for (uint32_t i = 0; i < N_VARIANTS; i++) {
		variants[i] = like;
		variants[i].packed = i % 2;
		variants[i].log = i / 2;
		make_memory(&variants[i]);
		make_relay(&variants[i]);
	}
	while (blocks-- > 0) {
		for (uint32_t i = 0; i < N_VARIANTS; i++)
			measure(&variants[i]);
		printf("\n");
	}
	return 0;

usage:
	fprintf(stderr, "usage: relay_micro BATCH REGIONS PIECES direct|indirect BLOCKS\n");
	return 2;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the relay costs per descriptor, beside a plain loop that does the same memory work with no
 * regard for hostile guests, crashes, or notifications. Guest and device are played in the same
 * thread and not timed; buffers are never touched. Medians of many rounds, nanoseconds.
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
#define N_ROUNDS   4000
#define FRAME      1518U
#define FLAG_AVAIL ((uint64_t)BIT(VRING_PACKED_DESC_F_AVAIL))
#define FLAG_USED  ((uint64_t)BIT(VRING_PACKED_DESC_F_USED))

struct bench {
	bool packed, log;
	uint32_t batch, n_regions;
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

static void make_relay(struct bench *b)
{
	struct relay_kept_layout l = relay_kept_layout(SIZE, b->packed);
	struct relay_setup setup = {
		.memory = &b->memory,
		.features = b->packed ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0,
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
		b->desc[i] = (struct vring_desc){ b->buffers[i], 2048, VRING_DESC_F_WRITE, 0 };
		b->avail->ring[i] = (uint16_t)i;
	}
}

static void put_word(struct vring_packed_desc *d, uint32_t size, uint16_t id, uint64_t flags)
{
	uint64_t word = size | (uint64_t)id << 32 | flags << 48;

	__atomic_store_n((uint64_t *)(void *)&d->len, word, __ATOMIC_RELEASE);
}

static void give(struct bench *b)
{
	struct vring_packed_desc *ring = (void *)b->desc;

	if (!b->packed) {
		__atomic_store_n(
			&b->avail->idx, (uint16_t)(b->avail->idx + b->batch), __ATOMIC_RELEASE);
		return;
	}
	for (uint32_t i = 0; i < b->batch; i++) {
		uint64_t flags = VRING_DESC_F_WRITE | (b->wrap ? FLAG_AVAIL : FLAG_USED);

		ring[b->slot].addr = b->buffers[b->slot];
		put_word(&ring[b->slot], 2048, b->slot, flags);
		if (++b->slot == SIZE) {
			b->slot = 0;
			b->wrap = !b->wrap;
		}
	}
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
		if (++b->device_slot == SIZE) {
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
		struct vring_desc d = p->desc[head];

		if (!plain_has(b, d.addr, d.len))
			abort();
		p->notes[head].gpa = d.addr;
		p->notes[head].size = d.len;
		p->notes[head].id = head;
		p->shadow[head] = d;
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
		p->desc[i] = (struct vring_desc){ b->buffers[i], 2048, VRING_DESC_F_WRITE, 0 };
		p->avail[i] = (uint16_t)i;
		p->shadow_used[i] = (struct vring_used_elem){ i, FRAME };
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

static double median(uint64_t *values, uint32_t batch, double clock)
{
	qsort(values, N_ROUNDS, sizeof(*values), by_value);
	return ((double)values[N_ROUNDS / 2] - clock) / batch;
}

/* What reading the clock costs, to be taken off. */
static double clock_cost(void)
{
	static uint64_t values[N_ROUNDS];

	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		uint64_t t = clock_now_ns();

		values[i] = clock_now_ns() - t;
	}
	return median(values, 1, 0);
}

static void measure(bool packed, uint32_t batch, uint32_t n_regions, bool log)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct plain *p = calloc(1, sizeof(*p));
	double clock = clock_cost(), relay, limit, offer;

	if (!b || !p)
		die("calloc");
	b->packed = packed;
	b->batch = batch;
	b->n_regions = n_regions;
	b->log = log;
	make_memory(b);
	make_relay(b);
	run(b, p);
	offer = median(b->offer, batch, clock);
	relay = offer + median(b->give_back, batch, clock);
	limit = median(b->limit_offer, batch, clock) + median(b->limit_back, batch, clock);
	printf("%-6s %5u %7u %-3s %7.1f %7.1f %7.1f %7.1f %6.1f\n", packed ? "packed" : "split",
		batch, n_regions, log ? "on" : "off", offer, relay - offer, relay, limit,
		limit > 0 ? relay / limit : 0);
	relay_close(b->relay);
	dirty_log_close(b->dirty);
	guestmem_free(&b->memory);
	fdstore_close_all(&b->fds);
	munmap(b->kept, relay_kept_layout(SIZE, packed).size);
	free(b);
	free(p);
}

int main(void)
{
	static const uint32_t batches[] = { 1, 32, 256 };

	printf("%-6s %5s %7s %-3s %7s %7s %7s %7s %6s\n", "ring", "batch", "regions", "log",
		"offer", "return", "both", "limit", "ratio");
	for (size_t i = 0; i < 2 * ARRAY_SIZE(batches) * 4; i++)
		measure(i % 2, batches[i / 2 % 3], i / 6 % 2 ? 8 : 1, i / 12);
	return 0;
}

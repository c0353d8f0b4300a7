/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simnic's ring reader on a ring that its guest rewrites, between two bursts and, if the input
 * wants it, in a thread of its own (tests/unit/relay_lab_hostile.h). Bursts are what
 * tools/simnic/net.c makes of them: chains are collected, bytes copied, chains given back at once,
 * mixed, or later. The driver may be behind an IOMMU; then buffers are translated, or not yet, or not
 * any more. Whatever the guest does, only bytes that are mapped, and translated, for this are touched,
 * positions are what the registers say, and what was written of a receive ring is marked.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/sim/position.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tests/unit/relay_lab_hostile.h"
#include "tools/simnic/cursor.h"
#include "tools/simnic/frame.h"
#include "tools/simnic/held.h"
#include "tools/simnic/memory.h"
#include "tools/simnic/postcopy.h"
#include "vdpa/base/memfile.h"

#define MAX_STEPS      300
#define READ_ONLY_SIZE 8192

static struct lab lab;
static struct nic nic;
static struct function *function;
static struct sim_regs regs;
static struct burst burst;
static int read_only_fd;
static bool done; /* atomic */
static bool cut;
static uint32_t n_asked; /* for pages that are missing */

/* Of the control thread, which is not here. */
void nic_attention(struct nic *unused)
{
}

void postcopy_ask(struct vq *q, const struct iommu_region *region, const uint8_t *at)
{
	must(region->asking, "a page is asked for of memory that lacks none");
	must(at >= region->host && at < (uint8_t *)region->base + region->base_size,
		"a page of nobody's is asked for");
	n_asked++;
}

static void *play_guest(void *seed)
{
	uint64_t rng = *(uint64_t *)seed;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED))
		lab_scribble(&lab, &rng);
	return NULL;
}

/* ------------------------------------------------------------------------------- device */

static struct iommu_region *map(uint64_t iova, uint64_t size, int fd, uint32_t perm)
{
	const struct sim_map request = { .iova = iova, .size = size, .perm = perm };
	struct iommu_region region;

	must(iommu_region_open(&request, fd, &region) == 0 &&
			iommu_insert(&function->iommu, &region) == 0,
		"memory can't be mapped");
	return &function->iommu.regions[0];
}

static void *reach(uint64_t iova, uint64_t size)
{
	uint64_t address;
	void *at = iommu_range(&function->iommu, iova, size, SIM_PERM_READ | SIM_PERM_WRITE, &address);

	must(at, "a ring is not in memory");
	return at;
}

/* A range leads to another one, of the guest's memory. As tools/simnic/translation.c. */
static void translate(uint64_t iova, uint64_t address, uint64_t size, uint32_t perm)
{
	const struct iotlb_entry entry = { .iova = iova, .size = size, .address = address, .perm = perm };

	if (!function->iommu.translates)
		return;
	must(iotlb_insert(&function->iommu.iotlb, &entry, NULL, NULL) == 0, "a translation is refused");
	function->queues[0].hit.size = 0;
}

/* Those of a ring are there as long as its queue runs. */
static void translate_ring(const struct vq *q)
{
	const uint32_t rw = SIM_PERM_READ | SIM_PERM_WRITE;

	translate(q->desc_iova, q->desc_iova, q->desc_size, rw);
	translate(q->driver_iova, q->driver_iova, q->driver_size, rw);
	translate(q->device_iova, q->device_iova, q->device_size, rw);
}

/* As tools/simnic/queues.c prepares and starts it. */
static struct vq *begin_queue(struct input *in)
{
	struct vq *q = &function->queues[0];
	uint8_t how = input_byte(in);
	uint16_t at = (uint16_t)input_word(in, 2);

	memset(q, 0, sizeof(*q));
	*q = (struct vq){
		.function = function,
		.regs = &regs.queues[how & 1],
		.index = how & 1,
		.status = SIM_QUEUE_RUNNING,
		.size = lab.size,
		.desc_iova = lab.setup.desc,
		.driver_iova = lab.setup.driver,
		.device_iova = lab.setup.device,
		.kick_fd = -1,
		.call_fd = -1,
		.err_fd = -1,
		.packed = lab.packed,
		.event_idx = lab.event_idx,
		.indirect = lab.indirect,
		.mergeable = how & 2,
		.batch_used = lab.in_order && how & 1,
		.takes_offloads = how & 4,
		.header_size = 12,
		.at = { .avail = at, .used = at },
	};
	q->mixes = how & 8 && !(how & 1) && !lab.in_order;
	q->holds = how & 8 && how & 1 && !lab.in_order;
	if (lab.packed) {
		q->at.avail = q->at.used = at % (uint16_t)lab.size;
		q->at.avail_wrap = q->at.used_wrap = how & 0x10;
	}
	q->desc_size = 16 * lab.size;
	q->driver_size = lab.packed ? 4 : 6 + 2 * lab.size;
	q->device_size = lab.packed ? 4 : 6 + 8 * lab.size;
	translate_ring(q);
	q->desc = reach(q->desc_iova, q->desc_size);
	q->driver = reach(q->driver_iova, q->driver_size);
	q->device = reach(q->device_iova, q->device_size);
	ring_write_next(q, sim_position_word(q->at, q->packed));
	ring_write_position(q, sim_position_word(q->at, q->packed));
	return q;
}

/* ------------------------------------------------------------------------------- checks */

/* Does any of the driver's addresses lead there? */
static bool is_translated(const struct piece *p, uint32_t perm)
{
	const struct iotlb *t = &function->iommu.iotlb;

	for (uint32_t i = 0; i < t->n; i++) {
		const struct iotlb_entry *e = &t->entries[i];

		if (p->iova >= e->address && p->iova - e->address < e->size &&
			p->size <= e->size - (p->iova - e->address) && (e->perm & perm) == perm)
			return true;
	}
	return !function->iommu.translates;
}

static bool is_mapped(const struct piece *p, uint32_t perm)
{
	const struct iommu_region *region = iommu_find(&function->iommu, p->iova);

	return is_translated(p, perm) && region && (region->map.perm & perm) == perm &&
	       p->size <= region->map.size - (p->iova - region->map.iova) &&
	       p->at == region->host + (p->iova - region->map.iova);
}

static void check_burst(const struct vq *q, uint32_t perm)
{
	uint32_t n_entries = 0;

	must(burst.n_chains <= RING_MAX_CHAINS && burst.n_pieces <= RING_MAX_PIECES,
		"%u chains, %u pieces", burst.n_chains, burst.n_pieces);
	for (uint32_t i = 0; i < burst.n_chains; i++) {
		const struct chain *c = &burst.chains[i];
		uint64_t size = 0;

		for (uint32_t k = 0; k < c->n_pieces; k++) {
			must(is_mapped(&c->pieces[k], perm), "a piece at %#lx is not mapped",
				c->pieces[k].iova);
			size += c->pieces[k].size;
		}
		must(size == c->size, "a chain of %u bytes has %lu", c->size, size);
		must(q->packed || c->id < q->size, "a chain begins at descriptor %u", c->id);
		n_entries += q->packed ? c->n_desc : 1;
	}
	must(n_entries <= q->size, "chains take %u entries", n_entries);
}

static void check_positions(const struct vq *q)
{
	struct queue_position at = sim_position(q->regs->position, q->packed);

	must(queue_position_equal(at, q->at) && q->regs->position == q->regs->next_position,
		"the registers are elsewhere than the queue");
	must(!q->packed || (q->at.avail < q->size && q->at.used < q->size), "position %u, %u",
		q->at.avail, q->at.used);
	must(q->holds || (q->at.avail == q->at.used),
		"chains are in flight, and the queue holds none");
	must(!q->waits || (function->iommu.translates &&
				  regs.misses[q->index].state == SIM_MISS_WAITS &&
				  !iotlb_find(&function->iommu.iotlb, regs.misses[q->index].iova)),
		"the queue waits for what is there, or nobody knows for what");
	must(q->regs->in_flight == q->held.n, "in flight are %u, not %u", q->regs->in_flight,
		q->held.n);
}

/* Marks of buffers that are given back now are made; then there are none. */
static void check_marks(uint32_t n)
{
	if (!function->log.bits || cut)
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct chain *c = &burst.chains[i];
		uint32_t left = c->used;

		for (uint32_t k = 0; k < c->n_pieces && left > 0; k++) {
			uint32_t some = left < c->pieces[k].size ? left : c->pieces[k].size;

			must(some == 0 || (lab_log_has(&lab, c->pieces[k].iova) &&
						  lab_log_has(&lab, c->pieces[k].iova + some - 1)),
				"%#lx was written and is not marked", c->pieces[k].iova);
			left -= some;
		}
	}
	must(n == 0 || lab_log_has(&lab, lab.packed ? lab.setup.desc : lab.setup.device),
		"the ring was written and is not marked");
}

/* ------------------------------------------------------------------------------- bursts */

static void transmit(struct vq *q, uint64_t now)
{
	static uint8_t frame[12 + FRAME_MAX_SIZE];
	uint32_t n;

	ring_begin(q, &burst);
	n = ring_collect(q, &burst, NIC_BURST, SIM_PERM_READ);
	check_burst(q, SIM_PERM_READ);
	for (uint32_t i = 0; i < n; i++) {
		struct cursor at = { .chain = &burst.chains[i] };
		uint32_t size = burst.chains[i].size;

		burst.chains[i].used = 0;
		burst.chains[i].more = false;
		if (size <= sizeof(frame))
			cursor_get(&at, frame, size);
	}
	if (q->holds) {
		held_take(q, &burst, n, now);
		if (n == 0)
			held_rest(q, &burst, now);
	} else {
		ring_publish(q, &burst, n);
	}
}

/* Return: how many chains from @first on hold @size bytes; 0: not so many. */
static uint32_t chains_for(struct vq *q, uint32_t first, uint32_t size)
{
	uint64_t room = 0;
	uint32_t n = 0;

	while (room < size) {
		if (first + n == burst.n_chains && ring_collect(q, &burst, 4, SIM_PERM_WRITE) == 0)
			return 0;
		room += burst.chains[first + n++].size;
		if (!q->mergeable && room < size)
			return 0;
	}
	return n;
}

static void receive(struct vq *q, uint32_t n_frames, uint32_t size)
{
	static uint8_t frame[12 + FRAME_MAX_SIZE];
	uint32_t used = 0;

	ring_begin(q, &burst);
	ring_collect(q, &burst, n_frames, SIM_PERM_WRITE);
	check_burst(q, SIM_PERM_WRITE);
	for (uint32_t i = 0; i < n_frames; i++) {
		uint32_t n = chains_for(q, used, size), left = size;
		struct cursor at = { .chain = &burst.chains[used] };

		if (n == 0)
			break;
		cursor_put(&at, frame, size);
		for (uint32_t k = 0; k < n; k++) {
			struct chain *c = &burst.chains[used + k];

			c->used = left < c->size ? left : c->size;
			c->more = k + 1 < n;
			left -= c->used;
		}
		used += n;
	}
	check_burst(q, SIM_PERM_WRITE);
	if (q->mixes)
		ring_mix(&burst, used);
	memset(lab.log_bits + LAB_GPA / LAB_PAGE / 8, 0, 64);
	ring_publish(q, &burst, used);
	check_marks(used);
}

/* ------------------------------------------------------------------------------- inputs */

static void poke(struct input *in)
{
	const uint64_t areas[] = { lab.desc, lab.driver, lab.device, lab.tables };
	uint8_t which = input_byte(in);
	uint64_t at = areas[which % 4] + input_word(in, 1 + which / 128) % (16 * lab.size);

	__atomic_store_n(&lab.ram[at], input_byte(in), __ATOMIC_RELAXED);
}

/* What is missing comes, or something else; or a page is taken back. */
static void change_translations(struct vq *q, uint8_t how, uint8_t where)
{
	const struct sim_miss *miss = &regs.misses[q->index];
	uint64_t pages = lab.ram_size / LAB_PAGE, page = LAB_GPA + where % pages * LAB_PAGE;
	uint64_t at = how & 4 ? LAB_GPA + (how >> 4) % pages * LAB_PAGE : page;

	if (!function->iommu.translates)
		return;
	if (how % 4 == 0) {
		iotlb_remove(&function->iommu.iotlb, page, page + (LAB_PAGE - 1));
		q->hit.size = 0;
	} else if (how % 4 == 3) {
		translate(page, at, LAB_PAGE, how & 8 ? SIM_PERM_READ : SIM_PERM_WRITE);
	} else if (q->waits) {
		page = miss->iova & ~(uint64_t)(LAB_PAGE - 1);
		if (page >= LAB_GPA && page - LAB_GPA < lab.ram_size)
			translate(page, how & 4 ? at : page, LAB_PAGE, SIM_PERM_READ | SIM_PERM_WRITE);
	}
	if (q->waits && (how % 4 != 0 || how & 8)) { /* all that wait look again, whatever came */
		q->waits = q->parked = false;
		regs.misses[q->index].state = SIM_MISS_NONE;
	}
}

static void cut_memory(uint8_t how)
{
	cut = true;
	must(ftruncate(lab.ram_fd, (off_t)(lab.ram_size * how / 256)) == 0, "ftruncate");
}

static void do_step(struct vq *q, struct input *in)
{
	static uint64_t now = 1;
	uint8_t op = input_byte(in), n = input_byte(in);

	switch (op % 8) {
	case 0:
	case 1:
		if (q->status != SIM_QUEUE_RUNNING)
			break;
		now += (uint64_t)n << 24;
		if (vq_is_receive(q))
			receive(q, 1 + n % NIC_BURST, 12 + (n & 0x80 ? FRAME_MAX_SIZE : 60U + n));
		else
			transmit(q, now);
		check_positions(q);
		if (q->fault) {
			held_release(q, &burst);
			ring_fail(q);
		}
		break;
	case 2:
		if (q->status == SIM_QUEUE_RUNNING && ring_ask_kicks(q) && n & 1)
			ring_refuse_kicks(q);
		break;
	case 3:
		for (; n > 0; n--)
			lab_scribble(&lab, &lab.rng);
		break;
	case 4:
		poke(in);
		break;
	case 5: /* stopped, and started elsewhere */
		held_release(q, &burst);
		check_positions(q);
		begin_queue(in);
		break;
	case 6:
		if (op > 250)
			cut_memory(n);
		else
			change_translations(q, op >> 3, n);
		break;
	default:
		held_release(q, &burst);
		check_positions(q);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	setenv("CMOCKA_TEST_ABORT", "1", 1); /* the lab's checks */
	read_only_fd = memfile_create("read-only", READ_ONLY_SIZE);
	function = calloc(1, sizeof(*function) + 2 * sizeof(struct vq));
	must(function && read_only_fd >= 0, "no memory");
	function->nic = &nic;
	function->regs = &regs;
	function->n_queues = 2;
	nic.functions[0] = function;
	nic.n_slots = 1;
	must(iommu_init(&function->iommu) == 0, "no memory");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t sizes[] = { 8, 1, 2, 4, 16, 64, 256, 3, 7, 100 };
	static const uint64_t features[] = { LAB_PACKED, LAB_EVENT, LAB_INDIRECT, LAB_IN_ORDER };
	struct input in = { data, size };
	uint8_t how = input_byte(&in), ring = input_byte(&in);
	uint64_t seed = input_word(&in, 2) * 2 + 1, bits = 0;
	struct iommu_region region;
	struct vq *q;
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		bits |= how >> i & 1 ? features[i] : 0;
	lab_open_flat(&lab, sizes[ring % (bits & LAB_PACKED ? 10 : 7)], bits);
	lab.rng = seed * 0x9e3779b97f4a7c15ULL;
	map(LAB_GPA, lab.ram_size, lab.ram_fd, SIM_PERM_READ | SIM_PERM_WRITE);
	map(LAB_SHADOW, READ_ONLY_SIZE, read_only_fd, SIM_PERM_READ);
	must(memory_watch(&nic) == 0, "no signal handler"); /* the lab has its own */
	lab.ram = function->iommu.regions[0].host;
	memset(&regs, 0, sizeof(regs));
	must(iommu_translate(&function->iommu, how & 0x80) == 0, "no memory");
	if (how & 0x80 && how & 0x10) /* all is known at first */
		translate(LAB_GPA, LAB_GPA, lab.ram_size, SIM_PERM_READ | SIM_PERM_WRITE);
	if (how & 0x20)
		must(dirty_open(&(struct sim_log){ .size = lab.log_size }, lab.log_fd,
			     &function->log) == 0,
			"no log");
	function->log.rings = true;
	done = cut = false;
	q = begin_queue(&in);
	if (how & 0x40)
		must(pthread_create(&thread, NULL, play_guest, &seed) == 0, "no thread");
	for (int i = 0; i < MAX_STEPS && in.size > 0; i++)
		do_step(q, &in);
	held_release(q, &burst);
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	if (how & 0x40)
		pthread_join(thread, NULL);
	dirty_close(&function->log);
	while (function->iommu.n_regions > 0) {
		must(iommu_remove(&function->iommu, function->iommu.regions[0].map.iova,
			     function->iommu.regions[0].map.size, &region),
			"a region can't be removed");
		iommu_region_close(&region);
	}
	lab_close(&lab);
	return 0;
}

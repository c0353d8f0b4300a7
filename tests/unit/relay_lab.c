/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory, relay and auditor of the lab. */
#include "relay_lab.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t lab_random(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

static void lay_out(struct lab *lab)
{
	uint64_t at = LAB_PAGE;

	lab->desc = at;
	at = align_up(at + 16ULL * lab->size, LAB_PAGE);
	lab->driver = at;
	at = align_up(at + 6 + 2ULL * lab->size, LAB_PAGE);
	lab->device = at;
	at = align_up(at + 6 + 8ULL * lab->size, LAB_PAGE);
	lab->tables = at;
	at = align_up(at + 16ULL * LAB_MAX_PIECES * lab->size, LAB_PAGE);
	lab->buffers = at + 77;
	at += (uint64_t)lab->slot_size * lab->size + 77;
	lab->ram_size = align_up(at, LAB_PAGE) + 2 * LAB_PAGE;
}

static void describe_memory(struct lab *lab)
{
	uint64_t first = align_up((lab->buffers + lab->ram_size) / 2, LAB_PAGE) - LAB_PAGE;

	lab->table.n_regions = lab->flat ? 1 : 2;
	lab->table.regions[0] = (struct memory_region){
		.gpa = LAB_GPA,
		.size = lab->flat ? lab->ram_size : first,
		.uva = 0x500000000,
	};
	lab->table.regions[1] = (struct memory_region){
		.gpa = LAB_GPA + first,
		.size = lab->ram_size - first,
		.offset = first,
		.uva = 0x100000000,
	};
	for (int i = 0; i < 2; i++) {
		lab->table.regions[i].slot = fdstore_add(&lab->fds, dup(lab->ram_fd));
		assert_int_equal(memory_file_check(lab->ram_fd, &lab->table.regions[i]), 0);
	}
}

void lab_attach(struct lab *lab)
{
	assert_int_equal(guestmem_init(&lab->memory), 0);
	assert_int_equal(guestmem_set(&lab->memory, &lab->table, &lab->fds), 0);
	assert_int_equal(
		dirty_log_open(lab->log_fd, 0, lab->log_size, LAB_GPA + lab->ram_size, &lab->log),
		0);
}

void lab_detach(struct lab *lab)
{
	guestmem_free(&lab->memory);
	dirty_log_close(lab->log);
	lab->log = NULL;
}

static void *map_file(int fd, uint64_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(at != MAP_FAILED);
	return at;
}

static void driver_init(struct lab *lab)
{
	uint32_t n = lab->size;

	lab->chains = calloc(n, sizeof(*lab->chains));
	lab->free_slots = calloc(n, sizeof(*lab->free_slots));
	lab->slot_of = calloc(n, sizeof(*lab->slot_of));
	lab->next_free = calloc(n, sizeof(*lab->next_free));
	lab->fifo = calloc(n, sizeof(*lab->fifo));
	lab->dev.taken = calloc(n, sizeof(*lab->dev.taken));
	for (uint32_t i = 0; i < n; i++) {
		lab->free_slots[i] = i;
		lab->next_free[i] = (uint16_t)(i + 1);
	}
	lab->n_free_slots = lab->n_free_desc = n;
	lab->at = queue_position_initial(lab->packed);
}

static void open_lab(
	struct lab *lab, uint32_t size, uint64_t features, uint32_t slot_size, bool flat)
{
	memset(lab, 0, sizeof(*lab));
	lab->flat = flat;
	lab->size = size;
	lab->features = features;
	lab->packed = features & LAB_PACKED;
	lab->indirect = features & LAB_INDIRECT;
	lab->event_idx = features & LAB_EVENT;
	lab->in_order = features & LAB_IN_ORDER;
	lab->rng = 0x9e3779b97f4a7c15ULL + size * 7 + features;
	lab->dev.rng = lab->rng * 3;
	lab->dev.in_order = lab->in_order;
	lab->max_pieces = LAB_MAX_PIECES;
	lab->slot_size = slot_size;
	lay_out(lab);

	fdstore_init(&lab->fds, NULL, 0);
	lab->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(lab->ram_fd, (off_t)lab->ram_size), 0);
	lab->before = malloc(lab->ram_size);
	lab->log_size = (LAB_GPA + lab->ram_size + lab->ram_size) / LAB_PAGE / 8 + 1;
	lab->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(lab->log_fd, (off_t)lab->log_size), 0);
	lab->log_bits = map_file(lab->log_fd, lab->log_size);
	describe_memory(lab);
	lab_attach(lab);
	lab->ram = flat ? guestmem_at(&lab->memory, LAB_GPA, lab->ram_size)
			: map_file(lab->ram_fd, lab->ram_size);
	driver_init(lab);

	lab->kept_size = relay_kept_layout(size, lab->packed).size;
	lab->kept = mmap(
		NULL, lab->kept_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(lab->kept != MAP_FAILED);
	memset(lab->kept, 0xa5, lab->kept_size);
	lab->setup = (struct relay_setup){
		.memory = &lab->memory,
		.features = features,
		.size = size,
		.desc = LAB_GPA + lab->desc,
		.driver = LAB_GPA + lab->driver,
		.device = LAB_GPA + lab->device,
		.shadow_iova = LAB_SHADOW,
		.call_fd = -1,
		.device_fd = -1,
	};
}

void lab_open(struct lab *lab, uint32_t size, uint64_t features)
{
	lab_open_slots(lab, size, features, size > 1024 ? 256 : 3000);
}

void lab_open_flat(struct lab *lab, uint32_t size, uint64_t features)
{
	open_lab(lab, size, features, 3000, true);
}

void lab_open_slots(struct lab *lab, uint32_t size, uint64_t features, uint32_t slot_size)
{
	open_lab(lab, size, features, slot_size, false);
}

void lab_begin_at(struct lab *lab, uint16_t start)
{
	struct vring_avail *avail = (void *)(lab->ram + lab->driver);
	struct vring_used *used = (void *)(lab->ram + lab->device);

	struct vring_packed_desc *ring = (void *)(lab->ram + lab->desc);

	lab->at.avail = lab->at.used = start;
	if (!lab->packed)
		avail->idx = used->idx = start;
	for (uint32_t i = 0; i < start && lab->packed; i++)
		ring[i].flags = BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED);
}

void lab_close(struct lab *lab)
{
	relay_close(lab->relay);
	lab_detach(lab);
	fdstore_close_all(&lab->fds);
	if (!lab->flat)
		munmap(lab->ram, lab->ram_size);
	munmap(lab->log_bits, lab->log_size);
	munmap(lab->kept, lab->kept_size);
	close(lab->ram_fd);
	close(lab->log_fd);
	free(lab->before);
	free(lab->chains);
	free(lab->free_slots);
	free(lab->slot_of);
	free(lab->next_free);
	free(lab->fifo);
	free(lab->dev.taken);
}

void lab_log(struct lab *lab, bool on, bool ring)
{
	lab->log_ring = on && ring;
	lab->log_addr = LAB_GPA + lab->device + lab->ram_size;
	assert_int_equal(relay_set_log(lab->relay, on ? lab->log : NULL, ring, lab->log_addr), 0);
}

void lab_relay_open(struct lab *lab, struct queue_position at, enum relay_begin begin)
{
	int r;

	lab->setup.position = at;
	r = relay_open(&lab->setup, lab->kept, begin, &lab->relay);
	if (r != 0)
		fail_msg("relay_open: %d", r);
}

int lab_relay_run(struct lab *lab)
{
	struct relay_work work;
	int r;

	do {
		r = relay_run(lab->relay,
			1 + lab_below(&lab->rng, lab_below(&lab->rng, 2) ? 4 : 300), &work);
	} while (r == 0 && (work.offered > 0 || work.returned > 0));
	return r;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

void lab_play(struct lab *lab, uint64_t n, uint64_t ns)
{
	uint64_t until = lab->n_got + n, end = now_ns() + ns;

	do {
		lab_give_some(lab, 20);
		lab_take(lab, lab_below(&lab->rng, 20));
		lab_complete(lab, lab_below(&lab->rng, 20));
		lab_get(lab);
	} while ((n == 0 || lab->n_got < until) && now_ns() < end);
}

/* The child: takes the relay over and runs it until it is killed. */
static void relay_until_killed(struct lab *lab, bool logs)
{
	struct relay_work work;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (relay_open(&lab->setup, lab->kept, RELAY_RESUME, &lab->relay) < 0)
		_exit(2);
	if (logs)
		lab_log(lab, true, true);
	for (;;) {
		if (relay_run(lab->relay, 64, &work) < 0)
			_exit(3);
		if (work.offered == 0 && work.returned == 0)
			relay_sleep(lab->relay);
	}
}

void lab_relay_killed(struct lab *lab, bool logs)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		relay_until_killed(lab, logs);
	lab_play(lab, 1 + lab_below(&lab->rng, 100), 100000000);
	lab_play(lab, 0, lab_below(&lab->rng, 50000));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the relay ended by itself: %#x", (unsigned int)status);
}

void lab_drain(struct lab *lab, struct queue_position at)
{
	lab_device_direct(lab, at);
	for (int i = 0; i < 100 && lab_out(lab) > 0; i++) {
		lab_take(lab, lab->size);
		lab_complete(lab, lab->size);
		lab_get(lab);
	}
	assert_int_equal(lab_out(lab), 0);
}

void lab_relay_end(struct lab *lab)
{
	struct queue_position at;

	assert_int_equal(lab_relay_run(lab), 0);
	at = lab_device_stop(lab);
	assert_int_equal(relay_finish(lab->relay, &at, &at), 0);
	lab_get(lab);
	lab_drain(lab, at);
}

void lab_audit_begin(struct lab *lab)
{
	memcpy(lab->before, lab->ram, lab->ram_size);
}

bool lab_log_has(const struct lab *lab, uint64_t gpa)
{
	uint64_t page = gpa / LAB_PAGE;

	return __atomic_load_n(&lab->log_bits[page / 8], __ATOMIC_RELAXED) >> page % 8 & 1;
}

/*
 * The page of the ring's device area is marked under an address beyond all memory, so that nothing
 * takes it from the ring's own. -1: it need not be marked.
 */
static int64_t marked_as(const struct lab *lab, uint64_t offset)
{
	uint64_t area = lab->packed ? 4 : 6 + 8ULL * lab->size;
	bool device = offset >= lab->device && offset < align_up(lab->device + area, LAB_PAGE);
	bool ring = device || (offset >= lab->desc && offset < lab->driver);

	if (ring && !lab->log_ring)
		return -1;
	return (int64_t)(LAB_GPA + offset + (device ? lab->ram_size : 0));
}

int64_t lab_audit(struct lab *lab)
{
	for (uint64_t at = 0; at < lab->ram_size; at += LAB_PAGE) {
		int64_t gpa;

		if (memcmp(lab->ram + at, lab->before + at, LAB_PAGE) == 0)
			continue;
		gpa = marked_as(lab, at);
		if (gpa >= 0 && !lab_log_has(lab, (uint64_t)gpa))
			return (int64_t)at;
	}
	memset(lab->log_bits + LAB_GPA / LAB_PAGE / 8, 0, lab->log_size - LAB_GPA / LAB_PAGE / 8);
	return -1;
}

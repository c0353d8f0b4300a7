/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A relay between a guest that rewrites its rings and tables, and a device that may be as bad, with
 * successors that find what their predecessor kept, or something else
 * (tests/unit/relay_lab_hostile.h). The guest does so between two steps, and if the input wants it
 * also in a thread of its own. Whatever they do, the device is given guest memory only, and each
 * page that it or the relay writes is marked.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tests/unit/relay_lab_hostile.h"
#include "vdpa/base/log.h"
#include "vdpa/inflight.h"

#define MAX_STEPS 300

static struct lab lab;
static uint64_t area_size;
static bool done;         /* atomic */
static bool logs, cut;    /* marks are made; a file was cut short */
static bool hit, was_hit; /* memory lies at the shadow ring, or did while this relay was there */
static bool mad;          /* the device may say anything, and the lab's device is of no use */
static bool forged;       /* what is kept was not written by a relay */

enum op {
	OP_RUN,
	OP_WORK, /* the device takes and completes some */
	OP_TAKE,
	OP_COMPLETE,
	OP_SLEEP,
	OP_RESUME,   /* the process died */
	OP_SCRIBBLE, /* in ring and tables, by chance */
	OP_POKE,     /* one byte of the guest's */
	OP_AREA,     /* in the inflight area */
	OP_FINISH,   /* and another one begins */
	OP_FORGE,    /* a byte of what is kept */
	OP_DEVICE,   /* a byte that the device may write */
	OP_LOG,      /* marks: nowhere, of buffers, of all */
	OP_CUT,      /* a file becomes shorter */
	OP_MEMORY,   /* memory comes to where the shadow ring is, or goes */
	OP_CALL,
	OP_N
};

static void *play_guest(void *seed)
{
	uint64_t rng = *(uint64_t *)seed;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		lab_scribble(&lab, &rng);
		if (area_size > 0)
			lab_scribble_area(&lab, &rng);
	}
	return NULL;
}

static void set_log(unsigned int how)
{
	logs = how > 0;
	lab.log_addr = LAB_GPA + lab.device + lab.ram_size;
	must(relay_set_log(lab.relay, logs ? lab.log : NULL, how > 1, lab.log_addr) == 0,
		"a log is refused");
	logs = how > 1;
}

static bool open_relay(enum relay_begin begin)
{
	int r = relay_open(&lab.setup, lab.kept, begin, &lab.relay);

	if (r < 0) {
		lab.relay = NULL;
		must((r == -EBADMSG && (forged || lab.setup.resubmits || area_size > 0)) ||
				(r == -EFAULT && cut) || (r == -EEXIST && hit) ||
				(r == -EINVAL && forged),
			"relay_open: %d", r);
		return false;
	}
	was_hit = hit;
	set_log(2);
	return true;
}

static void open_somewhere(struct input *in)
{
	uint16_t at = (uint16_t)input_word(in, 2);
	uint8_t how = input_byte(in);
	bool wrap = lab.packed && how & 1;

	forged = mad = false;
	if (lab.packed)
		at %= (uint16_t)lab.size;
	else if (how & 2)
		at = shared_load16(&((struct vring_avail *)(void *)(lab.ram + lab.driver))->idx);
	lab.setup.resubmits = area_size > 0 && how & 4;
	if (lab.setup.resubmits && how & 8)
		lab_write_area(&lab, at, wrap, &lab.rng);
	lab.setup.position = (struct queue_position){ at, at, wrap, wrap };
	lab.dev.n_taken = lab.dev.n_wrote = 0;
	if (open_relay(RELAY_FRESH) &&
		relay_device_queue(lab.relay, &(struct driver_queue){ 0 }) == 0)
		lab_device_shadow(&lab);
}

static void run(uint32_t budget)
{
	uint64_t gpa;
	int r = lab_hostile_run(&lab, budget, &gpa);

	if (r == 1) {
		must(!logs || cut || forged, "the relay wrote to %#lx, which is not marked", gpa);
		lab_hostile_marks(&lab, &gpa); /* of what nobody marks */
		return;
	}
	must(r == 0 || r == -EBADMSG || (r == -EPROTO && (mad || forged)) ||
			(r == -EFAULT && cut) || (r == -EEXIST && was_hit),
		"relay_run: %d, %s", r, relay_reason(lab.relay));
	must(r == 0 || relay_reason(lab.relay), "relay_run fails for no reason: %d", r);
	must(lab_hostile_marks(&lab, &gpa) || r < 0 || !logs || cut || mad,
		"the device wrote to %#lx, which is not marked", gpa);
}

static void finish(struct input *in)
{
	struct queue_position at = lab_device_stop(&lab);
	uint8_t how = input_byte(in);
	int r = relay_finish(lab.relay, how & 1 && !mad ? &at : NULL, &at);

	must(r == 0 || (r == -EBADMSG && area_size > 0) || (r == -EPROTO && (mad || forged)) ||
			(r == -EFAULT && (cut || was_hit)) || (r == -EEXIST && was_hit),
		"relay_finish: %d, %s", r, relay_reason(lab.relay));
	relay_close(lab.relay);
	lab.relay = NULL;
	open_somewhere(in);
}

static void resume(void)
{
	relay_close(lab.relay);
	lab.relay = NULL;
	open_relay(RELAY_RESUME);
}

static void forge(struct input *in)
{
	uint64_t at = input_word(in, 2),
		 end = relay_kept_layout(lab.size, lab.packed).shadow_offset;
	uint8_t *kept = lab.kept;

	relay_close(lab.relay);
	lab.relay = NULL;
	kept[at % end] ^= input_byte(in);
	forged = mad =
		true; /* what the shadow ring has is nothing that the lab's device could check */
	open_relay(RELAY_RESUME);
}

/* All that a device of the layout writes. */
static void poke_device(struct input *in)
{
	struct relay_kept_layout l = relay_kept_layout(lab.size, lab.packed);
	uint64_t at = input_word(in, 2);
	uint8_t *shadow = (uint8_t *)lab.kept + l.shadow_offset;
	uint64_t begin = lab.packed ? 0 : (uint64_t)((uint8_t *)lab.dev.device - shadow);

	if (!lab.packed && (begin >= l.shadow_size || !lab.dev.shadow))
		return;
	shadow[begin + at % (l.shadow_size - begin)] = input_byte(in);
	mad = true;
}

static void poke_guest(struct input *in)
{
	const uint64_t areas[] = { lab.desc, lab.driver, lab.device, lab.tables };
	uint8_t which = input_byte(in);
	uint64_t at = areas[which % 4] + input_word(in, 1 + which / 128) % (16 * lab.size);

	__atomic_store_n(&lab.ram[at], input_byte(in), __ATOMIC_RELAXED);
}

static void cut_file(struct input *in)
{
	uint8_t how = input_byte(in);
	uint64_t size = how & 1 ? lab.log_size : lab.ram_size;

	if (how & 1) /* the lab has a map of its own, which nobody mends */
		must(mmap(lab.log_bits, lab.log_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			     0) != MAP_FAILED,
			"mmap: %s", strerror(errno));
	else if (!lab.flat)
		return;
	must(ftruncate(how & 1 ? lab.log_fd : lab.ram_fd, (off_t)(size * (how / 2) / 128)) == 0,
		"ftruncate");
	cut = true;
}

static void change_memory(struct input *in)
{
	struct memory_table table = lab.table;
	struct memory_region *more = &table.regions[table.n_regions];

	bool hits = input_byte(in) & 1;

	if (cut) /* what is mapped anew would be cut, too */
		return;
	hit = hits;
	was_hit = was_hit || hit;
	if (hit) {
		*more = lab.table.regions[0];
		more->gpa = LAB_SHADOW;
		more->size = LAB_PAGE;
		more->uva = 0x900000000;
		table.n_regions++;
	}
	must(guestmem_set(&lab.memory, &table, &lab.fds) == 0, "memory that can't be mapped");
}

static void do_step(struct input *in)
{
	enum op op = input_byte(in) % OP_N;
	uint8_t n = input_byte(in);

	if (!lab.relay) {
		open_somewhere(in);
		return;
	}
	switch (op) {
	case OP_RUN:
		run(1 + n);
		break;
	case OP_WORK:
	case OP_TAKE:
		if (!mad)
			lab_take(&lab, n);
		if (op == OP_TAKE)
			break;
		/* fall through */
	case OP_COMPLETE:
		if (!mad && lab.dev.n_wrote < ARRAY_SIZE(lab.dev.wrote) / 2)
			lab_complete(&lab, n % 32);
		break;
	case OP_SLEEP:
		relay_sleep(lab.relay);
		break;
	case OP_RESUME:
		resume();
		break;
	case OP_SCRIBBLE:
		for (; n > 0; n--)
			lab_scribble(&lab, &lab.rng);
		break;
	case OP_POKE:
		poke_guest(in);
		break;
	case OP_AREA:
		for (; n > 0 && area_size > 0; n--)
			lab_scribble_area(&lab, &lab.rng);
		break;
	case OP_FINISH:
		finish(in);
		break;
	case OP_FORGE:
		forge(in);
		break;
	case OP_DEVICE:
		poke_device(in);
		break;
	case OP_LOG:
		set_log(n % 3);
		break;
	case OP_CUT:
		cut_file(in);
		break;
	case OP_MEMORY:
		change_memory(in);
		break;
	default:
		relay_set_call_fd(lab.relay, -1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	setenv("CMOCKA_TEST_ABORT", "1", 1); /* the lab's checks */
	log_set_level((enum log_level)0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t sizes[] = { 8, 1, 2, 4, 16, 64, 256, 3, 7, 100 };
	static const uint64_t features[] = { LAB_PACKED, LAB_EVENT, LAB_INDIRECT, LAB_IN_ORDER };
	struct input in = { data, size };
	uint8_t how = input_byte(&in), ring = input_byte(&in);
	uint64_t seed = input_word(&in, 2) * 2 + 1, bits = 0;
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		bits |= how >> i & 1 ? features[i] : 0;
	if (how & 0x10)
		lab_open(&lab, sizes[ring % (bits & LAB_PACKED ? 10 : 7)], bits);
	else
		lab_open_flat(&lab, sizes[ring % (bits & LAB_PACKED ? 10 : 7)], bits);
	lab.rng = seed * 0x9e3779b97f4a7c15ULL;
	lab.dev.rng = seed * 0xda942042e4dd58b5ULL;
	lab.dev.lenient = true;
	lab.dev.in_order = bits & LAB_IN_ORDER || how & 0x20;
	area_size = how & 0x40 ? inflight_part_size(lab.size, lab.packed) : 0;
	if (area_size > 0)
		lab.setup.inflight = mmap(
			NULL, area_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	done = cut = hit = was_hit = false;
	open_somewhere(&in);
	if (how & 0x80)
		must(pthread_create(&thread, NULL, play_guest, &seed) == 0, "no thread");
	for (int i = 0; i < MAX_STEPS && in.size > 0; i++)
		do_step(&in);
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	if (how & 0x80)
		pthread_join(thread, NULL);
	if (area_size > 0)
		munmap(lab.setup.inflight, area_size);
	lab_close(&lab);
	return 0;
}

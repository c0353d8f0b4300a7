/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simnic with a data thread, and a function whose driver asks for anything, with any descriptors,
 * while its guest writes to rings and buffers, sends commands, and may be behind an IOMMU; a second
 * function gets the frames that come of it. Whatever the two do, each request has one answer of its
 * form, memory is mapped and translated without overlaps, a queue that is prepared or runs has its
 * ring in mapped memory, what commands set is what they can set, frames that wait are counted, and
 * when the function goes nothing of it is left.
 */
#include "tests/fuzz/simnic_mailbox_internal.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/must.h"
#include "tools/simnic/control.h"
#include "tools/simnic/eal.h"
#include "tools/simnic/mailbox.h"
#include "tools/simnic/memory.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/queues.h"
#include "tools/simnic/thread.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define MAX_STEPS 120

enum op {
	OP_ASK,
	OP_ASK_TOO,
	OP_ASK_ANY, /* with bytes that are changed, or other descriptors */
	OP_OPEN,    /* what a driver asks for so that its queues run */
	OP_OFFER,   /* the guest offers chains, and kicks */
	OP_OFFER_TOO,
	OP_POKE, /* the guest writes anywhere */
	OP_CUT,
	OP_ATTACH,  /* another driver comes */
	OP_COMMAND, /* the guest sends one through its control queue */
	OP_ANSWER,  /* what queues wait for is translated */
	OP_FRAMES,  /* for the function, from the other one */
	OP_N
};

static struct simnic_stand stand;

/* ------------------------------------------------------------------------------- process */

/* As tools/simnic/main.c. */
static void on_attention(struct source *source)
{
	struct nic *nic = (struct nic *)((char *)source - offsetof(struct nic, attention));
	uint64_t value;

	(void)!read(source->fd, &value, sizeof(value));
	for (uint32_t i = 0; i < nic->n_slots; i++) {
		struct function *f = nic->functions[i];

		if (!f || !atomic_exchange(&f->faulty_any, false))
			continue;
		nic_pause(nic);
		function_rescan(f);
		nic_resume(nic);
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

void simnic_run_loop(struct simnic_stand *s)
{
	struct epoll_event event;

	for (int i = 0; i < 20 && epoll_wait(s->nic.loop.epoll_fd, &event, 1, 0) > 0; i++) {
		struct source *source = event.data.ptr;

		source->ready(source);
	}
}

static void start_nic(struct simnic_stand *s)
{
	int attention = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	s->nic.options = (struct options){ .name = "fuzz",
		.listen_fd = -1,
		.uplink = UPLINK_LOOP,
		.uplink_text = "loop",
		.threads = 1,
		.memory_mb = 32,
		.flood_limit = 0,
		.dirty_log = LOG_ALL,
		.log_level = LOG_LEVEL_ERROR };
	must(loop_init(&s->nic.loop) == 0 &&
			loop_add(&s->nic.loop, &s->nic.attention, attention, on_attention) == 0,
		"no loop");
	must(eal_start(&s->nic.options, &s->nic.pool) == 0, "DPDK does not start");
	must(memory_watch(&s->nic) == 0, "no signal handler");
	must(signaller_open(&s->nic.signaller) == 0, "no asynchronous requests");
	s->nic.page_faults = postcopy_possible() == 0;
	must(thread_create(&s->nic, UINT32_MAX, &s->nic.own) == 0 &&
			thread_create(&s->nic, 0, &s->nic.threads[0]) == 0,
		"no thread");
	s->nic.n_threads = 1;
	must(thread_start(s->nic.threads[0]) == 0, "no thread");
	must(control_open(&s->nic) == 0, "no timer");
}

void simnic_let_work(struct simnic_stand *s)
{
	for (int i = 0; i < 4; i++)
		sched_yield();
	nic_pause(&s->nic);
	nic_resume(&s->nic);
}

/* -------------------------------------------------------------------------------- inputs */

static struct function *add_function(
	struct simnic_stand *s, const char *name, uint8_t last, int *ret_mailbox)
{
	struct sim_function identity = { .mac = { 2, 0, 0, 0, 0, last },
		.mtu = 1500,
		.max_pairs = 2,
		.flags = SIM_FUNCTION_LINK_UP,
		.features = function_features(&s->nic) };
	struct function *f;

	snprintf(identity.name, sizeof(identity.name), "%s", name);
	must(function_create(&s->nic, &identity, &f) == 0 && mailbox_attach(f, ret_mailbox) == 0,
		"no function");
	return f;
}

static void remove_function(struct function *f, int *sock)
{
	function_free(f);
	*sock = close_keep_errno(*sock);
}

static void do_step(struct simnic_stand *s, struct input *in)
{
	uint8_t how;

	switch (input_byte(in) % OP_N) {
	case OP_ASK:
	case OP_ASK_TOO:
		simnic_ask(s, in, false);
		break;
	case OP_ASK_ANY:
		simnic_ask(s, in, true);
		break;
	case OP_OPEN:
		how = input_byte(in);
		simnic_open_queues(s, s->mailbox, how, false);
		if (how & SIMNIC_OPEN_LOGGED)
			simnic_log_pages(s);
		break;
	case OP_OFFER:
	case OP_OFFER_TOO:
		simnic_offer(s, in);
		break;
	case OP_POKE:
		simnic_poke(in);
		break;
	case OP_COMMAND:
		simnic_command(s, in);
		break;
	case OP_ANSWER:
		simnic_answer_misses(s, in);
		break;
	case OP_FRAMES:
		simnic_send_frames(s, 1 + input_byte(in) % 64);
		break;
	case OP_CUT:
		how = input_byte(in);
		files_cut(how & 1 ? FILE_MORE_RAM : FILE_LOG, (uint64_t)(how / 2) * 2048);
		break;
	default:
		s->mailbox = close_keep_errno(s->mailbox);
		simnic_run_loop(s);
		must(mailbox_attach(s->function, &s->mailbox) == 0, "no mailbox");
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	signal(SIGPIPE, SIG_IGN);
	log_set_level(getenv("FUZZ_SHOW") ? LOG_LEVEL_DEBUG : (enum log_level)0);
	files_open();
	start_nic(&stand);
	files_open_fds(); /* opens one itself */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct simnic_stand *s = &stand;
	struct input in = { data, size };
	size_t n_base = files_open_fds();

	files_begin();
	s->address_was_brought = false;
	s->function = add_function(s, "a", 1, &s->mailbox);
	s->peer = add_function(s, "b", 2, &s->peer_mailbox);
	simnic_open_queues(s, s->peer_mailbox, 0, true);
	for (int i = 0; i < MAX_STEPS && in.size > 0; i++) {
		do_step(s, &in);
		simnic_run_loop(s);
		simnic_check(s);
	}
	remove_function(s->function, &s->mailbox);
	remove_function(s->peer, &s->peer_mailbox);
	simnic_run_loop(s);
	must(files_open_fds() == n_base, "%zu descriptors are left", files_open_fds() - n_base);
	return 0;
}

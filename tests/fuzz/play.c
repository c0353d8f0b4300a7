/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inputs from their beginning to their end, and workers: one dies between two messages or in the
 * middle of one, another takes over. What steps do is in play_steps.c, what a front-end does in
 * play_frontend.c and play_channel.c, what has to hold in these and in play_check.c.
 */
#include "tests/fuzz/play.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/fuzz/clock.h"
#include "tests/fuzz/files.h"
#include "tests/fuzz/must.h"
#include "tests/fuzz/play_internal.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"

static struct play play;

/* ------------------------------------------------------------------------------- workers */

/* What a process that dies leaves behind is no leak. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void on_call(void)
{
	struct play *p = &play;

	if (p->dies_after > 0 && --p->dies_after == 0)
		longjmp(p->death, 1);
}

/* As tools/worker/start.c: a page that makes no sense is begun anew. */
static void begin_worker(struct play *p)
{
	int r = stand_worker_begin(&p->stand);

	must(r == 0 || (p->forged && (r == -EBADMSG || r == -EPROTO)),
		"a worker can't read its predecessor's page: %d", r);
	if (r == 0)
		return;
	stand_wipe(&p->stand);
	must(stand_worker_begin(&p->stand) == 0, "a worker can't begin anew");
	device_release(&p->stand.device);
	stand_commit(&p->stand);
}

static void take_over(struct play *p)
{
	uint64_t before = p->stand.session_section.messages;
	int r;

	if (play_sock(p) < 0) {
		if (p->stand.session_section.connected)
			session_end(&p->stand.session);
		return;
	}
	r = p->stand.session_section.connected ? session_resume(&p->stand.session, play_sock(p))
					       : -EBADMSG;
	must(before == p->stand.session_section.messages || p->forged || p->died,
		"a message was handled while nothing was to be");
	if (r < 0)
		play_disconnect(p);
	else
		play_receive(p);
}

/* As tools/worker/start.c. */
void play_restart(struct play *p)
{
	stand_worker_end(&p->stand);
	begin_worker(p);
	take_over(p);
	device_update(&p->stand.device);
	stand_commit(&p->stand);
}

void play_forge(void (*forge)(void *arg, uint8_t *page), void *arg)
{
	struct play *p = &play;
	uint8_t *page =
		mmap(NULL, SHIM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, p->stand.page_fd, 0);

	must(page != MAP_FAILED, "mmap: %s", strerror(errno));
	stand_worker_end(&p->stand);
	forge(arg, page);
	munmap(page, SHIM_PAGE_SIZE);
	p->forged = p->stand.driver.lenient = true;
	begin_worker(p);
	take_over(p);
}

/* A message, or a device's return, during which the worker may die; another one goes on then. */
static void do_mortal_step(struct play *p, const struct step *step)
{
	bool armed = p->dies_after > 0;

	if (armed && __lsan_disable)
		__lsan_disable();
	p->stand.driver.on_call = on_call;
	if (setjmp(p->death) == 0) {
		play_kind(step)->act(p, step);
	} else {
		p->stand.driver.on_call = NULL;
		p->died = p->before.failed = true;
		play_restart(p);
	}
	p->stand.driver.on_call = NULL;
	p->dies_after = 0;
	if (armed && __lsan_enable)
		__lsan_enable();
}

/* -------------------------------------------------------------------------------- inputs */

void play_init(void)
{
	struct play *p = &play;

	p->peer = -1;
	p->shows = getenv("FUZZ_SHOW") != NULL;
	log_set_level(p->shows ? LOG_LEVEL_DEBUG : (enum log_level)0);
	signal(SIGPIPE, SIG_IGN);
	files_open();
	stand_init(&p->stand);
	files_open_fds(); /* opens one itself */
}

struct stand *play_stand(void)
{
	return &play.stand;
}

void play_begin(const uint8_t head[STEPS_HEAD_SIZE])
{
	struct play *p = &play;
	struct driver_caps caps = {
		.features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_PACKED) |
			    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			    BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_NET_F_MQ) |
			    BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_MAC),
		.n_queues = 2 + 2 * (head[0] % 4U),
		.max_queue_size = head[1] % 2 ? 256 : 1024,
		.start_position = head[2] % 4 == 1 ? DRIVER_START_INITIAL : DRIVER_START_ANY,
		.in_order = head[3] % 2 == 0,
		.page_faults = head[4] % 2,
		.dirty_log = head[5] % 3,
		.iotlb = head[7] & 1,
		.doorbell = head[7] & 2,
		.control_queue = head[7] & 8,
		.announces = true,
		.together = head[7] & 32,
		.forgets_fds = head[7] & 64,
		/* not with a control queue, whose ring may be packed, and is asked for its position
		 */
		.ring_positions = head[7] & 128 && !(head[7] & 8),
	};

	p->n_base = files_open_fds(); /* libFuzzer has some as well */
	fuzz_clock_begin();
	files_begin();
	if (caps.iotlb && !(head[7] & 16)) { /* of any use only then */
		caps.start_position = DRIVER_START_ANY;
		caps.in_order = true;
		caps.dirty_log = DRIVER_LOG_ALL;
	}
	if (caps.iotlb)
		caps.features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	if (caps.control_queue)
		caps.features |= BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX);
	if (caps.in_order)
		caps.features |= BIT_ULL(VIRTIO_F_IN_ORDER);
	stand_begin(&p->stand, &caps, head[6] % 4);
	p->stand.doorbell_allowed = !(head[7] & 4);
	p->channel_waits = p->channel_ended = false;
	play_forget_signals(p);
	must(stand_worker_begin(&p->stand) == 0, "an empty page is refused");
	p->aligned = true;
	p->forged = p->died = false;
	p->dies_after = 0;
	p->n_expected = 0;
	p->saved_size = 0;
}

void play_step(const struct step *step)
{
	const struct play_kind *kind = play_kind(step);
	struct play *p = &play;

	if (p->shows)
		play_show(step);
	if (p->peer < 0)
		play_connect(p);
	play_check_remember(p);
	if (!kind->keeps_signals)
		play_forget_signals(p);
	if (kind->mortal)
		do_mortal_step(p, step);
	else
		kind->act(p, step);
	play_round(p);
	if (!p->forged)
		stand_check(&p->stand);
	if (p->shows || ++p->n_steps % 8 == 0)
		play_check_all(p);
}

void play_end(void)
{
	struct play *p = &play;

	if (p->peer >= 0)
		play_disconnect(p);
	if (!p->forged)
		stand_check(&p->stand);
	play_check_all(p);
	stand_end(&p->stand);
	play_check_fds(p);
	fuzz_clock_end();
}

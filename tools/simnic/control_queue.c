/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue's ring, served by the control thread: most commands change what data threads look
 * at, and only the control thread may make them stand still. Nobody else touches this ring, so it is
 * read without a pause; a command takes effect before its chain is given back.
 *
 * A guest can send commands, or kick, as fast as it can. So each function has tokens, which fill with
 * the time, the slower the more control queues there are: a command costs one, and more when its
 * chain is long; a look that finds nothing costs one too. Without tokens the kick descriptor is not
 * listened to, and the queue waits for the timer. So does one that has to be polled, or that waits for
 * a page of memory.
 *
 * A chain is what the driver wrote, then room for the verdict. One without such room can't be
 * answered, and the queue is given up as for any broken ring; all else that is wrong with a command is
 * answered by VIRTIO_NET_ERR.
 *
 * Source: virtio 1.2, 5.1.6.5.
 */
#include "tools/simnic/control.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "tools/simnic/control_command.h"
#include "tools/simnic/frame.h"
#include "tools/simnic/ring.h"
#include "tools/simnic/thread.h"

#define TOKENS_A_SECOND	 500  /* of a function, as long as there are few */
#define TOKENS_OF_ALL	 4000 /* a second, of all functions together */
#define TOKENS_MOST	 128  /* that a function can have */
#define BATCH		 32   /* commands of one function before the next event's turn */
#define PIECES_A_TOKEN	 64
#define TICK_NS		 10000000

/* ------------------------------------------------------------------------------- one command */

static bool fault(struct vq *q, const char *reason)
{
	q->fault = reason;
	return false;
}

/*
 * Copies what the driver wrote, and finds where the verdict goes.
 * @ret_size: bytes that the driver wrote; those beyond CONTROL_MAX_COMMAND are not copied
 * Return: false, and q->fault is set.
 */
static bool read_chain(struct vq *q, const struct chain *c, uint8_t *ret, uint32_t *ret_size,
	const struct piece **ret_verdict)
{
	uint32_t size = 0;

	*ret_verdict = NULL;
	if (c->size > FRAME_MAX_SIZE)
		return fault(q, "a control command is longer than any");
	for (uint32_t i = 0; i < c->n_pieces; i++) {
		const struct piece *p = &c->pieces[i];

		if (p->perm == SIM_PERM_WRITE) {
			if (!*ret_verdict)
				*ret_verdict = p;
			continue;
		}
		if (*ret_verdict)
			return fault(q, "a control command goes on behind the room for its verdict");
		if (size < CONTROL_MAX_COMMAND)
			memcpy(ret + size, p->at,
				p->size < CONTROL_MAX_COMMAND - size ? p->size :
								       CONTROL_MAX_COMMAND - size);
		size += p->size;
	}
	*ret_size = size;
	return *ret_verdict || fault(q, "a control command without room for a verdict");
}

static void write_verdict(struct vq *q, struct chain *c, const struct piece *at, uint8_t verdict)
{
	const struct dirty_bits *log;

	*(volatile uint8_t *)at->at = verdict;
	c->used = sizeof(verdict);
	c->more = false;
	log = ring_log(q);
	if (log)
		dirty_mark(log, at->iova, sizeof(verdict));
}

static void carry_out(struct vq *q, struct burst *b)
{
	static uint8_t command[CONTROL_MAX_COMMAND];
	struct chain *c = &b->chains[0];
	const struct piece *at;
	uint8_t verdict = VIRTIO_NET_ERR;
	uint32_t size;

	if (!read_chain(q, c, command, &size, &at))
		return;
	if (size <= CONTROL_MAX_COMMAND)
		verdict = control_carry_out(q->function, command, size);
	q->regs->bytes += size;
	q->regs->drops += verdict != VIRTIO_NET_OK;
	write_verdict(q, c, at, verdict);
	ring_publish(q, b, 1);
}

/* Return: what it costs; 0: there is no command. */
static int64_t serve_one(struct vq *q)
{
	struct burst *b = q->function->nic->own->burst;

	ring_begin(q, b);
	if (ring_collect(q, b, 1, RING_BOTH) == 0)
		return 0;
	carry_out(q, b);
	return 1 + b->n_pieces / PIECES_A_TOKEN;
}

/* ---------------------------------------------------------------------------------- the turn */

static uint32_t tokens_a_second(const struct nic *nic)
{
	uint32_t share = TOKENS_OF_ALL / (nic->n_control > 0 ? nic->n_control : 1);

	return share < TOKENS_A_SECOND ? share : TOKENS_A_SECOND;
}

static void count_tokens(struct function *f)
{
	const uint64_t a_token = rte_get_tsc_hz() / tokens_a_second(f->nic), now = rte_rdtsc();
	uint64_t more = (now - f->control_stamp) / a_token;

	if (more >= TOKENS_MOST || f->control_tokens + (int64_t)more >= TOKENS_MOST) {
		f->control_tokens = TOKENS_MOST;
		f->control_stamp = now;
	} else {
		f->control_tokens += (int64_t)more;
		f->control_stamp += more * a_token;
	}
}

/* Return: whether the queue is to be looked at again although nobody kicks. */
static bool serve(struct vq *q)
{
	struct function *f = q->function;

	for (uint32_t n = 0; n < BATCH && f->control_tokens > 0; n++) {
		int64_t cost = serve_one(q);

		if (q->fault) {
			ring_fail(q);
			return false;
		}
		if (f->memory_lost)
			return false;
		f->control_tokens -= cost > 0 || n > 0 ? cost : 1;
		if (cost > 0)
			continue;
		if (q->parked) {
			q->parked = false;
			return true;
		}
		if (!ring_ask_kicks(q))
			return false;
	}
	return true;
}

static void arm(struct nic *nic, long ns)
{
	const struct itimerspec when = { .it_value.tv_nsec = ns };

	nic->control_armed = timerfd_settime(nic->control_timer.fd, 0, &when, NULL) == 0;
}

static void wait_for_timer(struct function *f)
{
	f->control_waits = true;
	if (!f->nic->control_armed)
		arm(f->nic, TICK_NS);
}

static void visit(struct function *f)
{
	struct vq *q = f->control_queue;
	bool more;

	f->control_waits = false;
	if (!q || q->status != SIM_QUEUE_RUNNING || f->memory_lost)
		return;
	count_tokens(f);
	if (f->control_tokens > 0 && f->control_kick.fd < 0 && control_watch(q) < 0) {
		wait_for_timer(f);
		return;
	}
	more = serve(q);
	if (q->status != SIM_QUEUE_RUNNING || f->memory_lost)
		return;
	if (f->control_tokens <= 0)
		control_unwatch(q);
	if (more || q->poll || f->control_tokens <= 0)
		wait_for_timer(f);
}

static void on_kick(struct source *source)
{
	visit((struct function *)((char *)source - offsetof(struct function, control_kick)));
}

static void on_timer(struct source *source)
{
	struct nic *nic = (struct nic *)((char *)source - offsetof(struct nic, control_timer));
	uint64_t count;

	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
	nic->control_armed = false;
	for (uint32_t i = 0; i < nic->n_slots; i++) {
		if (nic->functions[i] && nic->functions[i]->control_waits)
			visit(nic->functions[i]);
	}
}

/* -------------------------------------------------------------------------- begin and end */

int control_open(struct nic *nic)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return fd < 0 ? -errno : loop_add(&nic->loop, &nic->control_timer, fd, on_timer);
}

void control_close(struct nic *nic)
{
	loop_remove(&nic->loop, &nic->control_timer);
}

int control_watch(struct vq *q)
{
	struct function *f = q->function;
	int fd = q->kick_fd < 0 ? -1 : fcntl(q->kick_fd, F_DUPFD_CLOEXEC, 0);
	int r;

	if (q->kick_fd < 0)
		return 0;
	if (fd < 0)
		return -errno;
	r = loop_add_edge(&f->nic->loop, &f->control_kick, fd, on_kick);
	if (r < 0)
		close(fd);
	return r;
}

void control_unwatch(struct vq *q)
{
	loop_remove(&q->function->nic->loop, &q->function->control_kick);
}

void control_wake(struct vq *q)
{
	q->function->control_waits = true;
	arm(q->function->nic, 1);
}

int control_start(struct vq *q)
{
	int r = control_watch(q);

	if (r < 0)
		return r;
	q->function->nic->n_control++;
	control_wake(q);
	return 0;
}

void control_stop(struct vq *q)
{
	control_unwatch(q);
	q->function->control_waits = false;
	q->function->nic->n_control--;
}

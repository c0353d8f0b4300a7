/* SPDX-License-Identifier: BSD-2-Clause */
/* The function's queues: prepared, started, stopped; their eventfds, and the page that kicks them. */
#include <errno.h>
#include <string.h>

#include "drivers/sim/device.h"
#include "drivers/sim/lost.h"
#include "drivers/sim/position.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

/* One page for all queues. */
int sim_doorbell(struct driver_device *device, bool on, uint16_t queue, int *ret_fd, uint64_t *ret)
{
	struct sim_device *sim = sim_device(device);
	const struct sim_u64 payload = { .value = on };
	struct sim_request request = {
		.command = SIM_DOORBELL,
		.payload = &payload,
		.size = sizeof(payload),
	};
	int r = sim_channel_call(&sim->channel, &request, DRIVER_DEADLINE_COMMAND);

	sim_note_events(sim);
	if (r == 0 && on && request.reply_fd < 0)
		r = -EPROTO;
	if (r < 0 || !on) {
		close_keep_errno(request.reply_fd);
		return r;
	}
	*ret_fd = request.reply_fd;
	*ret = 0;
	return 0;
}

static uint32_t list_fds(const int all[3], int *ret_fds, size_t *ret_n)
{
	uint32_t have = 0;

	*ret_n = 0;
	for (unsigned int i = 0; i < 3; i++) {
		if (all[i] < 0)
			continue;
		have |= 1U << i;
		ret_fds[(*ret_n)++] = all[i];
	}
	return have;
}

/* As many as one command takes. */
static int prepare_some(struct sim_device *sim, const struct driver_queue *queues, size_t n)
{
	struct sim_queue_setup setups[SIM_PREPARE_MAX];
	int fds[3 * SIM_PREPARE_MAX];
	size_t n_fds = 0;

	for (size_t i = 0; i < n; i++) {
		const struct driver_queue *q = &queues[i];
		const int all[3] = { q->kick_fd, q->call_fd, q->err_fd };
		size_t more;

		setups[i] = (struct sim_queue_setup){
			.queue = q->index,
			.size = q->size,
			.desc = q->desc,
			.driver = q->driver,
			.device = q->device,
			.position = sim_position_word(q->position, sim_is_packed(sim)),
			.have_fds = list_fds(all, fds + n_fds, &more),
		};
		n_fds += more;
	}
	return sim_call(sim,
		(struct sim_request){
			.command = SIM_PREPARE,
			.payload = setups,
			.size = n * sizeof(setups[0]),
			.fds = fds,
			.n_fds = n_fds,
		},
		DRIVER_DEADLINE_COMMAND);
}

int sim_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n)
{
	struct sim_device *sim = sim_device(device);
	int r = 0;

	for (size_t at = 0; at < n && r == 0;) {
		size_t some = n - at < sim->most_setups ? n - at : sim->most_setups;

		r = prepare_some(sim, queues + at, some);
		at += some;
	}
	return r;
}

/* The part of a set that this function has queues for. */
static struct sim_queue_set sim_set(struct sim_device *sim, const struct queue_set *set)
{
	struct sim_queue_set ret = { 0 };

	for (uint32_t i = 0; i < sim_count_queues(sim); i++) {
		if (queue_set_has(set, i))
			ret.bits[i / 64] |= BIT_ULL(i % 64);
	}
	return ret;
}

int sim_start(struct driver_device *device, const struct queue_set *set)
{
	const struct sim_queue_set payload = sim_set(sim_device(device), set);

	return sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_START,
			.payload = &payload,
			.size = sizeof(payload),
		},
		DRIVER_DEADLINE_COMMAND);
}

int sim_stop(struct driver_device *device, const struct queue_set *set,
	struct queue_position *ret)
{
	struct sim_device *sim = sim_device(device);
	const struct sim_queue_set payload = sim_set(sim, set);
	struct sim_positions positions;
	int r;

	r = sim_call(sim,
		(struct sim_request){
			.command = SIM_STOP,
			.payload = &payload,
			.size = sizeof(payload),
			.reply = &positions,
			.reply_size = sizeof(positions),
		},
		DRIVER_DEADLINE_COMMAND);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < sim_count_queues(sim); i++) {
		if (queue_set_has(set, i))
			ret[i] = sim_position(positions.position[i], sim_is_packed(sim));
	}
	return 0;
}

int sim_set_queue_fd(struct driver_device *device, uint16_t queue,
	enum driver_queue_fd which, int fd)
{
	static const uint32_t bit[] = {
		[DRIVER_FD_KICK] = SIM_FD_KICK,
		[DRIVER_FD_CALL] = SIM_FD_CALL,
		[DRIVER_FD_ERR] = SIM_FD_ERR,
	};
	const struct sim_queue_fds payload = {
		.queue = queue,
		.change = bit[which],
		.have_fds = fd >= 0 ? bit[which] : 0,
	};

	return sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_SET_FDS,
			.payload = &payload,
			.size = sizeof(payload),
			.fds = &fd,
			.n_fds = fd >= 0 ? 1 : 0,
		},
		DRIVER_DEADLINE_COMMAND);
}

/* Of a device that was lost again its own registers speak, not those of the one before it. */
int sim_lost_position(struct driver_device *device, const struct driver_queue *queue,
	bool packed, const void *ring, struct queue_position *ret)
{
	const struct sim_device *sim = sim_device(device);
	const struct sim_regs *regs =
		sim_regs_ran(sim->regs, queue->index) ? sim->regs : sim->lost_regs;

	if (sim->caps.ring_positions) {
		if (!packed)
			*ret = queue_position_published(ring);
		return packed ? -ENOENT : 0;
	}
	return sim_regs_position(regs, queue, packed, ring, ret);
}

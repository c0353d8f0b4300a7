/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver of simnic, the software SmartNIC. It knows drivers/sim/mailbox.h and nothing of how
 * simnic works inside.
 *
 * The function's registers (BAR) are kept outside the process as long as queues may run: when
 * simnic dies, they tell how far it had come. At open, the function's BAR is compared with the kept
 * one; another file means that the function was replaced while no worker was there, which the
 * first event then says.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "drivers/drivers.h"
#include "drivers/sim/control.h"
#include "drivers/sim/device.h"
#include "drivers/sim/position.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"
#include "vdpa/driver.h"

/* After anything that may have come upon an event, or upon the mailbox's end. */
void sim_note_events(struct sim_device *sim)
{
	if (sim->channel.sock < 0 && sim->events.sock >= 0) {
		sim_events_watch(&sim->events, -1);
		sim->say_gone = true;
	}
	sim_events_set_pending(&sim->events, sim->say_gone || sim->channel.n_events > 0);
}

int sim_call(struct sim_device *sim, struct sim_request request, unsigned int deadline_ms)
{
	int r = sim_channel_call(&sim->channel, &request, deadline_ms);

	close_keep_errno(request.reply_fd);
	sim_note_events(sim);
	return r;
}

int sim_call_u64(struct sim_device *sim, enum sim_command command, uint64_t value)
{
	struct sim_u64 u64 = { .value = value };

	return sim_call(sim,
		(struct sim_request){ .command = command, .payload = &u64, .size = sizeof(u64) },
		DRIVER_DEADLINE_COMMAND);
}

static const struct sim_regs *map_bar(int fd)
{
	struct stat st;
	void *bar;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < SIM_BAR_SIZE)
		return NULL;
	bar = mmap(NULL, SIM_BAR_SIZE - SIM_BAR_REGS_OFFSET, PROT_READ, MAP_SHARED, fd,
		SIM_BAR_REGS_OFFSET);
	return bar == MAP_FAILED ? NULL : bar;
}

static const struct sim_regs *unmap_bar(const struct sim_regs *regs)
{
	if (regs)
		munmap((void *)(uintptr_t)regs, SIM_BAR_SIZE - SIM_BAR_REGS_OFFSET);
	return NULL;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return a >= 0 && b >= 0 && fstat(a, &sa) == 0 && fstat(b, &sb) == 0 &&
	       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* Whether or not it succeeds, those of before go: a successor would take their positions for today's. */
static int keep_bar(struct sim_device *sim, int fd)
{
	struct sim_kept *kept = sim_kept(sim);
	int number = sim->keeper->keep_fd(sim->keeper, fd);

	if (number < 0)
		log_warning("sim: registers can't be kept: %s", strerror(-number));
	if (kept->valid)
		sim->keeper->drop_fd(sim->keeper, kept->bar_number);
	kept->valid = number >= 0;
	kept->bar_number = number >= 0 ? number : 0;
	return number >= 0 ? 0 : number;
}

static enum driver_dirty_log log_kind(uint32_t flags)
{
	if (!(flags & SIM_HELLO_DIRTY_LOG))
		return DRIVER_LOG_NONE;
	return flags & SIM_HELLO_LOG_BUFFERS ? DRIVER_LOG_BUFFERS : DRIVER_LOG_ALL;
}

/* Return: 0; -EPROTO: no function says that. */
static int take_hello(struct sim_device *sim, const struct sim_hello_reply *hello)
{
	const bool control = (hello->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)) != 0;

	if (hello->version != SIM_INTERFACE_VERSION || hello->n_queues < 2 ||
		hello->n_queues > (uint32_t)SIM_MAX_QUEUES - control || hello->max_queue_size == 0)
		return -EPROTO;
	sim->most_setups = hello->flags & SIM_HELLO_SETS ? SIM_PREPARE_MAX : 1;
	sim->caps = (struct driver_caps){
		.features = hello->features,
		.n_queues = hello->n_queues,
		.control_queue = control,
		.max_queue_size = hello->max_queue_size,
		.start_position = hello->flags & SIM_HELLO_START_INITIAL ? DRIVER_START_INITIAL :
									   DRIVER_START_ANY,
		.ring_positions = (hello->flags & SIM_HELLO_SILENT_STOP) != 0,
		.together = (hello->flags & SIM_HELLO_TOGETHER) != 0,
		.announces = true,
		.in_order = !(hello->flags & SIM_HELLO_SHUFFLED),
		.page_faults = (hello->flags & SIM_HELLO_PAGE_FAULTS) != 0,
		.dirty_log = log_kind(hello->flags),
		.doorbell = (hello->flags & SIM_HELLO_DOORBELL) != 0,
		.iotlb = (hello->flags & SIM_HELLO_IOTLB) != 0,
	};
	return 0;
}

/* Makes the function's acquaintance: capabilities and registers. */
static int hello(struct sim_device *sim, int *ret_bar_fd)
{
	struct sim_hello_reply reply;
	struct sim_request request = {
		.command = SIM_HELLO,
		.reply = &reply,
		.reply_size = sizeof(reply),
	};
	_cleanup_close_ int bar_fd = -1;
	const struct sim_regs *regs;
	int r = sim_channel_call(&sim->channel, &request, DRIVER_DEADLINE_COMMAND);

	bar_fd = request.reply_fd;
	if (r < 0)
		return r;
	regs = map_bar(bar_fd);
	if (!regs)
		return -EPROTO;
	r = take_hello(sim, &reply);
	if (r < 0) {
		unmap_bar(regs);
		return r;
	}
	sim->regs = regs;
	sim_kept(sim)->hello = reply;
	*ret_bar_fd = TAKE_FD(bar_fd);
	return 0;
}

static void sim_close(struct driver_device *device)
{
	if (!device)
		return;
	unmap_bar(sim_device(device)->regs);
	unmap_bar(sim_device(device)->lost_regs);
	sim_events_free(&sim_device(device)->events);
	free(sim_device(device));
}

/* Begins on a mailbox. */
static int attach(struct sim_device *sim, int sock, int *ret_bar_fd)
{
	int r;

	sim_channel_init(&sim->channel, sock);
	r = sim_events_watch(&sim->events, sock);
	return r < 0 ? r : hello(sim, ret_bar_fd);
}

/*
 * Whether the function is the one that our predecessor knew. If not its registers stay for questions, and are
 * what is kept until somebody reopens: one that dies before that has a successor who finds the same.
 */
static int compare_kept(struct sim_device *sim, int bar_fd)
{
	struct sim_kept *kept = sim_kept(sim);
	int kept_fd = kept->valid ? sim->keeper->get_fd(sim->keeper, kept->bar_number) : -1;

	if (same_file(kept_fd, bar_fd))
		return 0;
	if (kept_fd < 0)
		return keep_bar(sim, bar_fd);
	sim->lost_regs = map_bar(kept_fd);
	sim->replaced = sim->say_gone = true;
	return 0;
}

/* A function that is gone, as far as is known of it. */
static int open_lost(struct sim_device *sim)
{
	struct sim_kept *kept = sim_kept(sim);
	int bar_fd = kept->valid ? sim->keeper->get_fd(sim->keeper, kept->bar_number) : -1;

	sim_channel_init(&sim->channel, -1);
	if (kept->hello.n_queues == 0)
		return -ENODEV;
	sim->regs = map_bar(bar_fd);
	return take_hello(sim, &kept->hello);
}

static int sim_open(const int *fds, size_t n_fds, struct driver_keeper *keeper,
	struct driver_device **ret)
{
	_cleanup_close_ int bar_fd = -1;
	struct sim_device *sim;
	int r;

	if (n_fds > 1)
		return -EINVAL;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	sim->device.ops = &sim_driver;
	sim->keeper = keeper;
	r = sim_events_init(&sim->events);
	if (r == 0 && n_fds == 0)
		r = open_lost(sim);
	else if (r == 0)
		r = attach(sim, fds[0], &bar_fd);
	if (r == 0 && n_fds > 0)
		r = compare_kept(sim, bar_fd);
	if (r < 0) {
		sim_close(&sim->device);
		return r;
	}
	sim_note_events(sim);
	*ret = &sim->device;
	return 0;
}

static int sim_reopen(struct driver_device *device, const int *fds, size_t n_fds)
{
	struct sim_device *sim = sim_device(device);
	const struct sim_regs *before = sim->regs;
	_cleanup_close_ int bar_fd = -1;
	int r;

	if (n_fds != 1)
		return n_fds == 0 ? -ENODEV : -EINVAL;
	r = attach(sim, fds[0], &bar_fd);
	if (r < 0)
		return r;
	if (sim->replaced) {
		unmap_bar(before);
	} else {
		unmap_bar(sim->lost_regs);
		sim->lost_regs = before;
	}
	sim->replaced = sim->say_gone = false;
	keep_bar(sim, bar_fd); /* without, a death of worker and device together costs positions */
	sim_note_events(sim);
	return 0;
}

static const struct driver_caps *sim_caps(struct driver_device *device)
{
	return &sim_device(device)->caps;
}

static int sim_reset(struct driver_device *device)
{
	return sim_call(sim_device(device), (struct sim_request){ .command = SIM_RESET },
		DRIVER_DEADLINE_RESET);
}

static int sim_set_features(struct driver_device *device, uint64_t features)
{
	int r = sim_call_u64(sim_device(device), SIM_SET_FEATURES, features);

	if (r == 0)
		sim_kept(sim_device(device))->packed =
			(features & BIT_ULL(VIRTIO_F_RING_PACKED)) != 0;
	return r;
}

/* Of a function that was replaced before this instance began, the one before it speaks. */
static int sim_get_control(struct driver_device *device, struct control_state *ret)
{
	const struct sim_device *sim = sim_device(device);
	const struct sim_regs *regs = sim->replaced ? sim->lost_regs : sim->regs;

	return regs ? sim_control_read(regs, ret) : -ENOENT;
}

static int sim_set_control(struct driver_device *device, const struct control_state *state)
{
	struct sim_control payload;

	sim_control_form(state, &payload);
	return sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_SET_CONTROL,
			.payload = &payload,
			.size = sizeof(payload),
		},
		DRIVER_DEADLINE_COMMAND);
}

static int sim_get_config(struct driver_device *device, struct driver_net_config *ret)
{
	struct sim_config config;
	int r;

	r = sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_GET_CONFIG,
			.reply = &config,
			.reply_size = sizeof(config),
		},
		DRIVER_DEADLINE_COMMAND);
	if (r < 0)
		return r;
	*ret = (struct driver_net_config){
		.mtu = config.mtu,
		.max_pairs = config.max_pairs,
		.link_up = config.link_up != 0,
		.announce = (config.flags & SIM_CONFIG_ANNOUNCE) != 0,
	};
	memcpy(ret->mac, config.mac, sizeof(ret->mac));
	return 0;
}

static int sim_set_mtu(struct driver_device *device, uint16_t mtu)
{
	return sim_call_u64(sim_device(device), SIM_SET_MTU, mtu);
}

static int sim_announce(struct driver_device *device, const uint8_t mac[6])
{
	uint64_t value = 0;

	memcpy(&value, mac, 6);
	return sim_call_u64(sim_device(device), SIM_ANNOUNCE, value);
}

static int sim_queue_stats(struct driver_device *device, uint16_t queue,
	struct driver_queue_stats *ret)
{
	struct sim_device *sim = sim_device(device);
	struct sim_queue_regs regs;

	if (!sim->regs || queue >= sim_count_queues(sim))
		return -ENOENT;
	regs = sim->regs->queues[queue];
	*ret = (struct driver_queue_stats){
		.received_desc = regs.received_desc,
		.completed_desc = regs.completed_desc,
		.bytes = regs.bytes,
		.drops = regs.drops,
		.errors = regs.errors,
		.calls = regs.calls,
		.position = sim->caps.ring_positions ? (struct queue_position){ 0 } :
						       sim_position(regs.position, sim_is_packed(sim)),
		.running = regs.status == SIM_QUEUE_RUNNING,
		.failed = regs.status == SIM_QUEUE_ERROR,
	};
	return 0;
}

static int sim_device_stats(struct driver_device *device, struct driver_device_stats *ret)
{
	const struct sim_regs *regs = sim_device(device)->regs;
	uint64_t mac;

	if (!regs)
		return -ENOENT;
	mac = regs->last_spoof_mac;
	*ret = (struct driver_device_stats){
		.rx_frames = regs->rx_frames,
		.rx_bytes = regs->rx_bytes,
		.tx_frames = regs->tx_frames,
		.tx_bytes = regs->tx_bytes,
		.spoof_drops = regs->spoof_drops,
		.flood_drops = regs->flood_drops,
		.no_queue_drops = regs->no_queue_drops,
	};
	memcpy(ret->last_spoof_mac, &mac, sizeof(ret->last_spoof_mac));
	return 0;
}

static int sim_event_fd(struct driver_device *device)
{
	return sim_device(device)->events.epoll_fd;
}

static int sim_next_event(struct driver_device *device, struct driver_event *ret)
{
	static const enum driver_event_kind kinds[] = {
		[SIM_EVENT_CONFIG] = DRIVER_EVENT_CONFIG,
		[SIM_EVENT_QUEUE_ERROR] = DRIVER_EVENT_QUEUE_ERROR,
		[SIM_EVENT_FUNCTION_FAILED] = DRIVER_EVENT_FAILED,
		[SIM_EVENT_MISS] = DRIVER_EVENT_MISS,
	};
	struct sim_device *sim = sim_device(device);
	struct sim_event event;
	int r;

	do {
		r = sim_channel_next_event(&sim->channel, &event);
	} while (r == 0 && (event.kind < SIM_EVENT_CONFIG ||
				   event.kind > SIM_EVENT_MISS));
	sim_note_events(sim);
	if (sim->say_gone && r < 0) {
		sim->say_gone = false;
		sim_note_events(sim);
		*ret = (struct driver_event){ .kind = sim->replaced && sim->channel.sock >= 0 ?
			DRIVER_EVENT_REPLACED : DRIVER_EVENT_GONE };
		return 0;
	}
	if (r < 0)
		return -EAGAIN;
	*ret = (struct driver_event){ .kind = kinds[event.kind], .queue = (uint16_t)event.queue };
	return 0;
}

const struct driver_ops sim_driver = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.reopen = sim_reopen,
	.caps = sim_caps,
	.reset = sim_reset,
	.set_features = sim_set_features,
	.map = sim_map,
	.unmap = sim_unmap,
	.set_log = sim_set_log,
	.postcopy_advise = sim_postcopy_advise,
	.postcopy_map = sim_postcopy_map,
	.postcopy_register = sim_postcopy_register,
	.postcopy_end = sim_postcopy_end,
	.iotlb_update = sim_iotlb_update,
	.iotlb_invalidate = sim_iotlb_invalidate,
	.queue_miss = sim_queue_miss,
	.doorbell = sim_doorbell,
	.prepare = sim_prepare,
	.start = sim_start,
	.stop = sim_stop,
	.set_queue_fd = sim_set_queue_fd,
	.lost_position = sim_lost_position,
	.get_control = sim_get_control,
	.set_control = sim_set_control,
	.get_config = sim_get_config,
	.set_mtu = sim_set_mtu,
	.announce = sim_announce,
	.queue_stats = sim_queue_stats,
	.device_stats = sim_device_stats,
	.event_fd = sim_event_fd,
	.next_event = sim_next_event,
};

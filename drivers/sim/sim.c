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
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "drivers/drivers.h"
#include "drivers/sim/channel.h"
#include "drivers/sim/position.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"
#include "vdpa/driver.h"
#include "vdpa/position.h"

struct sim_device {
	struct driver_device device; /* first: the core holds a pointer to it */
	struct sim_channel channel;
	struct driver_keeper *keeper;
	struct driver_caps caps;
	const struct sim_regs *regs; /* of the function as it is now; NULL: never seen */
	const struct sim_regs *lost_regs; /* of the function before it was replaced */
	bool packed;
	bool say_gone;		     /* the next event is that the function was replaced */
};

/* What the next worker needs: in driver_keeper's state. */
struct sim_kept {
	int32_t bar_number;
	uint32_t valid;
};

static struct sim_device *sim_device(struct driver_device *device)
{
	return (struct sim_device *)((char *)device - offsetof(struct sim_device, device));
}

static struct sim_kept *sim_kept(struct sim_device *sim)
{
	return sim->keeper->state;
}

static int call(struct sim_device *sim, struct sim_request request, unsigned int deadline_ms)
{
	int r = sim_channel_call(&sim->channel, &request, deadline_ms);

	close_keep_errno(request.reply_fd);
	return r;
}

static int call_u64(struct sim_device *sim, enum sim_command command, uint64_t value)
{
	struct sim_u64 u64 = { .value = value };

	return call(sim,
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

static void keep_bar(struct sim_device *sim, int fd)
{
	struct sim_kept *kept = sim_kept(sim);
	int number = sim->keeper->keep_fd(sim->keeper, fd);

	if (number < 0) {
		log_warning("sim: registers can't be kept: %s", strerror(-number));
		return;
	}
	if (kept->valid)
		sim->keeper->drop_fd(sim->keeper, kept->bar_number);
	kept->bar_number = number;
	kept->valid = 1;
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
	if (reply.version != SIM_INTERFACE_VERSION || reply.n_queues < 2 ||
		reply.n_queues > SIM_MAX_QUEUES || reply.max_queue_size == 0)
		return -EPROTO;
	regs = map_bar(bar_fd);
	if (!regs)
		return -EPROTO;

	sim->regs = regs;
	sim->caps = (struct driver_caps){
		.features = reply.features,
		.n_queues = reply.n_queues,
		.max_queue_size = reply.max_queue_size,
		.start_position = DRIVER_START_ANY,
		.in_order = true,
		.page_faults = true,
	};
	*ret_bar_fd = TAKE_FD(bar_fd);
	return 0;
}

static void sim_close(struct driver_device *device)
{
	if (!device)
		return;
	unmap_bar(sim_device(device)->regs);
	unmap_bar(sim_device(device)->lost_regs);
	free(sim_device(device));
}

static int sim_open(const int *fds, size_t n_fds, struct driver_keeper *keeper,
	struct driver_device **ret)
{
	_cleanup_close_ int bar_fd = -1;
	struct sim_device *sim;
	int kept_fd, r;

	if (n_fds != 1)
		return -EINVAL;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	sim->device.ops = &sim_driver;
	sim->keeper = keeper;
	sim_channel_init(&sim->channel, fds[0]);
	r = hello(sim, &bar_fd);
	if (r < 0) {
		sim_close(&sim->device);
		return r;
	}

	kept_fd = sim_kept(sim)->valid ? keeper->get_fd(keeper, sim_kept(sim)->bar_number) : -1;
	if (kept_fd >= 0 && !same_file(kept_fd, bar_fd)) {
		sim->lost_regs = map_bar(kept_fd);
		sim->say_gone = true;
	}
	if (!same_file(kept_fd, bar_fd))
		keep_bar(sim, bar_fd);
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
		return -EINVAL;
	sim_channel_init(&sim->channel, fds[0]);
	r = hello(sim, &bar_fd);
	if (r < 0)
		return r;
	unmap_bar(sim->lost_regs);
	sim->lost_regs = before;
	sim->say_gone = false;
	keep_bar(sim, bar_fd);
	return 0;
}

static const struct driver_caps *sim_caps(struct driver_device *device)
{
	return &sim_device(device)->caps;
}

static int sim_reset(struct driver_device *device)
{
	return call(sim_device(device), (struct sim_request){ .command = SIM_RESET },
		DRIVER_DEADLINE_RESET);
}

static int sim_set_features(struct driver_device *device, uint64_t features)
{
	int r = call_u64(sim_device(device), SIM_SET_FEATURES, features);

	if (r == 0)
		sim_device(device)->packed = features & BIT_ULL(VIRTIO_F_RING_PACKED);
	return r;
}

static int sim_map(struct driver_device *device, const struct driver_map *map)
{
	const struct sim_map payload = {
		.iova = map->iova,
		.size = map->size,
		.offset = map->offset,
		.perm = map->perm,
	};

	return call(sim_device(device),
		(struct sim_request){
			.command = SIM_MAP,
			.payload = &payload,
			.size = sizeof(payload),
			.fds = &map->fd,
			.n_fds = 1,
		},
		DRIVER_DEADLINE_MAP);
}

static int sim_unmap(struct driver_device *device, uint64_t iova, uint64_t size)
{
	const struct sim_map payload = { .iova = iova, .size = size };

	return call(sim_device(device),
		(struct sim_request){
			.command = SIM_UNMAP,
			.payload = &payload,
			.size = sizeof(payload),
		},
		DRIVER_DEADLINE_MAP);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the function reaches: memory, pages that are on their way, translations; and what it marks. */
#include <errno.h>

#include "drivers/sim/device.h"
#include "vdpa/base/cleanup.h"

static struct sim_map map_payload(const struct driver_map *map)
{
	return (struct sim_map){
		.iova = map->iova,
		.size = map->size,
		.offset = map->offset,
		.perm = map->perm,
	};
}

int sim_map(struct driver_device *device, const struct driver_map *map)
{
	const struct sim_map payload = map_payload(map);

	return sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_MAP,
			.payload = &payload,
			.size = sizeof(payload),
			.fds = &map->fd,
			.n_fds = 1,
		},
		DRIVER_DEADLINE_MAP);
}

int sim_unmap(struct driver_device *device, uint64_t iova, uint64_t size)
{
	const struct sim_map payload = { .iova = iova, .size = size };

	return sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_UNMAP,
			.payload = &payload,
			.size = sizeof(payload),
		},
		DRIVER_DEADLINE_MAP);
}

int sim_set_log(struct driver_device *device, const struct driver_log *log)
{
	const struct sim_log payload = {
		.offset = log ? log->offset : 0,
		.size = log ? log->size : 0,
	};

	return sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_SET_LOG,
			.payload = &payload,
			.size = sizeof(payload),
			.fds = log ? &log->fd : NULL,
			.n_fds = log ? 1 : 0,
		},
		DRIVER_DEADLINE_COMMAND);
}

int sim_postcopy_advise(struct driver_device *device, int *ret_fd)
{
	struct sim_device *sim = sim_device(device);
	struct sim_request request = { .command = SIM_POSTCOPY_ADVISE };
	int r = sim_channel_call(&sim->channel, &request, DRIVER_DEADLINE_COMMAND);

	sim_note_events(sim);
	if (r == 0 && request.reply_fd < 0)
		r = -EPROTO;
	if (r == 0)
		*ret_fd = request.reply_fd;
	return r;
}

int sim_postcopy_map(struct driver_device *device, const struct driver_map *map,
	uint64_t *ret_address)
{
	const struct sim_map payload = map_payload(map);
	struct sim_u64 reply;
	int r = sim_call(sim_device(device),
		(struct sim_request){
			.command = SIM_POSTCOPY_MAP,
			.payload = &payload,
			.size = sizeof(payload),
			.fds = &map->fd,
			.n_fds = 1,
			.reply = &reply,
			.reply_size = sizeof(reply),
		},
		DRIVER_DEADLINE_MAP);

	if (r == 0)
		*ret_address = reply.value;
	return r;
}

int sim_postcopy_register(struct driver_device *device)
{
	return sim_call(sim_device(device), (struct sim_request){ .command = SIM_POSTCOPY_REGISTER },
		DRIVER_DEADLINE_COMMAND);
}

int sim_postcopy_end(struct driver_device *device)
{
	return sim_call(sim_device(device), (struct sim_request){ .command = SIM_POSTCOPY_END },
		DRIVER_DEADLINE_COMMAND);
}

/* The descriptors that are there, in the order of the SIM_FD_ bits. */
static int call_iotlb(struct sim_device *sim, enum sim_command command, struct sim_iotlb payload)
{
	return sim_call(sim,
		(struct sim_request){
			.command = command,
			.payload = &payload,
			.size = sizeof(payload),
		},
		DRIVER_DEADLINE_COMMAND);
}

int sim_iotlb_update(struct driver_device *device, const struct driver_iotlb *entry)
{
	return call_iotlb(sim_device(device), SIM_IOTLB_UPDATE,
		(struct sim_iotlb){
			.iova = entry->iova,
			.size = entry->size,
			.address = entry->address,
			.perm = entry->perm,
		});
}

int sim_iotlb_invalidate(struct driver_device *device, uint64_t iova, uint64_t size)
{
	return call_iotlb(sim_device(device), SIM_IOTLB_INVALIDATE,
		(struct sim_iotlb){ .iova = iova, .size = size });
}

int sim_queue_miss(struct driver_device *device, uint16_t queue, struct driver_miss *ret)
{
	const struct sim_device *sim = sim_device(device);
	const struct sim_miss *miss;
	uint32_t state;

	if (!sim->regs || queue >= sim_count_queues(sim))
		return -ENOENT;
	miss = &sim->regs->misses[queue];
	state = __atomic_load_n(&miss->state, __ATOMIC_ACQUIRE);
	if (state != SIM_MISS_WAITS && state != SIM_MISS_REFUSED)
		return -ENOENT;
	*ret = (struct driver_miss){
		.iova = miss->iova,
		.perm = miss->perm & (DRIVER_PERM_READ | DRIVER_PERM_WRITE),
		.refused = state == SIM_MISS_REFUSED,
	};
	return ret->perm == 0 ? -ENOENT : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the driver share: sim.c has its life, memory.c its memory, queues.c its queues. */
#ifndef DRIVERS_SIM_DEVICE_H
#define DRIVERS_SIM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "drivers/sim/channel.h"
#include "drivers/sim/events.h"
#include "drivers/sim/mailbox.h"
#include "vdpa/driver.h"

struct sim_device {
	struct driver_device device; /* first: the core holds a pointer to it */
	struct sim_channel channel;
	struct sim_events events;
	struct driver_keeper *keeper;
	struct driver_caps caps;
	size_t most_setups; /* in one SIM_PREPARE */
	const struct sim_regs *regs; /* of the function as it is now; NULL: never seen */
	const struct sim_regs *lost_regs; /* of the function before it was replaced */
	bool replaced; /* before this instance began, which has never used what was before */
	bool say_gone; /* the next event is that the function is gone or was replaced */
};

/* What the next worker needs: in driver_keeper's state. */
struct sim_kept {
	int32_t bar_number;
	uint32_t valid;
	uint32_t packed; /* ring layout, as the device was told last */
	uint32_t pad;
	struct sim_hello_reply hello; /* what it said of itself last; no queues: nothing yet */
};

static inline struct sim_device *sim_device(struct driver_device *device)
{
	return (struct sim_device *)((char *)device - offsetof(struct sim_device, device));
}

static inline struct sim_kept *sim_kept(struct sim_device *sim)
{
	return sim->keeper->state;
}

static inline bool sim_is_packed(struct sim_device *sim)
{
	return sim_kept(sim)->packed != 0;
}

static inline uint32_t sim_count_queues(const struct sim_device *sim)
{
	return sim->caps.n_queues + sim->caps.control_queue;
}

/** sim_note_events() - after anything that may have come upon an event, or upon the mailbox's end. */
void sim_note_events(struct sim_device *sim);

/** sim_call() - a command, without a descriptor in its reply. Return: as sim_channel_call(). */
int sim_call(struct sim_device *sim, struct sim_request request, unsigned int deadline_ms);

/** sim_call_u64() - one whose payload is a number. */
int sim_call_u64(struct sim_device *sim, enum sim_command command, uint64_t value);

/* memory.c: operations of struct driver_ops */
int sim_map(struct driver_device *device, const struct driver_map *map);
int sim_unmap(struct driver_device *device, uint64_t iova, uint64_t size);
int sim_set_log(struct driver_device *device, const struct driver_log *log);
int sim_postcopy_advise(struct driver_device *device, int *ret_fd);
int sim_postcopy_map(struct driver_device *device, const struct driver_map *map,
	uint64_t *ret_address);
int sim_postcopy_register(struct driver_device *device);
int sim_postcopy_end(struct driver_device *device);
int sim_iotlb_update(struct driver_device *device, const struct driver_iotlb *entry);
int sim_iotlb_invalidate(struct driver_device *device, uint64_t iova, uint64_t size);
int sim_queue_miss(struct driver_device *device, uint16_t queue, struct driver_miss *ret);

/* queues.c: the same */
int sim_doorbell(struct driver_device *device, bool on, uint16_t queue, int *ret_fd, uint64_t *ret);
int sim_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n);
int sim_start(struct driver_device *device, const struct queue_set *set);
int sim_stop(struct driver_device *device, const struct queue_set *set,
	struct queue_position *ret);
int sim_set_queue_fd(struct driver_device *device, uint16_t queue,
	enum driver_queue_fd which, int fd);
int sim_lost_position(struct driver_device *device, const struct driver_queue *queue,
	bool packed, const void *ring, struct queue_position *ret);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the driver double share. */
#ifndef TESTS_FUZZ_DRIVER_INTERNAL_H
#define TESTS_FUZZ_DRIVER_INTERNAL_H

#include <errno.h>
#include <linux/virtio_config.h>
#include <stddef.h>

#include "tests/fuzz/driver.h"
#include "tests/fuzz/must.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/ringareas.h"

/* What the contract demands of who calls. */
#define demand(d, condition, ...)                                                                  \
	do {                                                                                       \
		if ((d)->lenient && !(condition))                                                  \
			return -EINVAL;                                                            \
		must(condition, __VA_ARGS__);                                                      \
	} while (0)

static inline struct fuzz_driver *of(struct driver_device *device)
{
	return (struct fuzz_driver *)((char *)device - offsetof(struct fuzz_driver, device));
}

static inline bool is_packed(const struct fuzz_driver *d)
{
	return d->features & BIT_ULL(VIRTIO_F_RING_PACKED);
}

/* With the control queue, which is the last one. */
static inline uint32_t n_queues(const struct fuzz_driver *d)
{
	return d->caps.n_queues + d->caps.control_queue;
}

static inline bool translates(const struct fuzz_driver *d)
{
	return d->features & BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
}

/* driver.c */

/** fuzz_driver_answer() - before each call that a device which is away does not get. Return: what it is to answer. */
int fuzz_driver_answer(struct fuzz_driver *d, const char *call);

bool fuzz_driver_any_runs(const struct fuzz_driver *d);
bool fuzz_driver_fd_is_open(int fd);

/* driver_memory.c: maps, the log, translations, memory that is on its way */

/** fuzz_driver_find_map() - the map that all of a range lies in, or NULL. */
const struct fuzz_map *fuzz_driver_find_map(const struct fuzz_driver *d, uint64_t iova, uint64_t size);

/** fuzz_driver_put_map() - have it, if it is new. Return: 0, or a driver's error. */
int fuzz_driver_put_map(struct fuzz_driver *d, const struct driver_map *map);
void fuzz_driver_drop_map(struct fuzz_driver *d, size_t i);

/** fuzz_driver_area_at() - where area @which of a ring is, in its driver's addresses. */
uint64_t fuzz_driver_area_at(const struct driver_queue *q, enum ring_area which);

/** fuzz_driver_locate() - where it is in what was mapped. Return: false: nobody knows. */
bool fuzz_driver_locate(const struct fuzz_driver *d, const struct driver_queue *q, enum ring_area which,
	uint64_t *ret);

/* Calls of the contract. */
int fuzz_map(struct driver_device *device, const struct driver_map *map);
int fuzz_unmap(struct driver_device *device, uint64_t iova, uint64_t size);
int fuzz_set_log(struct driver_device *device, const struct driver_log *log);
int fuzz_iotlb_update(struct driver_device *device, const struct driver_iotlb *is);
int fuzz_iotlb_invalidate(struct driver_device *device, uint64_t iova, uint64_t size);
int fuzz_queue_miss(struct driver_device *device, uint16_t queue, struct driver_miss *ret);
int fuzz_postcopy_advise(struct driver_device *device, int *ret_fd);
int fuzz_postcopy_map(struct driver_device *device, const struct driver_map *map, uint64_t *ret_address);
int fuzz_postcopy_register(struct driver_device *device);
int fuzz_postcopy_end(struct driver_device *device);
int fuzz_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n);
int fuzz_start(struct driver_device *device, const struct queue_set *set);
int fuzz_stop(struct driver_device *device, const struct queue_set *set, struct queue_position *ret);
int fuzz_set_queue_fd(struct driver_device *device, uint16_t queue, enum driver_queue_fd which, int fd);
int fuzz_lost_position(struct driver_device *device, const struct driver_queue *queue,
	bool packed, const void *ring, struct queue_position *ret);

#endif

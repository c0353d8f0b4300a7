/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory whose pages are still on their way. See decision 18, and SIM_POSTCOPY_ in
 * drivers/sim/mailbox.h. Control thread only, unless said otherwise.
 */
#ifndef SIMNIC_POSTCOPY_H
#define SIMNIC_POSTCOPY_H

#include "tools/simnic/nic.h"

/** postcopy_possible() - what the kernel says. Return: 0; a negative errno: there is no userfaultfd
 * for this process. */
int postcopy_possible(void);

/**
 * postcopy_advise() - see SIM_POSTCOPY_ADVISE.
 * @ret_fd: stays the function's
 * Return: 0; -EBUSY memory is mapped so already; -EOPNOTSUPP; another errno.
 */
int postcopy_advise(struct function *f, int *ret_fd);

/**
 * postcopy_map() - see SIM_POSTCOPY_MAP.
 * @ret_address: of the range's first byte, in the mapping that asks
 * Return: as function_map(); -EBUSY there is a log, or a queue runs in memory that is complete;
 * -EINVAL also: not advised, or memory of a kind that can't be waited for.
 */
int postcopy_map(struct function *f, const struct sim_map *map, int fd, uint64_t *ret_address);

/** postcopy_register() - see SIM_POSTCOPY_REGISTER. Return: 0; -EINVAL not advised; an errno. */
int postcopy_register(struct function *f);

/** postcopy_end() - see SIM_POSTCOPY_END. */
void postcopy_end(struct function *f);

/** postcopy_abort() - the memory will never be complete, and goes away. Queues are clear. Paused. */
void postcopy_abort(struct function *f);

/** postcopy_forget() - a region that was taken out of the table is about to be closed. Paused. */
void postcopy_forget(struct function *f, struct iommu_region *region);

/**
 * postcopy_ask() - have a missing page fetched; the queue's thread is woken when it is there.
 * Only who serves the queue.
 * @at: in the region's own mapping
 */
void postcopy_ask(struct vq *q, const struct iommu_region *region, const uint8_t *at);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function whose guest's driver is behind an IOMMU: its IOTLB, and the queues that wait for it. See
 * SIM_IOTLB_ in drivers/sim/mailbox.h. Control thread only, unless said otherwise.
 */
#ifndef SIMNIC_TRANSLATION_H
#define SIMNIC_TRANSLATION_H

#include "tools/simnic/nic.h"

/**
 * translation_update() - see SIM_IOTLB_UPDATE.
 * Return: 0; -EINVAL nothing is translated, or nonsense; -EBUSY a running queue's ring is there;
 *         -ENOSPC all entries are of rings.
 */
int translation_update(struct function *f, const struct sim_iotlb *update);

/** translation_invalidate() - see SIM_IOTLB_INVALIDATE. Return: 0; -EINVAL; -EBUSY. */
int translation_invalidate(struct function *f, uint64_t iova, uint64_t size);

/** waiting_over() - the queue waits for nothing, and frames that waited for it are lost. Paused. */
void waiting_over(struct vq *q);

#endif

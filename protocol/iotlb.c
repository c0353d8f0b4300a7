/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Translations of a guest whose driver is behind an IOMMU. The front-end tells and takes back here;
 * what is missing is asked for on the channel of our own requests, without waiting: the answer comes
 * here.
 *
 * Source: vhost-user specification, VHOST_USER_IOTLB_MSG, "IOMMU support", "An IOTLB message".
 */
#include <errno.h>

#include "protocol/handlers.h"

int check_iotlb_size(const struct message *m)
{
	return m->header.size == WIRE_IOTLB_HEAD || m->header.size == sizeof(struct wire_iotlb)
		? 0 : -EBADMSG;
}

int on_iotlb_msg(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_iotlb *iotlb = &m->payload.iotlb;

	switch (iotlb->type) {
	case WIRE_IOTLB_UPDATE:
		return device_iotlb_update(s->device, iotlb->iova, iotlb->size, iotlb->uva, iotlb->perm);
	case WIRE_IOTLB_INVALIDATE:
		return device_iotlb_invalidate(s->device, iotlb->iova, iotlb->size);
	default:
		return -EINVAL;
	}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio-net functions of a PCI bus, behind VFIO. */
#include <errno.h>

#include "drivers/drivers.h"
#include "drivers/virtio/device.h"

static int virtio_open(const int *fds, size_t n_fds, struct driver_keeper *keeper,
	struct driver_device **ret)
{
	struct virtio_transport *transport;
	int r;

	if (n_fds == 0)
		return virtio_device_open_absent(&virtio_driver, NULL, keeper, ret);
	r = vfio_transport_of(fds, n_fds, &transport);
	return r < 0 ? r : virtio_device_open(&virtio_driver, NULL, transport, keeper, ret);
}

static int virtio_reopen(struct driver_device *device, const int *fds, size_t n_fds)
{
	struct virtio_transport *transport;
	int r;

	virtio_device_let_go(device);
	if (n_fds == 0)
		return -ENODEV;
	r = vfio_transport_of(fds, n_fds, &transport);
	return r < 0 ? r : virtio_device_reopen(device, transport);
}

const struct driver_ops virtio_driver = {
	.name = "virtio",
	.open = virtio_open,
	.close = virtio_close,
	.reopen = virtio_reopen,
	.caps = virtio_caps,
	.reset = virtio_reset,
	.set_features = virtio_set_features,
	.map = virtio_map,
	.unmap = virtio_unmap,
	.doorbell = virtio_doorbell,
	.prepare = virtio_prepare,
	.start = virtio_start,
	.stop = virtio_stop,
	.set_queue_fd = virtio_set_queue_fd,
	.lost_position = virtio_lost_position,
	.get_config = virtio_get_config,
	.set_mtu = virtio_set_mtu,
	.queue_stats = virtio_queue_stats,
	.device_stats = virtio_device_stats,
	.event_fd = virtio_event_fd,
	.next_event = virtio_next_event,
};

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intel's IFC functions (N3000, C5000X-PL): virtio-net functions with registers for live migration, in a
 * BAR of their own. drivers/virtio has all that they have in common with others.
 *
 *   0x00  log: 0 off, 1 on		0x20 + 0x40 p  where the receive queue of pair p stands:
 *   0x10  log: address, low and high		       available index, and used index above it
 *   0x18  log: its end, low and high	0x24 + 0x40 p  the same of the transmit queue
 *   0x28  how many pairs are used
 *
 * No datasheet is public. These are facts that public drivers show, and nothing is relied upon that none
 * of them does: what is written is read again only where they read it, and there are only split rings.
 * When a queue has stopped, the used index counts: the available one may be of chains that the device
 * has only looked at.
 */
#include "drivers/ifc/ifc.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>

#include "drivers/drivers.h"
#include "vdpa/base/log.h"

#define IFC_BAR		 4
#define LOG_CONTROL	 0x00
#define LOG_ADDRESS	 0x10
#define LOG_END		 0x18
#define PAIRS		 0x28
#define RING_STATE	 0x20
#define STRIDE		 0x40 /* bytes of a pair */

#define LOG_OFF 0
#define LOG_ON	1

#define VENDOR_INTEL 0x8086

static const uint16_t subsystems[] = { 0x0001, 0x001a };

/* ------------------------------------------------------------------------------- registers */

static struct pci_window window_of(uint16_t pairs)
{
	return (struct pci_window){ .bar = IFC_BAR, .size = (uint64_t)STRIDE * pairs };
}

/* How far accesses go is seen to by @present. */
static const struct pci_window all = { .bar = IFC_BAR, .size = (uint64_t)STRIDE * (QUEUE_MAX / 2) };

static bool ifc_present(struct virtio_function *f, uint16_t pairs)
{
	const struct pci_window window = window_of(pairs);
	const struct pci_window *others[] = { &f->layout.common, &f->layout.notify, &f->layout.isr,
		&f->layout.device, &f->msix.table };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (pci_windows_meet(&window, others[i]))
			return false;
	}
	if (f->pci->ops->bar_size(f->pci, IFC_BAR) < window.size)
		return false;
	f->pci->ops->map(f->pci, window);
	return true;
}

static void ifc_set_pairs(struct virtio_function *f, uint16_t pairs)
{
	pci_write(f->pci, &all, PAIRS, 4, pairs);
}

static uint64_t ring_state(uint16_t queue)
{
	return RING_STATE + (uint64_t)STRIDE * (queue / 2) + 4 * (queue % 2);
}

static void ifc_set_position(struct virtio_function *f, uint16_t queue, struct queue_position position)
{
	pci_write(f->pci, &all, ring_state(queue), 4, position.avail | (uint32_t)position.used << 16);
}

static struct queue_position ifc_position(struct virtio_function *f, uint16_t queue)
{
	uint32_t word = pci_read(f->pci, &all, ring_state(queue), 4);

	return (struct queue_position){ .avail = (uint16_t)word, .used = (uint16_t)(word >> 16) };
}

/* A read that follows is answered after all that was written before. */
static void ifc_log(struct virtio_function *f, uint64_t iova, uint64_t size)
{
	pci_write(f->pci, &all, LOG_CONTROL, 4, LOG_OFF);
	if (size > 0) {
		pci_write64(f->pci, &all, LOG_ADDRESS, iova);
		pci_write64(f->pci, &all, LOG_END, iova + size);
		pci_write(f->pci, &all, LOG_CONTROL, 4, LOG_ON);
	}
	pci_read(f->pci, &all, LOG_CONTROL, 4);
}

static const struct virtio_variant ifc_variant = {
	.lacks = BIT_ULL(VIRTIO_F_RING_PACKED),
	.present = ifc_present,
	.set_pairs = ifc_set_pairs,
	.set_position = ifc_set_position,
	.position = ifc_position,
	.log = ifc_log,
};

/* ------------------------------------------------------------------------------- life */

static int check_numbers(struct pci_function *pci)
{
	uint32_t vendor = pci_config_read(pci, PCI_SUBSYSTEM_VENDOR_ID, 2);
	uint32_t device = pci_config_read(pci, PCI_SUBSYSTEM_ID, 2);
	int r = virtio_is_net(pci);

	for (size_t i = 0; r == 0 && vendor == VENDOR_INTEL && i < ARRAY_SIZE(subsystems); i++) {
		if (device == subsystems[i])
			return 0;
	}
	if (r == -ENODEV)
		return r;
	log_error("ifc: a function of subsystem %04x:%04x is no IFC function; the driver of others is virtio",
		vendor, device);
	return -EPROTO;
}

int ifc_device_open(const struct driver_ops *ops, struct virtio_transport *transport,
	struct driver_keeper *keeper, struct driver_device **ret)
{
	int r = check_numbers(transport->pci);

	if (r < 0) {
		transport->ops->free(transport);
		return r;
	}
	return virtio_device_open(ops, &ifc_variant, transport, keeper, ret);
}

int ifc_device_open_absent(const struct driver_ops *ops, struct driver_keeper *keeper,
	struct driver_device **ret)
{
	return virtio_device_open_absent(ops, &ifc_variant, keeper, ret);
}

int ifc_device_reopen(struct driver_device *device, struct virtio_transport *transport)
{
	int r = check_numbers(transport->pci);

	if (r < 0) {
		transport->ops->free(transport);
		return r;
	}
	return virtio_device_reopen(device, transport);
}

static int ifc_open(const int *fds, size_t n_fds, struct driver_keeper *keeper,
	struct driver_device **ret)
{
	struct virtio_transport *transport;
	int r;

	if (n_fds == 0)
		return ifc_device_open_absent(&ifc_driver, keeper, ret);
	r = vfio_transport_of(fds, n_fds, &transport);
	return r < 0 ? r : ifc_device_open(&ifc_driver, transport, keeper, ret);
}

static int ifc_reopen(struct driver_device *device, const int *fds, size_t n_fds)
{
	struct virtio_transport *transport;
	int r;

	virtio_device_let_go(device);
	r = n_fds == 0 ? -ENODEV : vfio_transport_of(fds, n_fds, &transport);
	return r < 0 ? r : ifc_device_reopen(device, transport);
}

const struct driver_ops ifc_driver = {
	.name = "ifc",
	.open = ifc_open,
	.close = virtio_close,
	.reopen = ifc_reopen,
	.caps = virtio_caps,
	.reset = virtio_reset,
	.set_features = virtio_set_features,
	.map = virtio_map,
	.unmap = virtio_unmap,
	.set_log = virtio_set_log,
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

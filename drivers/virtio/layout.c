/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capabilities are a list in configuration space that the device links. It is trusted less than our
 * own code: the walk is bounded by the number of capabilities that can lie there, each one has to lie
 * within the space with all of its bytes, and each structure within its BAR, with sums in 64 bits.
 * What is found is read once and kept; a device that changes its list later changes nothing.
 */
#include "drivers/virtio/layout.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define FIRST_CAPABILITY  0x40
#define MOST_CAPABILITIES ((PCI_CONFIG_SIZE - FIRST_CAPABILITY) / 4)

#define PCI_VENDOR_VIRTIO    0x1af4
#define PCI_DEVICE_NET	     0x1041 /* 0x1040 and virtio's number for a NIC */
#define PCI_DEVICE_NET_OLD   0x1000 /* transitional */
#define PCI_SUBSYSTEM_ID_NET 1

/* One capability is visited. Return: 0: on to the next; 1: it is the one; a negative errno. */
typedef int visit_fn(struct pci_function *pci, uint32_t at, uint8_t id, void *arg);

static int each_capability(struct pci_function *pci, visit_fn *visit, void *arg)
{
	uint32_t at;

	if (pci_config_read(pci, PCI_VENDOR_ID, 2) == UINT16_MAX)
		return -ENODEV;
	if (!(pci_config_read(pci, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;

	at = pci_config_read(pci, PCI_CAPABILITY_LIST, 1) & ~3U;
	for (unsigned int n = 0; at != 0; n++) {
		uint32_t head;
		int r;

		if (at < FIRST_CAPABILITY || n == MOST_CAPABILITIES)
			return -EPROTO;
		head = pci_config_read(pci, at, 2);
		r = visit(pci, at, (uint8_t)head, arg);
		if (r != 0)
			return r < 0 ? r : 0;
		at = (head >> 8) & ~3U;
	}
	return 0;
}

static bool fits_bar(struct pci_function *pci, const struct pci_window *window)
{
	const struct pci_window bar = {
		.bar = window->bar,
		.size = window->bar < PCI_N_BARS ? pci->ops->bar_size(pci, window->bar) : 0,
	};

	return pci_window_has(&bar, window->offset, window->size);
}

/* What each kind of structure has to be like, and where it is kept. */
static const struct structure_desc {
	size_t window;	  /* in struct virtio_layout */
	uint8_t min_size; /* bytes; 0: this kind is not one of these */
	uint8_t align;	  /* bytes */
	uint8_t cap_size; /* bytes of its capability, at least */
} structures[] = {
	[VIRTIO_PCI_CAP_COMMON_CFG] = {
		.window   = offsetof(struct virtio_layout, common),
		.min_size = VIRTIO_COMMON_MIN_SIZE,
		.align    = 4,
		.cap_size = sizeof(struct virtio_pci_cap),
	},
	[VIRTIO_PCI_CAP_NOTIFY_CFG] = {
		.window   = offsetof(struct virtio_layout, notify),
		.min_size = 2,
		.align    = 2,
		.cap_size = sizeof(struct virtio_pci_notify_cap),
	},
	[VIRTIO_PCI_CAP_ISR_CFG] = {
		.window   = offsetof(struct virtio_layout, isr),
		.min_size = 1,
		.align    = 1,
		.cap_size = sizeof(struct virtio_pci_cap),
	},
	[VIRTIO_PCI_CAP_DEVICE_CFG] = {
		.window   = offsetof(struct virtio_layout, device),
		.min_size = 1,
		.align    = 4,
		.cap_size = sizeof(struct virtio_pci_cap),
	},
};

static bool multiplier_ok(uint32_t multiplier)
{
	return multiplier != 1 && (multiplier & (multiplier - 1)) == 0;
}

static void note_structure(struct pci_function *pci, uint32_t at, uint8_t kind, uint32_t cap_size,
	struct virtio_layout *layout)
{
	const struct structure_desc *desc = &structures[kind];
	struct pci_window *kept = (struct pci_window *)((char *)layout + desc->window);
	struct pci_window window;
	uint32_t multiplier = 0;

	if (kept->size > 0 || cap_size < desc->cap_size)
		return;
	window = (struct pci_window){
		.bar = (uint8_t)pci_config_read(pci, at + VIRTIO_PCI_CAP_BAR, 1),
		.offset = pci_config_read(pci, at + VIRTIO_PCI_CAP_OFFSET, 4),
		.size = pci_config_read(pci, at + VIRTIO_PCI_CAP_LENGTH, 4),
	};
	if (window.size < desc->min_size || window.offset % desc->align != 0 ||
		!fits_bar(pci, &window))
		return;
	if (kind == VIRTIO_PCI_CAP_NOTIFY_CFG) {
		multiplier = pci_config_read(pci, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		if (!multiplier_ok(multiplier))
			return;
		layout->notify_multiplier = multiplier;
	}
	*kept = window;
}

static int visit_virtio(struct pci_function *pci, uint32_t at, uint8_t id, void *arg)
{
	struct virtio_layout *layout = arg;
	uint32_t cap_size;
	uint8_t kind;

	if (id != PCI_CAP_ID_VNDR)
		return 0;
	cap_size = pci_config_read(pci, at + VIRTIO_PCI_CAP_LEN, 1);
	if (at + cap_size > PCI_CONFIG_SIZE)
		return 0;
	kind = (uint8_t)pci_config_read(pci, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
	if (kind < ARRAY_SIZE(structures) && structures[kind].min_size > 0)
		note_structure(pci, at, kind, cap_size, layout);
	else if (kind == VIRTIO_PCI_CAP_PCI_CFG && layout->pci_access == 0 &&
		 cap_size >= sizeof(struct virtio_pci_cfg_cap))
		layout->pci_access = (uint8_t)at;
	return 0;
}

int virtio_layout_read(struct pci_function *pci, struct virtio_layout *ret)
{
	struct virtio_layout layout = { .notify_multiplier = 0 };
	int r = each_capability(pci, visit_virtio, &layout);

	if (r < 0)
		return r;
	if (layout.common.size == 0 || layout.notify.size == 0)
		return -EPROTO;
	*ret = layout;
	return 0;
}

static int visit_msix(struct pci_function *pci, uint32_t at, uint8_t id, void *arg)
{
	struct pci_msix *msix = arg;
	uint32_t table;

	if (id != PCI_CAP_ID_MSIX)
		return 0;
	if (at + PCI_CAP_MSIX_SIZEOF > PCI_CONFIG_SIZE)
		return -EPROTO;
	msix->n_vectors = (pci_config_read(pci, at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
	table = pci_config_read(pci, at + PCI_MSIX_TABLE, 4);
	msix->table = (struct pci_window){
		.bar = table & PCI_MSIX_TABLE_BIR,
		.offset = table & PCI_MSIX_TABLE_OFFSET,
		.size = (uint64_t)msix->n_vectors * PCI_MSIX_ENTRY_SIZE,
	};
	return fits_bar(pci, &msix->table) ? 1 : -EPROTO;
}

int pci_msix_read(struct pci_function *pci, struct pci_msix *ret)
{
	struct pci_msix msix = { .n_vectors = 0 };
	int r = each_capability(pci, visit_msix, &msix);

	if (r < 0)
		return r;
	*ret = msix;
	return 0;
}

int virtio_is_net(struct pci_function *pci)
{
	uint32_t vendor = pci_config_read(pci, PCI_VENDOR_ID, 2);
	uint32_t device = pci_config_read(pci, PCI_DEVICE_ID, 2);

	if (vendor == UINT16_MAX)
		return -ENODEV;
	if (vendor != PCI_VENDOR_VIRTIO)
		return -EPROTO;
	if (device == PCI_DEVICE_NET)
		return 0;
	if (device == PCI_DEVICE_NET_OLD &&
		pci_config_read(pci, PCI_SUBSYSTEM_ID, 2) == PCI_SUBSYSTEM_ID_NET)
		return 0;
	return -EPROTO;
}

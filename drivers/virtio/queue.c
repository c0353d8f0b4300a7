/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registers of one queue at a time are seen through a window, which queue_select moves; so each
 * function here selects first, and nothing relies on what was selected before.
 *
 * All that a device may refuse is read back before queue_enable is written. After that there is only
 * a reset.
 */
#include "drivers/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#define GONE16 UINT16_MAX

static uint16_t read16(struct virtio_function *f, uint32_t offset)
{
	return (uint16_t)virtio_common_read(f, offset, 2);
}

static void select_queue(struct virtio_function *f, uint16_t index)
{
	virtio_common_write(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
}

int virtio_queue_read(struct virtio_function *f, uint16_t index, struct virtio_queue_facts *ret)
{
	struct virtio_queue_facts facts;

	if (index >= f->n_queues)
		return -EINVAL;
	select_queue(f, index);
	facts.vector = read16(f, VIRTIO_PCI_COMMON_Q_MSIX);
	facts.enabled = read16(f, VIRTIO_PCI_COMMON_Q_ENABLE) != 0;
	facts.size = read16(f, VIRTIO_PCI_COMMON_Q_SIZE);
	/* Read last: what was there now was there for the others. */
	if (facts.size == GONE16)
		return -ENODEV;
	if (facts.size > QUEUE_SIZE_MAX)
		return -EPROTO;
	*ret = facts;
	return 0;
}

static bool setup_ok(const struct virtio_function *f, const struct virtio_queue_setup *setup)
{
	bool packed = virtio_function_has(f, VIRTIO_F_RING_PACKED);

	if (setup->size == 0 || (!packed && (setup->size & (setup->size - 1)) != 0))
		return false;
	if (setup->vector != VIRTIO_MSI_NO_VECTOR && setup->vector >= f->msix.n_vectors)
		return false;
	return setup->desc % 16 == 0 && setup->driver % (packed ? 4 : 2) == 0 &&
	       setup->device % 4 == 0;
}

/* What can be refused is asked first. */
static int can_enable(struct virtio_function *f, const struct virtio_queue_setup *setup)
{
	struct virtio_queue_facts facts;
	int r;

	if (!(f->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return -EBUSY;
	if (!setup_ok(f, setup))
		return -EINVAL;
	r = virtio_queue_read(f, setup->index, &facts);
	if (r < 0)
		return r;
	if (facts.enabled)
		return -EBUSY;
	if (facts.size == 0)
		return -ENOENT;
	return setup->size > facts.size ? -EINVAL : 0;
}

static void write_addresses(struct virtio_function *f, const struct virtio_queue_setup *setup)
{
	const struct pci_window *common = &f->layout.common;

	pci_write64(f->pci, common, VIRTIO_PCI_COMMON_Q_DESCLO, setup->desc);
	pci_write64(f->pci, common, VIRTIO_PCI_COMMON_Q_AVAILLO, setup->driver);
	pci_write64(f->pci, common, VIRTIO_PCI_COMMON_Q_USEDLO, setup->device);
}

/* -ENODEV when what was read back is nobody's answer. */
static int kept(uint16_t told, uint16_t now)
{
	if (now == GONE16)
		return -ENODEV;
	return now == told ? 0 : -EIO;
}

int virtio_queue_enable(struct virtio_function *f, const struct virtio_queue_setup *setup)
{
	int r = can_enable(f, setup);

	if (r < 0)
		return r;
	virtio_common_write(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, setup->size);
	r = kept(setup->size, read16(f, VIRTIO_PCI_COMMON_Q_SIZE));
	if (r == 0)
		r = virtio_vector_assign(f, VIRTIO_PCI_COMMON_Q_MSIX, setup->vector);
	if (r < 0)
		return r;
	write_addresses(f, setup);
	virtio_common_write(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	return kept(1, read16(f, VIRTIO_PCI_COMMON_Q_ENABLE));
}

int virtio_queue_reset(struct virtio_function *f, uint16_t index, unsigned int deadline_ms)
{
	struct virtio_queue_facts facts;
	int r;

	if (!virtio_function_has(f, VIRTIO_BIT_RING_RESET))
		return -EOPNOTSUPP;
	r = virtio_queue_read(f, index, &facts);
	if (r < 0)
		return r;
	/* One whose reset was begun before, and not awaited, reads as enabled until it is over. */
	if (!facts.enabled)
		return virtio_common_wait(f, VIRTIO_PCI_COMMON_Q_RESET, 2, 0, deadline_ms);
	if (read16(f, VIRTIO_PCI_COMMON_Q_RESET) == 0)
		virtio_common_write(f, VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
	r = virtio_common_wait(f, VIRTIO_PCI_COMMON_Q_RESET, 2, 0, deadline_ms);
	return r < 0 ? r : virtio_common_wait(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0, deadline_ms);
}

void virtio_queue_disable(struct virtio_function *f, uint16_t index)
{
	select_queue(f, index);
	virtio_common_write(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
}

int virtio_queue_wait_disabled(struct virtio_function *f, uint16_t index, unsigned int deadline_ms)
{
	select_queue(f, index);
	return virtio_common_wait(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0, deadline_ms);
}

int virtio_queue_doorbell(struct virtio_function *f, uint16_t index, struct virtio_doorbell *ret)
{
	const struct pci_window *notify = &f->layout.notify;
	unsigned int width = virtio_function_has(f, VIRTIO_BIT_NOTIFICATION_DATA) ? 4 : 2;
	uint16_t notify_off, value = index;
	uint64_t offset;

	if (index >= f->n_queues)
		return -EINVAL;
	if (!(f->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return -EBUSY;
	select_queue(f, index);
	notify_off = read16(f, VIRTIO_PCI_COMMON_Q_NOFF);
	if (virtio_function_has(f, VIRTIO_BIT_NOTIF_CONFIG_DATA))
		value = read16(f, VIRTIO_PCI_COMMON_Q_NDATA);
	/* All ones may be a value of both; not of the enable. */
	if (read16(f, VIRTIO_PCI_COMMON_Q_ENABLE) == GONE16)
		return -ENODEV;

	offset = (uint64_t)notify_off * f->layout.notify_multiplier;
	if (!pci_window_has(notify, offset, width) || (notify->offset + offset) % width != 0)
		return -EPROTO;
	*ret = (struct virtio_doorbell){
		.window = { .bar = notify->bar, .offset = notify->offset + offset, .size = width },
		.value = value,
	};
	return 0;
}

void virtio_doorbell_ring(struct virtio_function *f, const struct virtio_doorbell *bell,
	struct queue_position next)
{
	uint32_t value = bell->value;

	/* 15 bits of the position; the last one is the wrap counter of a packed ring. */
	if (bell->window.size == 4) {
		value |= (uint32_t)next.avail << 16;
		if (next.avail_wrap)
			value |= BIT(31);
	}
	pci_write(f->pci, &bell->window, 0, (unsigned int)bell->window.size, value);
}

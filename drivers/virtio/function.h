/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio function's life: reset, features, and whether it still works. Its queues are in queue.h, its
 * configuration as a NIC in net.h.
 *
 *   (any) --reset--> RESET --negotiate--> FEATURES_OK --run--> DRIVER_OK
 *
 * Errors that say the device is gone or broken are those of vdpa/driver.h: -ENODEV; -ETIMEDOUT, -EIO
 * and -EPROTO. All others refuse, and nothing that the device does has changed.
 */
#ifndef DRIVERS_VIRTIO_FUNCTION_H
#define DRIVERS_VIRTIO_FUNCTION_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/virtio/layout.h"
#include "drivers/virtio/pci.h"

/* Bits of virtio 1.2, chapter 6, that headers of older kernels lack. */
#define VIRTIO_BIT_NOTIFICATION_DATA 38
#define VIRTIO_BIT_NOTIF_CONFIG_DATA 39
#define VIRTIO_BIT_RING_RESET	     40

/**
 * struct virtio_function - a function that was opened; one thread uses it.
 * @pci:      its registers; the caller's, outlives this
 * @layout, @msix: where they are
 * @offered:  features, without those for which it has no register
 * @features: what was negotiated; 0 until then
 * @status:   the bits of its status that were set, all of which it has to keep; 0 after a reset
 * @n_queues: how many it has, the control queue among them; it may be fewer before features are negotiated
 */
struct virtio_function {
	struct pci_function *pci;
	struct virtio_layout layout;
	struct pci_msix msix;
	uint64_t offered;
	uint64_t features;
	uint8_t status;
	uint16_t n_queues;
};

/**
 * virtio_function_open() - look at a function, whatever state it is in.
 * @pci: outlives @ret
 * @ret: written on success only; nothing to release
 *
 * Changes nothing that the device does: queues that run go on running. Of one that was set up before,
 * features and status are read back, so that what follows goes on from there.
 *
 * Return: 0; -ENODEV it is gone; -EPROTO no modern virtio-net, or one without VIRTIO_F_VERSION_1.
 */
int virtio_function_open(struct pci_function *pci, struct virtio_function *ret);

/**
 * virtio_function_reset() - stop all queues, forget features and vectors.
 * @deadline_ms: how long it may take, 1 or more
 *
 * Only on success nothing reaches memory any more.
 * Source: virtio 1.2, 2.4 and 4.1.4.3.
 * Return: 0; -ENODEV; -ETIMEDOUT.
 */
int virtio_function_reset(struct virtio_function *f, unsigned int deadline_ms);

/**
 * virtio_function_negotiate() - tell a device that was reset what is used of it.
 * @features: a subset of @offered, with VIRTIO_F_VERSION_1
 *
 * Source: virtio 1.2, 3.1.1, steps 2 to 6.
 * Return: 0; -EINVAL not offered, or the device does not take them together: it has to be reset then;
 *         -EBUSY it was not reset; -ENODEV.
 */
int virtio_function_negotiate(struct virtio_function *f, uint64_t features);

/**
 * virtio_function_run() - let the device work on the queues that are enabled. Again: no effect.
 *
 * Source: virtio 1.2, 3.1.1, step 8.
 * Return: 0; -EBUSY nothing was negotiated; -ENODEV; -EIO it wants to be reset.
 */
int virtio_function_run(struct virtio_function *f);

/**
 * virtio_function_check() - whether the device is as it was left.
 *
 * Return: 0; -ENODEV it is gone, or was reset behind our back; -EIO it wants to be reset.
 */
int virtio_function_check(struct virtio_function *f);

/**
 * virtio_function_set_config_vector() - which MSI-X vector says that the configuration changed.
 * @vector: below msix.n_vectors, or VIRTIO_MSI_NO_VECTOR for none
 *
 * Source: virtio 1.2, 4.1.5.1.2.
 * Return: 0; -EINVAL no such vector; -ENOSPC the device has no room for it; -ENODEV; -EIO it
 *         has another one.
 */
int virtio_function_set_config_vector(struct virtio_function *f, uint16_t vector);

static inline bool virtio_function_has(const struct virtio_function *f, unsigned int feature)
{
	return f->features & BIT_ULL(feature);
}

/* A register of the common configuration, by its offset: VIRTIO_PCI_COMMON_ of linux/virtio_pci.h. */
static inline uint32_t virtio_common_read(struct virtio_function *f, uint32_t offset,
	unsigned int width)
{
	return pci_read(f->pci, &f->layout.common, offset, width);
}

static inline void virtio_common_write(struct virtio_function *f, uint32_t offset,
	unsigned int width, uint32_t value)
{
	pci_write(f->pci, &f->layout.common, offset, width, value);
}

/**
 * virtio_common_wait() - wait until a register of the common configuration has a value.
 * @width: bytes, 1 or 2
 *
 * Return: 0; -ENODEV it is all ones; -ETIMEDOUT.
 */
int virtio_common_wait(struct virtio_function *f, uint32_t offset, unsigned int width,
	uint32_t value, unsigned int deadline_ms);

/**
 * virtio_vector_assign() - write a vector to a register, and see that the device took it.
 * @offset: in the common configuration
 *
 * Return: as virtio_function_set_config_vector().
 */
int virtio_vector_assign(struct virtio_function *f, uint32_t offset, uint16_t vector);

#endif

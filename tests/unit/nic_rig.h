/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A NIC of virtio_nic.h for tests of one program: its devices are functions in this process,
 * whether a guest of driver_guest.h has them, by a driver, or they are driven by hand. A device has
 * no descriptors: the driver is told of it by a pointer.
 *
 * The driver's process may die in the middle of a call, which for the driver is that an access
 * never returns. The function goes on as it is, and so does who keeps things for the driver.
 */
#ifndef TESTS_UNIT_NIC_RIG_H
#define TESTS_UNIT_NIC_RIG_H

#include <setjmp.h>

#include "tests/conformance/driver_guest.h"
#include "tests/conformance/virtio_nic_parts.h"

/**
 * struct nic_device - a function, and the driver's way to it.
 * @device:   what the guest has; first
 * @function: its registers, and what is behind them
 * @left:     the driver's process dies at so many more accesses to registers or to the IOMMU, from
 *            open on; 0: it lives
 * @died:     where it goes on then
 * @pci:      what the driver accesses: counts, and passes on to @function
 * @dma:      of the transport; what the driver is given counts, and passes on to it
 * @dma_arg:  its argument
 */
struct nic_device {
	struct rig_device device;
	struct nic_function *function;
	unsigned int left;
	jmp_buf died;

	/* nic_rig.c only */
	struct pci_function pci;
	const struct dma_ops *dma;
	void *dma_arg;
};

/** nic_rig - for guest_new_sized(), between nic_rig_begin() and nic_rig_end(). */
extern const struct driver_rig nic_rig;

/**
 * nic_rig_begin() - a NIC without functions.
 * @like: what each of them will be, but for address and MTU, with as many pairs at least as its guest wants; the
 *        driver is the one for it
 */
void nic_rig_begin(const struct nic_facts *like);

/** nic_rig_end() - it has no functions any more. */
void nic_rig_end(void);

/** nic_rig_nic() - it. */
struct virtio_nic *nic_rig_nic(void);

/** nic_device_of() - what a guest that was made by @nic_rig has. */
struct nic_device *nic_device_of(const struct guest *g);

#endif

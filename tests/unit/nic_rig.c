/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/nic_rig.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/drivers.h"
#include "drivers/ifc/ifc.h"
#include "drivers/virtio/device.h"

static struct virtio_nic *nic;
static struct nic_facts facts;
static struct driver_ops driver;
static unsigned int n_made;

/* ------------------------------------------------------------------- a process that dies */

static struct nic_device *device_of_pci(struct pci_function *pci)
{
	return (struct nic_device *)((char *)pci - offsetof(struct nic_device, pci));
}

/* An access, unless the process dies before it. Return: what is behind @d's registers. */
static struct pci_function *step(struct nic_device *d)
{
	if (d->left > 0 && --d->left == 0)
		longjmp(d->died, 1);
	return &d->function->pci;
}

static uint32_t config_read(struct pci_function *pci, uint32_t offset, unsigned int width)
{
	return pci_config_read(&device_of_pci(pci)->function->pci, offset, width);
}

static void config_write(
	struct pci_function *pci, uint32_t offset, unsigned int width, uint32_t value)
{
	struct pci_function *real = &device_of_pci(pci)->function->pci;

	real->ops->config_write(real, offset, width, value);
}

static uint64_t bar_size(struct pci_function *pci, unsigned int bar)
{
	struct pci_function *real = &device_of_pci(pci)->function->pci;

	return real->ops->bar_size(real, bar);
}

static uint32_t bar_read(
	struct pci_function *pci, unsigned int bar, uint64_t offset, unsigned int width)
{
	struct pci_function *real = step(device_of_pci(pci));

	return real->ops->read(real, bar, offset, width);
}

static void bar_write(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width, uint32_t value)
{
	struct pci_function *real = step(device_of_pci(pci));

	real->ops->write(real, bar, offset, width, value);
}

/* Nobody would hear of accesses to memory. */
static volatile void *map_window(struct pci_function *pci, struct pci_window window)
{
	return NULL;
}

static const struct pci_ops mortal_pci = {
	.config_read = config_read,
	.config_write = config_write,
	.bar_size = bar_size,
	.read = bar_read,
	.write = bar_write,
	.map = map_window,
};

static int map_mortally(void *arg, void *memory, uint64_t iova, uint64_t size, uint32_t perm)
{
	struct nic_device *d = arg;

	step(d);
	return d->dma->map(d->dma_arg, memory, iova, size, perm);
}

static int unmap_mortally(void *arg, uint64_t iova, uint64_t size)
{
	struct nic_device *d = arg;

	step(d);
	return d->dma->unmap(d->dma_arg, iova, size);
}

static const struct dma_ops mortal_dma = {
	.map = map_mortally,
	.unmap = unmap_mortally,
};

static struct virtio_transport *transport_new(struct nic_device *d)
{
	struct virtio_transport *t = nic_transport_new(d->function);

	d->pci.ops = &mortal_pci;
	d->dma = t->dma;
	d->dma_arg = t->dma_arg;
	t->pci = &d->pci;
	t->dma = &mortal_dma;
	t->dma_arg = d;
	return t;
}

/* ------------------------------------------------------------------------------- devices */

static int rig_open(
	const int *fds, size_t n_fds, struct driver_keeper *keeper, struct driver_device **ret)
{
	struct nic_device *d;

	memcpy(&d, fds, sizeof(d)); /* no descriptors: a pointer */
	return facts.ifc ? ifc_device_open(&driver, transport_new(d), keeper, ret)
			 : virtio_device_open(&driver, NULL, transport_new(d), keeper, ret);
}

static struct rig_device *device_new(uint16_t pairs)
{
	struct nic_device *d = calloc(1, sizeof(*d));
	struct nic_facts own = facts;

	assert_non_null(d);
	d->device = rig_device(++n_made, pairs);
	if (own.pairs < pairs)
		own.pairs = pairs;
	own.mtu = d->device.mtu;
	memcpy(own.mac, d->device.mac, sizeof(own.mac));
	d->function = nic_function_new(nic, &own);
	memcpy(d->device.fds, &d, sizeof(d));
	d->device.n_fds = 1;
	return &d->device;
}

static void device_free(struct rig_device *device)
{
	struct nic_device *d = (struct nic_device *)device;

	if (!d)
		return;
	nic_function_free(d->function);
	free(d);
}

const struct driver_rig nic_rig = {
	.lacks = RIG_OWN_KICKS,
	.driver = &driver,
	.device_new = device_new,
	.device_free = device_free,
};

void nic_rig_begin(const struct nic_facts *like)
{
	nic = virtio_nic_new();
	facts = *like;
	driver = facts.ifc ? ifc_driver : virtio_driver;
	driver.open = rig_open;
	n_made = 0;
}

void nic_rig_end(void)
{
	virtio_nic_free(nic);
	nic = NULL;
}

struct virtio_nic *nic_rig_nic(void)
{
	return nic;
}

struct nic_device *nic_device_of(const struct guest *g)
{
	return (struct nic_device *)g->nic_device;
}

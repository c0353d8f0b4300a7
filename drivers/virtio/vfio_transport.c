/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport that the kernel's VFIO is. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "drivers/virtio/transport.h"
#include "drivers/virtio/vfio.h"
#include "drivers/virtio/vfio_pci.h"

struct vfio_transport {
	struct virtio_transport transport; /* first */
	int container, device;		   /* lent */
	struct vfio_pci vfio;
};

static struct vfio_transport *of(struct virtio_transport *transport)
{
	return (struct vfio_transport *)transport;
}

static void transport_free(struct virtio_transport *transport)
{
	vfio_pci_close(&of(transport)->vfio);
	free(transport);
}

static int irqs_begin(struct virtio_transport *transport, const int *eventfds, size_t n)
{
	return vfio_irqs_begin(of(transport)->device, eventfds, n);
}

static int irq_set(struct virtio_transport *transport, uint32_t vector, int eventfd)
{
	return vfio_irq_set(of(transport)->device, vector, eventfd);
}

static int irqs_end(struct virtio_transport *transport)
{
	return vfio_irqs_end(of(transport)->device);
}

static int watch_removal(struct virtio_transport *transport, int eventfd)
{
	return vfio_removal_watch(of(transport)->device, eventfd);
}

static int page(struct virtio_transport *transport, struct pci_window window, int *ret_fd,
	uint64_t *ret_offset)
{
	struct vfio_transport *t = of(transport);
	uint64_t offset;
	int fd, r = vfio_pci_page(&t->vfio, window, &offset);

	if (r < 0)
		return r;
	fd = fcntl(t->device, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_offset = offset;
	return 0;
}

static int reset(struct virtio_transport *transport)
{
	return vfio_device_reset(of(transport)->device);
}

static const struct virtio_transport_ops vfio_transport_ops = {
	.free = transport_free,
	.irqs_begin = irqs_begin,
	.irq_set = irq_set,
	.irqs_end = irqs_end,
	.watch_removal = watch_removal,
	.page = page,
	.reset = reset,
};

/* The smallest of the IOMMU's pages that is no smaller than ours. */
static uint64_t smallest_page(uint64_t pages)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	pages &= ~(page - 1);
	return pages ? pages & -pages : page;
}

static int open_vfio(struct vfio_transport *t)
{
	struct vfio_pci_regions regions;
	struct vfio_iommu_facts facts;
	int r = vfio_iommu_read(t->container, &facts);

	if (r == 0)
		r = vfio_pci_regions_read(t->device, &regions);
	if (r == 0)
		r = vfio_pci_open(t->device, &regions, &t->vfio);
	if (r < 0)
		return r;
	t->transport.page_size = smallest_page(facts.pages);
	t->transport.last_iova = facts.last;
	t->transport.pci = &t->vfio.pci;
	return 0;
}

int vfio_transport_open(int container, int device, struct virtio_transport **ret)
{
	struct vfio_transport *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->container = container;
	t->device = device;
	t->transport.ops = &vfio_transport_ops;
	t->transport.dma = &vfio_dma_ops;
	t->transport.dma_arg = &t->container;
	r = open_vfio(t);
	if (r < 0) {
		free(t);
		return r;
	}
	*ret = &t->transport;
	return 0;
}

enum { FD_CONTAINER, FD_DEVICE, N_FDS };

int vfio_transport_of(const int *fds, size_t n_fds, struct virtio_transport **ret)
{
	return n_fds == N_FDS ? vfio_transport_open(fds[FD_CONTAINER], fds[FD_DEVICE], ret) : -EINVAL;
}

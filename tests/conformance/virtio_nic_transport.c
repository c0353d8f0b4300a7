/* SPDX-License-Identifier: BSD-2-Clause */
/* What VFIO does for a function: interrupts, memory, removal, and a reset of all of it. */
#include "tests/conformance/virtio_nic_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "vdpa/base/cleanup.h"

struct nic_transport {
	struct virtio_transport transport; /* first */
	struct nic_function *function;
};

static struct nic_function *function_of(struct virtio_transport *transport)
{
	return ((struct nic_transport *)transport)->function;
}

static void replace(int *fd, int by)
{
	close_keep_errno(*fd);
	*fd = by >= 0 ? fcntl(by, F_DUPFD_CLOEXEC, 0) : -1;
	assert_true(by < 0 || *fd >= 0);
}

static void transport_free(struct virtio_transport *transport)
{
	struct nic_function *f = function_of(transport);

	nic_lock(f);
	f->n_transports--;
	nic_unlock(f);
	free(transport);
}

static int irqs_begin(struct virtio_transport *transport, const int *eventfds, size_t n)
{
	struct nic_function *f = function_of(transport);
	int r = 0;

	nic_lock(f);
	if (f->model.gone)
		r = -ENODEV;
	else if (n == 0 || n > f->model.n_vectors || (f->n_irqs > 0 && f->n_irqs != n))
		r = -EINVAL;
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (f->n_irqs == 0)
			f->irqs[i] = -1;
		replace(&f->irqs[i], eventfds[i]);
	}
	if (r == 0)
		f->n_irqs = n;
	nic_unlock(f);
	return r;
}

static int irq_set(struct virtio_transport *transport, uint32_t vector, int eventfd)
{
	struct nic_function *f = function_of(transport);
	int r = 0;

	nic_lock(f);
	if (f->model.gone)
		r = -ENODEV;
	else if (vector >= f->n_irqs)
		r = -EINVAL;
	else
		replace(&f->irqs[vector], eventfd);
	nic_unlock(f);
	return r;
}

static int irqs_end(struct virtio_transport *transport)
{
	struct nic_function *f = function_of(transport);

	nic_lock(f);
	while (f->n_irqs > 0)
		close_keep_errno(f->irqs[--f->n_irqs]);
	nic_unlock(f);
	return 0;
}

static int watch_removal(struct virtio_transport *transport, int eventfd)
{
	struct nic_function *f = function_of(transport);

	nic_lock(f);
	replace(&f->removal, eventfd);
	nic_unlock(f);
	return 0;
}

/* Nobody would hear of what is written there. */
static int page(struct virtio_transport *transport, struct pci_window window, int *ret_fd,
	uint64_t *ret_offset)
{
	return -EOPNOTSUPP;
}

/* One that hangs is not helped by this: what it waits for is beyond its registers. */
static int reset(struct virtio_transport *transport)
{
	struct nic_function *f = function_of(transport);
	int r = 0;

	nic_lock(f);
	if (f->model.gone)
		r = -ENODEV;
	else if (f->model.reset_reads > 0 || f->ready_ns > 0)
		r = -EOPNOTSUPP;
	else
		nic_function_forget(f);
	nic_unlock(f);
	return r;
}

static const struct virtio_transport_ops transport_ops = {
	.free = transport_free,
	.irqs_begin = irqs_begin,
	.irq_set = irq_set,
	.irqs_end = irqs_end,
	.watch_removal = watch_removal,
	.page = page,
	.reset = reset,
};

static int map(void *arg, void *memory, uint64_t iova, uint64_t size, uint32_t perm)
{
	struct nic_function *f = arg;
	int r;

	nic_lock(f);
	r = nic_dma_map(&f->dma, memory, iova, size, perm);
	nic_unlock(f);
	return r;
}

static int unmap(void *arg, uint64_t iova, uint64_t size)
{
	struct nic_function *f = arg;
	int r;

	nic_lock(f);
	r = nic_dma_unmap(&f->dma, iova, size);
	nic_unlock(f);
	return r;
}

static const struct dma_ops dma_ops = {
	.map = map,
	.unmap = unmap,
};

struct virtio_transport *nic_transport_new(struct nic_function *f)
{
	struct nic_transport *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	*t = (struct nic_transport){
		.transport = {
			.ops = &transport_ops,
			.pci = &f->pci,
			.dma = &dma_ops,
			.dma_arg = f,
			.page_size = 4096,
			.last_iova = UINT64_MAX >> 16, /* 48 bits, as most have */
		},
		.function = f,
	};
	nic_lock(f);
	f->n_transports++;
	nic_unlock(f);
	return &t->transport;
}

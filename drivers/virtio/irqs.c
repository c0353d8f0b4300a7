/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts. Vector 0 says that the configuration changed, and is ours; each queue has a vector of its
 * own behind it, which the kernel passes on to the guest's call eventfd with none of our threads
 * awake. A function with fewer vectors has one for all queues: its eventfd is ours, and events.c
 * signals all guests' eventfds for it. With a single vector, that one is for all.
 */
#include <errno.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "drivers/virtio/device_internal.h"
#include "vdpa/base/log.h"

#define CONFIG_VECTOR 0U
#define FIRST_VECTOR  1U

bool virtio_irqs_shared(const struct virtio_device *v)
{
	return v->function.msix.n_vectors < FIRST_VECTOR + v->caps.n_queues;
}

static uint16_t shared_vector(const struct virtio_device *v)
{
	return v->function.msix.n_vectors > FIRST_VECTOR ? FIRST_VECTOR : CONFIG_VECTOR;
}

uint16_t virtio_irq_vector(const struct virtio_device *v, uint16_t queue)
{
	return virtio_irqs_shared(v) ? shared_vector(v) : (uint16_t)(FIRST_VECTOR + queue);
}

static uint16_t count_vectors(const struct virtio_device *v)
{
	return (uint16_t)(virtio_irqs_shared(v) ? shared_vector(v) + 1U : FIRST_VECTOR + v->caps.n_queues);
}

/* Vectors of queues are routed one by one, as their eventfds become known. */
int virtio_irqs_begin(struct virtio_device *v)
{
	uint16_t n = count_vectors(v);
	int eventfds[FIRST_VECTOR + QUEUE_MAX];
	int r;

	if (v->kept->n_vectors == n)
		return v->transport->ops->irq_set(v->transport, CONFIG_VECTOR, v->config_fd);
	for (size_t i = 0; i < n; i++)
		eventfds[i] = -1;
	if (virtio_irqs_shared(v))
		eventfds[shared_vector(v)] = v->shared_fd;
	eventfds[CONFIG_VECTOR] = v->config_fd;
	r = v->transport->ops->irqs_begin(v->transport, eventfds, n);
	if (r < 0) {
		log_error("virtio: %u interrupt vectors can't be had: %s", n, strerror(-r));
		return r == -ENODEV ? r : -EIO;
	}
	v->kept->n_vectors = n;
	return 0;
}

int virtio_irq_route(struct virtio_device *v, uint16_t queue, int call_fd)
{
	if (virtio_irqs_shared(v))
		return 0;
	return v->transport->ops->irq_set(v->transport, virtio_irq_vector(v, queue), call_fd);
}

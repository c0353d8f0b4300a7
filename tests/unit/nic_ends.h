/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two functions of a NIC, each driven by hand, register for register, with the rings of a guest
 * that has no driver of its own. A function has three pairs, and a vector for each queue; a guest
 * has six rings.
 */
#ifndef TESTS_UNIT_NIC_ENDS_H
#define TESTS_UNIT_NIC_ENDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_config.h>

#include "drivers/virtio/function.h"
#include "drivers/virtio/queue.h"
#include "tests/unit/nic_rig.h"

#define NIC_END_RING     8U    /* descriptors of each ring */
#define NIC_END_PATIENCE 60000 /* ms, for what has to be done at once */
#define NIC_END_VECTORS  8
#define NIC_END_CONFIG   0 /* vector of the configuration; queue i has vector i + 1 */

/* A function, its driver's state, and the guest's rings. */
struct nic_end {
	struct guest guest;
	struct nic_function *nic;
	struct virtio_transport *transport;
	struct virtio_function function;
	struct virtio_doorbell bells[GUEST_MAX_QUEUES];
	struct dma_table table;
	struct dma dma;
	int vectors[NIC_END_VECTORS];
};

struct nic_ends {
	struct nic_end ends[2];
};

extern const uint64_t nic_end_layouts[2]; /* features of split rings, and of packed ones */

/** nic_ends_setup(), nic_ends_teardown() - around each test; *@state is struct nic_ends. */
int nic_ends_setup(void **state);
int nic_ends_teardown(void **state);

#define NIC_ENDS_TEST(test) cmocka_unit_test_setup_teardown(test, nic_ends_setup, nic_ends_teardown)

/** nic_end_enable() - queue @queue has the guest's ring @ring, as it is. */
void nic_end_enable(struct nic_end *e, uint16_t queue, uint16_t ring);

/** nic_end_ring_bell() - of a queue that has the ring of its own number. */
void nic_end_ring_bell(struct nic_end *e, uint16_t queue);

/**
 * nic_end_negotiate() - a driver that was just loaded, up to the point where it sets up queues.
 * @features: beside VIRTIO_F_VERSION_1
 */
void nic_end_negotiate(struct nic_end *e, uint64_t features);

/** nic_end_run(), nic_ends_run() - the same, and one pair runs, and may receive. */
void nic_end_run(struct nic_end *e, uint64_t features);
void nic_ends_run(struct nic_ends *s, uint64_t features);

/** nic_end_send() - a frame, and wait until it was taken. */
void nic_end_send(struct nic_end *from, const struct nic_end *to, uint32_t number);

/** nic_end_exchange() - @n frames from @a to @b must arrive; buffers are offered again. */
void nic_end_exchange(struct nic_end *a, struct nic_end *b, uint32_t n);

/** nic_end_wait_needs_reset() - until the function says so. */
void nic_end_wait_needs_reset(struct nic_end *e);

#endif

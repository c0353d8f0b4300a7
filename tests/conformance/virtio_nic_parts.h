/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of virtio_nic.h have in common. All of it is under the NIC's lock. */
#ifndef TESTS_VIRTIO_NIC_PARTS_H
#define TESTS_VIRTIO_NIC_PARTS_H

#include <pthread.h>

#include "tests/conformance/virtio_nic.h"
#include "tests/conformance/virtio_nic_ring.h"
#include "tests/unit/virtio_model.h"

#define NIC_MAX_FUNCTIONS 64
#define NIC_MAX_VECTORS	  (MODEL_MAX_QUEUES + 1)
#define NIC_HEADER	  12U /* virtio-net's, with VIRTIO_F_VERSION_1 */
#define NIC_MAX_FRAME	  65536U

struct nic_queue {
	bool running;
	unsigned int notifications; /* of the model's, that were seen */
	struct nic_ring ring;
};

/**
 * struct nic_function - registers, and what is behind them.
 * @pci:       what drivers access; takes the lock, and passes on to @model
 * @irqs:      eventfds, duplicates; -1: none
 * @n_irqs:    0: MSI-X is off
 * @removal:   eventfd, a duplicate; -1: none
 * @delay_ms:  of the next reset
 * @ready_ns:  when the reset that is under way ends; 0: none is
 */
struct nic_function {
	struct pci_function pci; /* first */
	struct virtio_nic *nic;
	struct nic_facts facts;
	struct virtio_model model;
	struct nic_dma dma;
	struct nic_queue queues[MODEL_MAX_QUEUES];
	int irqs[NIC_MAX_VECTORS];
	size_t n_irqs;
	int removal;
	unsigned int resets; /* of the model's, that were seen */
	unsigned int delay_ms;
	uint64_t ready_ns;
	unsigned int n_transports;
	struct nic_figures figures;
};

/**
 * struct virtio_nic - functions, and who serves them.
 * @work: the thread has something to look at
 */
struct virtio_nic {
	pthread_mutex_t lock;
	pthread_cond_t woken; /* @work or @end, or the opposite of @work */
	pthread_t thread;
	bool work, end;
	struct nic_function *functions[NIC_MAX_FUNCTIONS];
};

/** nic_lock(), nic_unlock() - of the function's NIC. */
void nic_lock(struct nic_function *f);
void nic_unlock(struct nic_function *f);

/** nic_function_forget() - reset it. */
void nic_function_forget(struct nic_function *f);

/** nic_function_works() - it may reach memory and send interrupts. */
bool nic_function_works(const struct nic_function *f);

/** nic_function_break() - a ring broke the rules: it does nothing any more until it is reset. */
void nic_function_break(struct nic_function *f);

/** nic_function_changed() - its configuration is another one: tell the driver. */
void nic_function_changed(struct nic_function *f);

/** nic_function_call() - interrupt for what was given back in a queue, if the driver wants one. */
void nic_function_call(struct nic_function *f, uint16_t queue);

/**
 * nic_ifc_begin(), nic_ifc_end() - of an IFC function: a queue was enabled, and begins where it was told;
 * it was disabled, and says where it stands.
 */
void nic_ifc_begin(struct nic_function *f, uint16_t queue);
void nic_ifc_end(struct nic_function *f, uint16_t queue);

/** nic_control_index() - of the control queue; MODEL_MAX_QUEUES: there is none. */
uint16_t nic_control_index(const struct nic_function *f);

/** nic_control_serve() - answer all commands in the control queue. */
void nic_control_serve(struct nic_function *f);

/** nic_switch_serve() - send all frames in transmit queues. */
void nic_switch_serve(struct nic_function *f);

#endif

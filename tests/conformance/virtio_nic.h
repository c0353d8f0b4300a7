/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A NIC of virtio functions that works: registers as tests/unit/virtio_model.h has them, an IOMMU and
 * MSI-X vectors for each function, and a switch between them, served by a thread of its own. The
 * driver reaches a function by struct virtio_transport.
 *
 * All functions here may be called by any thread. They end the test when they fail.
 */
#ifndef TESTS_VIRTIO_NIC_H
#define TESTS_VIRTIO_NIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/virtio/transport.h"

struct virtio_nic;
struct nic_function;

/**
 * struct nic_facts - what a function is.
 * @pairs:    receive and transmit; as many as MODEL_MAX_QUEUES of the model has room for
 * @mtu:      bytes of payload
 * @vectors:  MSI-X; 0: one for each queue and for the configuration
 * @ifc:      it is one of Intel's IFC, with the registers of these
 * @features: what it offers, of NIC_FEATURES; VIRTIO_F_VERSION_1 is among them
 */
struct nic_facts {
	uint8_t mac[6];
	uint16_t pairs;
	uint16_t mtu;
	uint16_t vectors;
	bool ifc;
	uint64_t features;
};

extern const uint64_t NIC_FEATURES; /* all that a function can do */

/** virtio_nic_new() - without functions; ends with virtio_nic_free(), when it has none. */
struct virtio_nic *virtio_nic_new(void);
void virtio_nic_free(struct virtio_nic *nic);

/** nic_function_new() - as after power-on. */
struct nic_function *nic_function_new(struct virtio_nic *nic, const struct nic_facts *facts);

/**
 * nic_function_free() - accepts NULL. No transport of it is left.
 *
 * Ends the test when the driver broke a rule of virtio meanwhile.
 */
void nic_function_free(struct nic_function *f);

/**
 * nic_transport_new() - a way to reach the function; released by its @free, upon which the function
 * goes on as it is.
 */
struct virtio_transport *nic_transport_new(struct nic_function *f);

/** nic_function_set_link() - frames neither come nor go while it is down. */
void nic_function_set_link(struct nic_function *f, bool up);

/** nic_function_lose() - it falls off its bus, for ever: all ones, no memory, no interrupts. */
void nic_function_lose(struct nic_function *f);

/** nic_function_delay() - the next reset takes so long; UINT_MAX: it never ends. */
void nic_function_delay(struct nic_function *f, unsigned int ms);

/* What happened to a function since it is there. */
struct nic_figures {
	unsigned int faults;	 /* accesses that the IOMMU refused */
	uint64_t last_fault;	 /* address of the last one */
	unsigned int broken;	 /* rings that broke the rules, and faults, which made it want a reset */
	unsigned int sent;	 /* frames */
	unsigned int received;
	unsigned int dropped;	 /* for want of a buffer */
	unsigned int interrupts; /* also those that nobody wanted to hear of */
	uint16_t pairs;		 /* that the driver enabled */
};

struct nic_figures nic_function_figures(struct nic_function *f);

/** nic_wait_idle() - until all that functions were told of is done. */
void nic_wait_idle(struct virtio_nic *nic);

#endif

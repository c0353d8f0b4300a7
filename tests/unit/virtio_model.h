/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio-net PCI function at the level of its registers: configuration space with capabilities, BARs,
 * and the rules of virtio 1.2, 4.1.4.3 and 3.1.1 for who may write what, when and how wide. The first
 * rule that is broken is kept in words; tests end with model_assert_content().
 *
 * Hostile or broken devices are made by setting members, or bytes of @config.
 */
#ifndef TESTS_UNIT_VIRTIO_MODEL_H
#define TESTS_UNIT_VIRTIO_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/virtio/pci.h"

#define MODEL_MAX_QUEUES 9 /* four pairs and a control queue */

/* Where the model has its structures; all but the MSI-X table in one BAR. */
#define MODEL_BAR	  4
#define MODEL_BAR_SIZE	  0x4000
#define MODEL_COMMON	  0x0000
#define MODEL_ISR	  0x1000
#define MODEL_DEVICE	  0x2000
#define MODEL_NOTIFY	  0x3000
#define MODEL_MULTIPLIER  4
#define MODEL_MSIX_BAR	  1
#define MODEL_MSIX_VECTORS 5

/* Fields of its own configuration, which is the model's @net. */
#define MODEL_NET_MAC	 0
#define MODEL_NET_STATUS 6
#define MODEL_NET_PAIRS	 8
#define MODEL_NET_MTU	 10

/* Where its capabilities are in configuration space. */
#define MODEL_CAP_MSIX	 0x40
#define MODEL_CAP_COMMON 0x50
#define MODEL_CAP_NOTIFY 0x60
#define MODEL_CAP_ISR	 0x78
#define MODEL_CAP_DEVICE 0x88
#define MODEL_CAP_ACCESS 0x98

struct model_queue {
	uint16_t max_size; /* 0: not there */
	uint16_t size;
	uint16_t vector;
	uint16_t enable;
	uint16_t notify_off;
	uint16_t notify_data;
	uint32_t addresses[6]; /* descriptors, driver, device: low and high */
	uint16_t reset;
	unsigned int resets;
	unsigned int reset_reads; /* how often its reset reads as under way still */
	unsigned int late_reads;  /* how often it reads as enabled after that */
	uint32_t notified;	  /* the last value */
	unsigned int notifications;
};

struct virtio_model {
	struct pci_function pci; /* first */
	uint8_t config[PCI_CONFIG_SIZE];
	uint64_t bar_sizes[PCI_N_BARS];
	char broken[160]; /* rule; empty: none */

	uint64_t offered;
	uint64_t accepted;
	uint32_t select_offered, select_accepted;
	uint16_t config_vector;
	uint16_t n_queues;
	uint8_t status;
	uint8_t generation;
	uint16_t select;
	struct model_queue queues[MODEL_MAX_QUEUES];
	struct model_queue no_queue; /* what is selected when there is none */
	uint16_t n_vectors;
	uint8_t net[12]; /* mac, status, max_virtqueue_pairs, mtu */
	unsigned int resets;

	/* How it misbehaves. */
	bool gone;			/* all ones */
	unsigned int gone_after;	/* so many accesses; 0: never */
	bool deaf;			/* a write of 0 to the status does nothing */
	unsigned int reset_reads;	/* how often a reset's status is not yet 0 */
	bool stubborn;			/* keeps its PCI command register */
	bool needs_reset;
	uint64_t refused;		/* with one of these accepted, no FEATURES_OK */
	bool no_vectors;		/* none is ever assigned */
	bool other_vector;
	bool forgets_size, forgets_enable;
	unsigned int unsteady;		/* so many reads of the generation find it moved */
	unsigned int maps;		/* how many windows were mapped */

	unsigned int status_reads_left;
	unsigned int accesses;
};

/** model_init() - a function with two pairs and a control queue, as after power-on. */
void model_init(struct virtio_model *m);

/**
 * model_set_pairs() - another number of pairs than two, and a vector for each queue and for the
 * configuration.
 * @pairs: as far as MODEL_MAX_QUEUES has room
 */
void model_set_pairs(struct virtio_model *m, uint16_t pairs);

/** model_set_vectors() - another number of MSI-X vectors; 1 or more. */
void model_set_vectors(struct virtio_model *m, uint16_t n);

/** model_complain() - keep a rule that was broken, unless one was before. */
void __attribute__((format(printf, 2, 3))) model_complain(struct virtio_model *m, const char *format,
	...);

/** model_set_config() - bytes of configuration space. @width: 1, 2 or 4 */
void model_set_config(struct virtio_model *m, uint32_t offset, unsigned int width, uint32_t value);

/** model_queue_address() - 0: descriptors, 1: driver, 2: device. */
uint64_t model_queue_address(const struct virtio_model *m, uint16_t queue, unsigned int which);

/** model_assert_content() - fails the test when a rule was broken. */
void model_assert_content(const struct virtio_model *m);

#endif

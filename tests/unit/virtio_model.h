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

#define MODEL_MAX_QUEUES 263 /* 131 pairs and a control queue: more than a guest may have */

/* Where the model has its structures; all but the MSI-X table in one BAR. */
#define MODEL_BAR	  2
#define MODEL_BAR_SIZE	  0x4000
#define MODEL_COMMON	  0x0000
#define MODEL_ISR	  0x1000
#define MODEL_DEVICE	  0x2000
#define MODEL_NOTIFY	  0x3000
#define MODEL_MULTIPLIER  4
#define MODEL_MSIX_BAR	  1
#define MODEL_MSIX_VECTORS 5

/* Registers of an IFC function, see drivers/ifc/ifc.c. */
#define MODEL_IFC_BAR	      4
#define MODEL_IFC_LOG_CONTROL 0x00
#define MODEL_IFC_LOG_ADDRESS 0x10
#define MODEL_IFC_LOG_END     0x18
#define MODEL_IFC_PAIRS	      0x28

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
	unsigned int disables; /* of an IFC function */
};

/**
 * struct model_ifc - registers that only an IFC function has.
 * @state:       of a queue: available index, and used index above it
 * @has_state:   it was written since the queue was enabled last
 * @log_written: the four halves that say where the log is, since the log was on last
 * @disable_reads: how often a queue that is disabled reads as enabled still; UINT32_MAX: for ever
 * @keeps_log:   a reset does not end the log
 */
struct model_ifc {
	bool there;
	uint32_t log_control;
	uint32_t log_address[2], log_end[2];
	uint8_t log_written;
	uint32_t pairs;
	uint32_t state[MODEL_MAX_QUEUES];
	bool has_state[MODEL_MAX_QUEUES];
	uint32_t reads_left[MODEL_MAX_QUEUES];
	uint32_t disable_reads;
	bool keeps_log;
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
	struct model_ifc ifc;

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

/** model_add_ifc() - make it an IFC function. */
void model_add_ifc(struct virtio_model *m);

/** model_ifc_log_address(), model_ifc_log_size() - where the log is; 0 bytes: it is off. */
uint64_t model_ifc_log_address(const struct virtio_model *m);
uint64_t model_ifc_log_size(const struct virtio_model *m);

/* For virtio_model.c. */
uint32_t model_ifc_read(struct virtio_model *m, uint64_t offset, unsigned int width);
void model_ifc_write(struct virtio_model *m, uint64_t offset, unsigned int width, uint32_t value);
void model_ifc_forget(struct virtio_model *m);

/** model_ifc_may_enable() - queue_enable is written. Return: true: that was all, the queue stops. */
bool model_ifc_may_enable(struct virtio_model *m, uint16_t queue, uint32_t value);

/** model_ifc_look() - queue_enable is read. */
void model_ifc_look(struct virtio_model *m, uint16_t queue);

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

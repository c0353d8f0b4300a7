/* SPDX-License-Identifier: BSD-2-Clause */
/* What an IFC function has beyond virtio, and the order in which public drivers use it. */
#include "virtio_model.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <string.h>

#define RULE(m, holds, ...)                                                                        \
	do {                                                                                       \
		if (!(holds))                                                                      \
			model_complain(m, __VA_ARGS__);                                            \
	} while (0)

#define LOG_OFF	   0U
#define LOG_ON	   1U
#define NO_ANSWER  UINT32_MAX
#define RING_STATE 0x20U
#define PAIR_SIZE  0x40U

static uint64_t in64(const uint32_t halves[2])
{
	return (uint64_t)halves[1] << 32 | halves[0];
}

uint64_t model_ifc_log_address(const struct virtio_model *m)
{
	return in64(m->ifc.log_address);
}

uint64_t model_ifc_log_size(const struct virtio_model *m)
{
	return m->ifc.log_control == LOG_ON ? in64(m->ifc.log_end) - in64(m->ifc.log_address) : 0;
}

/* Return: the queue whose state is at @offset; MODEL_MAX_QUEUES: none. */
static uint16_t queue_at(const struct virtio_model *m, uint64_t offset)
{
	uint64_t at = offset % PAIR_SIZE;
	uint64_t queue = offset / PAIR_SIZE * 2 + (at - RING_STATE) / 4;

	return (at == RING_STATE || at == RING_STATE + 4) && queue + 1 < m->n_queues ?
		       (uint16_t)queue :
		       MODEL_MAX_QUEUES;
}

static bool any_runs(const struct virtio_model *m)
{
	for (uint16_t i = 0; i < m->n_queues; i++) {
		if (m->queues[i].enable && (m->status & VIRTIO_CONFIG_S_DRIVER_OK))
			return true;
	}
	return false;
}

static void write_log_control(struct virtio_model *m, uint32_t value)
{
	RULE(m, value == LOG_OFF || value == LOG_ON, "the log's control gets %u", value);
	RULE(m, value == LOG_OFF || in64(m->ifc.log_end) > in64(m->ifc.log_address),
		"a log ends where it begins, or before");
	RULE(m, value == LOG_OFF || m->ifc.log_written == 0xf, "a log begins before it is all said where");
	RULE(m, value == m->ifc.log_control || m->ifc.log_control == LOG_OFF || !any_runs(m),
		"a log ends while queues run");
	m->ifc.log_control = value;
	if (value == LOG_OFF)
		m->ifc.log_written = 0;
}

static void write_log_place(struct virtio_model *m, uint32_t *half, unsigned int which, uint32_t value)
{
	RULE(m, m->ifc.log_control == LOG_OFF, "a log is moved while it is on");
	*half = value;
	m->ifc.log_written |= (uint8_t)BIT(which);
}

static void write_pairs(struct virtio_model *m, uint32_t value)
{
	RULE(m, m->status & VIRTIO_CONFIG_S_FEATURES_OK, "pairs are set before FEATURES_OK");
	RULE(m, value >= 1 && value <= m->n_queues / 2U, "%u pairs are set", value);
	m->ifc.pairs = value;
}

static void write_state(struct virtio_model *m, uint16_t queue, uint32_t value)
{
	RULE(m, m->status & VIRTIO_CONFIG_S_FEATURES_OK, "a position comes before FEATURES_OK");
	RULE(m, !m->queues[queue].enable, "queue %u gets a position while it is enabled", queue);
	m->ifc.state[queue] = value;
	m->ifc.has_state[queue] = true;
}

static uint32_t read_state(struct virtio_model *m, uint16_t queue)
{
	RULE(m, !m->queues[queue].enable, "queue %u is asked where it stands while it is enabled", queue);
	RULE(m, m->status & VIRTIO_CONFIG_S_FEATURES_OK, "a position is asked for after a reset");
	return m->ifc.state[queue];
}

uint32_t model_ifc_read(struct virtio_model *m, uint64_t offset, unsigned int width)
{
	uint16_t queue = queue_at(m, offset);

	RULE(m, width == 4, "%u bytes of IFC's registers are read", width);
	if (queue < MODEL_MAX_QUEUES)
		return read_state(m, queue);
	RULE(m, offset == MODEL_IFC_LOG_CONTROL, "IFC has no register at %u", (unsigned int)offset);
	return NO_ANSWER; /* no public driver knows */
}

void model_ifc_write(struct virtio_model *m, uint64_t offset, unsigned int width, uint32_t value)
{
	uint16_t queue = queue_at(m, offset);

	RULE(m, width == 4, "%u bytes of IFC's registers are written", width);
	if (queue < MODEL_MAX_QUEUES)
		write_state(m, queue, value);
	else if (offset == MODEL_IFC_LOG_CONTROL)
		write_log_control(m, value);
	else if (offset == MODEL_IFC_LOG_ADDRESS || offset == MODEL_IFC_LOG_ADDRESS + 4)
		write_log_place(m, &m->ifc.log_address[offset / 4 % 2], offset / 4 % 2, value);
	else if (offset == MODEL_IFC_LOG_END || offset == MODEL_IFC_LOG_END + 4)
		write_log_place(m, &m->ifc.log_end[offset / 4 % 2], 2 + offset / 4 % 2, value);
	else if (offset == MODEL_IFC_PAIRS)
		write_pairs(m, value);
	else
		model_complain(m, "IFC has no register at %u", (unsigned int)offset);
}

void model_ifc_forget(struct virtio_model *m)
{
	memset(m->ifc.state, 0xff, sizeof(m->ifc.state)); /* what it was is no one's to ask */
	memset(m->ifc.has_state, 0, sizeof(m->ifc.has_state));
	m->ifc.pairs = 1;
	if (m->ifc.keeps_log)
		return;
	m->ifc.log_control = LOG_OFF;
	m->ifc.log_written = 0;
}

bool model_ifc_may_enable(struct virtio_model *m, uint16_t queue, uint32_t value)
{
	struct model_queue *q = &m->queues[queue];

	if (!m->ifc.there || queue >= m->n_queues)
		return false;
	if (value == 1) {
		RULE(m, m->ifc.has_state[queue], "queue %u is enabled without a position", queue);
		m->ifc.has_state[queue] = false;
		return false;
	}
	RULE(m, value == 0, "queue_enable gets %u", value);
	RULE(m, q->enable, "queue %u is disabled and was not enabled", queue);
	q->disables++;
	m->ifc.reads_left[queue] = m->ifc.disable_reads;
	if (m->ifc.reads_left[queue] == 0)
		q->enable = 0;
	return true;
}

void model_ifc_look(struct virtio_model *m, uint16_t queue)
{
	uint32_t *left = &m->ifc.reads_left[queue];

	if (m->ifc.there && queue < m->n_queues && *left > 0 && *left < UINT32_MAX && --*left == 0)
		m->queues[queue].enable = 0;
}

void model_add_ifc(struct virtio_model *m)
{
	model_set_config(m, PCI_SUBSYSTEM_VENDOR_ID, 2, 0x8086);
	model_set_config(m, PCI_SUBSYSTEM_ID, 2, 0x001a);
	m->bar_sizes[MODEL_IFC_BAR] = 0x1000;
	m->ifc.there = true;
	model_ifc_forget(m);
}

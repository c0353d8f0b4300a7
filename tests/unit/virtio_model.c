/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <string.h>

#include "drivers/virtio/function.h"

#define ALL_ONES(width) (UINT32_MAX >> (32 - 8 * (width)))

static struct virtio_model *model(struct pci_function *pci)
{
	return (struct virtio_model *)pci;
}

void model_complain(struct virtio_model *m, const char *format, ...)
{
	va_list args;

	if (m->broken[0])
		return;
	va_start(args, format);
	vsnprintf(m->broken, sizeof(m->broken), format, args);
	va_end(args);
}

#define RULE(m, holds, ...)                                                                        \
	do {                                                                                       \
		if (!(holds))                                                                      \
			model_complain(m, __VA_ARGS__);                                                  \
	} while (0)

static bool accepted(const struct virtio_model *m, unsigned int feature)
{
	return m->accepted & BIT_ULL(feature);
}

static bool negotiated(const struct virtio_model *m)
{
	return m->status & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* --- resets --- */

static void queue_forget(struct model_queue *q)
{
	q->size = q->max_size;
	q->vector = VIRTIO_MSI_NO_VECTOR;
	q->enable = q->late_reads > 0;
	memset(q->addresses, 0, sizeof(q->addresses));
}

static void forget(struct virtio_model *m)
{
	m->status = 0;
	m->needs_reset = false;
	m->accepted = 0;
	m->config_vector = VIRTIO_MSI_NO_VECTOR;
	if (m->ifc.there)
		model_ifc_forget(m);
	for (size_t i = 0; i < MODEL_MAX_QUEUES; i++) {
		queue_forget(&m->queues[i]);
		m->queues[i].reset = 0;
	}
}

/* --- status --- */

static void write_status(struct virtio_model *m, uint32_t value)
{
	/* Each bit, and those that come before it. */
	static const struct {
		uint8_t bit, before;
	} order[] = {
		{ VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_ACKNOWLEDGE },
		{ VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER },
		{ VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK },
	};

	if (value == 0) {
		if (m->deaf)
			return;
		m->resets++;
		m->status_reads_left = m->reset_reads;
		if (m->status_reads_left == 0)
			forget(m);
		return;
	}
	RULE(m, (value & m->status) == m->status, "a bit of the status was taken back");
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		RULE(m, !(value & order[i].bit) || (m->status & order[i].before),
			"status 0x%x comes before 0x%x", value, order[i].before);
	if ((value & VIRTIO_CONFIG_S_FEATURES_OK) && (m->accepted & m->refused))
		value &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	m->status = (uint8_t)value;
}

static uint32_t read_status(struct virtio_model *m)
{
	if (m->status_reads_left > 0 && --m->status_reads_left == 0)
		forget(m);
	return m->status | (m->needs_reset ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

/* --- the common configuration --- */

static struct model_queue *selected(struct virtio_model *m)
{
	if (m->select < m->n_queues)
		return &m->queues[m->select];
	memset(&m->no_queue, 0, sizeof(m->no_queue));
	return &m->no_queue;
}

static uint32_t half(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

/* What may be written to a queue, and when. */
static struct model_queue *queue_to_set_up(struct virtio_model *m)
{
	struct model_queue *q = selected(m);

	RULE(m, m->select < m->n_queues && q->max_size > 0, "queue %u is not there", m->select);
	RULE(m, negotiated(m), "queue %u is set up before FEATURES_OK", m->select);
	RULE(m, q->enable == 0, "queue %u is set up while it is enabled", m->select);
	RULE(m, q->reset == 0, "queue %u is set up while it is reset", m->select);
	RULE(m, !(m->status & VIRTIO_CONFIG_S_DRIVER_OK) || q->resets > 0 || q->disables > 0,
		"queue %u is set up while the device runs", m->select);
	return q;
}

static uint16_t assigned(const struct virtio_model *m, uint32_t vector)
{
	if (m->no_vectors || vector >= m->n_vectors)
		return VIRTIO_MSI_NO_VECTOR;
	return (uint16_t)(vector + m->other_vector);
}

static void write_feature_select(struct virtio_model *m, uint32_t value)
{
	m->select_offered = value;
}

static void write_accepted_select(struct virtio_model *m, uint32_t value)
{
	m->select_accepted = value;
}

static void write_accepted(struct virtio_model *m, uint32_t value)
{
	uint64_t mask = m->select_accepted < 2 ? (uint64_t)UINT32_MAX << 32 * m->select_accepted : 0;

	RULE(m, m->status & VIRTIO_CONFIG_S_DRIVER, "features come before DRIVER");
	RULE(m, !negotiated(m), "features come after FEATURES_OK");
	RULE(m, !(value & ~half(m->offered, m->select_accepted)), "features were not offered");
	if (mask)
		m->accepted = (m->accepted & ~mask) | (uint64_t)value << 32 * m->select_accepted;
}

static void write_config_vector(struct virtio_model *m, uint32_t value)
{
	m->config_vector = assigned(m, value);
}

static void write_select(struct virtio_model *m, uint32_t value)
{
	m->select = (uint16_t)value;
}

static void write_size(struct virtio_model *m, uint32_t value)
{
	struct model_queue *q = queue_to_set_up(m);

	RULE(m, value > 0 && value <= q->max_size, "queue %u gets a size of %u", m->select, value);
	RULE(m, accepted(m, VIRTIO_F_RING_PACKED) || (value & (value - 1)) == 0,
		"a split ring gets a size of %u", value);
	if (!m->forgets_size)
		q->size = (uint16_t)value;
}

static void write_vector(struct virtio_model *m, uint32_t value)
{
	queue_to_set_up(m)->vector = assigned(m, value);
}

static void write_enable(struct virtio_model *m, uint32_t value)
{
	struct model_queue *q;

	if (model_ifc_may_enable(m, m->select, value))
		return;
	q = queue_to_set_up(m);
	RULE(m, value == 1, "queue_enable gets %u", value);
	RULE(m, q->addresses[0] || q->addresses[1], "queue %u is enabled without a ring", m->select);
	if (!m->forgets_enable)
		q->enable = 1;
}

static void write_queue_reset(struct virtio_model *m, uint32_t value)
{
	struct model_queue *q = selected(m);

	RULE(m, accepted(m, VIRTIO_BIT_RING_RESET), "queue_reset without RING_RESET");
	RULE(m, value == 1, "queue_reset gets %u", value);
	RULE(m, q->enable, "queue %u is reset and was not enabled", m->select);
	RULE(m, q->reset == 0, "queue %u is reset while it is reset", m->select);
	q->resets++;
	q->reset = 1;
	if (q->reset_reads == 0) {
		queue_forget(q);
		q->reset = 0;
	}
}

static uint32_t read_queue_reset(struct virtio_model *m)
{
	struct model_queue *q = selected(m);

	if (q->reset && q->reset_reads > 0 && --q->reset_reads == 0) {
		queue_forget(q);
		q->reset = 0;
	}
	return q->reset;
}

static uint32_t read_generation(struct virtio_model *m)
{
	if (m->unsteady > 0) {
		m->unsteady--;
		m->generation++;
	}
	return m->generation;
}

static uint32_t read_feature_select(struct virtio_model *m)
{
	return m->select_offered;
}

static uint32_t read_offered(struct virtio_model *m)
{
	return half(m->offered, m->select_offered);
}

static uint32_t read_accepted_select(struct virtio_model *m)
{
	return m->select_accepted;
}

static uint32_t read_accepted(struct virtio_model *m)
{
	return half(m->accepted, m->select_accepted);
}

static uint32_t read_config_vector(struct virtio_model *m)
{
	return m->config_vector;
}

static uint32_t read_n_queues(struct virtio_model *m)
{
	return m->n_queues;
}

static uint32_t read_select(struct virtio_model *m)
{
	return m->select;
}

static uint32_t read_size(struct virtio_model *m)
{
	return selected(m)->size;
}

static uint32_t read_vector(struct virtio_model *m)
{
	return selected(m)->vector;
}

static uint32_t read_enable(struct virtio_model *m)
{
	struct model_queue *q = selected(m);

	model_ifc_look(m, m->select);
	if (q->resets > 0 && q->reset == 0 && q->late_reads > 0 && --q->late_reads == 0)
		q->enable = 0;
	return q->enable;
}

static uint32_t read_notify_off(struct virtio_model *m)
{
	return selected(m)->notify_off;
}

static uint32_t read_notify_data(struct virtio_model *m)
{
	RULE(m, accepted(m, VIRTIO_BIT_NOTIF_CONFIG_DATA), "notify data without its feature");
	return selected(m)->notify_data;
}

/* Registers that are not here are the addresses of a queue. */
static const struct model_register {
	uint8_t width;
	uint32_t (*read)(struct virtio_model *m);
	void (*write)(struct virtio_model *m, uint32_t value); /* NULL: read-only */
} registers[] = {
	[VIRTIO_PCI_COMMON_DFSELECT] = { 4, read_feature_select, write_feature_select },
	[VIRTIO_PCI_COMMON_DF] = { 4, read_offered, NULL },
	[VIRTIO_PCI_COMMON_GFSELECT] = { 4, read_accepted_select, write_accepted_select },
	[VIRTIO_PCI_COMMON_GF] = { 4, read_accepted, write_accepted },
	[VIRTIO_PCI_COMMON_MSIX] = { 2, read_config_vector, write_config_vector },
	[VIRTIO_PCI_COMMON_NUMQ] = { 2, read_n_queues, NULL },
	[VIRTIO_PCI_COMMON_STATUS] = { 1, read_status, write_status },
	[VIRTIO_PCI_COMMON_CFGGENERATION] = { 1, read_generation, NULL },
	[VIRTIO_PCI_COMMON_Q_SELECT] = { 2, read_select, write_select },
	[VIRTIO_PCI_COMMON_Q_SIZE] = { 2, read_size, write_size },
	[VIRTIO_PCI_COMMON_Q_MSIX] = { 2, read_vector, write_vector },
	[VIRTIO_PCI_COMMON_Q_ENABLE] = { 2, read_enable, write_enable },
	[VIRTIO_PCI_COMMON_Q_NOFF] = { 2, read_notify_off, NULL },
	[VIRTIO_PCI_COMMON_Q_NDATA] = { 2, read_notify_data, NULL },
	[VIRTIO_PCI_COMMON_Q_RESET] = { 2, read_queue_reset, write_queue_reset },
};

static bool is_address(uint64_t offset)
{
	return offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset < VIRTIO_PCI_COMMON_Q_NDATA;
}

static const struct model_register *find_register(struct virtio_model *m, uint64_t offset,
	unsigned int width)
{
	const struct model_register *reg =
		offset < ARRAY_SIZE(registers) ? &registers[offset] : NULL;

	if (!reg || reg->width != width) {
		model_complain(m, "the common configuration has no %u bytes at %u", width,
			(unsigned int)offset);
		return NULL;
	}
	RULE(m, m->status_reads_left == 0 || offset == VIRTIO_PCI_COMMON_STATUS,
		"register %u is used during a reset", (unsigned int)offset);
	return reg;
}

static uint32_t common_read(struct virtio_model *m, uint64_t offset, unsigned int width)
{
	const struct model_register *reg;

	if (is_address(offset) && width == 4 && offset % 4 == 0)
		return selected(m)->addresses[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 4];
	reg = find_register(m, offset, width);
	return reg ? reg->read(m) : ALL_ONES(width);
}

static void common_write(struct virtio_model *m, uint64_t offset, unsigned int width,
	uint32_t value)
{
	const struct model_register *reg;

	if (is_address(offset) && width == 4 && offset % 4 == 0) {
		queue_to_set_up(m)->addresses[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 4] = value;
		return;
	}
	reg = find_register(m, offset, width);
	if (!reg)
		return;
	if (reg->write)
		reg->write(m, value);
	else
		model_complain(m, "register %u is read-only", (unsigned int)offset);
}

/* --- the other structures --- */

static uint32_t net_read(struct virtio_model *m, uint64_t offset, unsigned int width)
{
	static const struct {
		uint8_t end, width, feature;
	} fields[] = {
		{ 6, 1, VIRTIO_NET_F_MAC },
		{ 8, 2, VIRTIO_NET_F_STATUS },
		{ 10, 2, VIRTIO_NET_F_MQ },
		{ 12, 2, VIRTIO_NET_F_MTU },
	};
	uint64_t features = negotiated(m) ? m->accepted : m->offered;
	uint32_t value = 0;
	size_t i = 0;

	while (i < ARRAY_SIZE(fields) && offset >= fields[i].end)
		i++;
	if (i == ARRAY_SIZE(fields) || width != fields[i].width ||
		!(features & BIT_ULL(fields[i].feature))) {
		model_complain(m, "the configuration has no %u bytes at %u", width, (unsigned int)offset);
		return ALL_ONES(width);
	}
	memcpy(&value, &m->net[offset], width);
	return value;
}

static void notify_write(struct virtio_model *m, uint64_t offset, unsigned int width,
	uint32_t value)
{
	RULE(m, m->status & VIRTIO_CONFIG_S_DRIVER_OK, "a notification before DRIVER_OK");
	RULE(m, width == (accepted(m, VIRTIO_BIT_NOTIFICATION_DATA) ? 4 : 2),
		"a notification of %u bytes", width);
	for (uint16_t i = 0; i < m->n_queues; i++) {
		struct model_queue *q = &m->queues[i];
		uint16_t name = accepted(m, VIRTIO_BIT_NOTIF_CONFIG_DATA) ? q->notify_data : i;

		if (offset != q->notify_off * (uint64_t)MODEL_MULTIPLIER)
			continue;
		RULE(m, (uint16_t)value == name, "queue %u is called %u", i, (uint16_t)value);
		q->notified = value;
		q->notifications++;
		return;
	}
	model_complain(m, "a notification at %u is nobody's", (unsigned int)offset);
}

/* --- the function --- */

/* All ones from now on? */
static bool is_gone(struct virtio_model *m)
{
	m->accesses++;
	if (m->gone_after > 0 && m->accesses > m->gone_after)
		m->gone = true;
	return m->gone;
}

static uint32_t model_read(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width)
{
	struct virtio_model *m = model(pci);

	RULE(m, offset % width == 0, "%u bytes are read at %u", width, (unsigned int)offset);
	if (is_gone(m))
		return ALL_ONES(width);
	if (bar == MODEL_BAR && offset < MODEL_ISR)
		return common_read(m, offset - MODEL_COMMON, width);
	if (bar == MODEL_BAR && offset >= MODEL_DEVICE && offset < MODEL_NOTIFY)
		return net_read(m, offset - MODEL_DEVICE, width);
	if (bar == MODEL_IFC_BAR && m->ifc.there)
		return model_ifc_read(m, offset, width);
	model_complain(m, "a read at %u of BAR %u", (unsigned int)offset, bar);
	return ALL_ONES(width);
}

static void model_write(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width, uint32_t value)
{
	struct virtio_model *m = model(pci);

	RULE(m, offset % width == 0, "%u bytes are written at %u", width, (unsigned int)offset);
	if (is_gone(m))
		return;
	if (bar == MODEL_BAR && offset < MODEL_ISR)
		common_write(m, offset - MODEL_COMMON, width, value);
	else if (bar == MODEL_BAR && offset >= MODEL_NOTIFY && offset < MODEL_BAR_SIZE)
		notify_write(m, offset - MODEL_NOTIFY, width, value);
	else if (bar == MODEL_IFC_BAR && m->ifc.there)
		model_ifc_write(m, offset, width, value);
	else
		model_complain(m, "a write at %u of BAR %u", (unsigned int)offset, bar);
}

static uint32_t model_config_read(struct pci_function *pci, uint32_t offset, unsigned int width)
{
	struct virtio_model *m = model(pci);
	uint32_t value = 0;

	if (offset % width != 0 || offset + width > PCI_CONFIG_SIZE) {
		model_complain(m, "%u bytes at %u of configuration space", width, offset);
		return ALL_ONES(width);
	}
	if (m->gone)
		return ALL_ONES(width);
	memcpy(&value, &m->config[offset], width);
	return value;
}

static void model_config_write(struct pci_function *pci, uint32_t offset, unsigned int width,
	uint32_t value)
{
	struct virtio_model *m = model(pci);

	if (offset != PCI_COMMAND || width != 2)
		model_complain(m, "configuration space is written at %u", offset);
	else if (!m->gone && !m->stubborn)
		model_set_config(m, PCI_COMMAND, 2, value);
}

static uint64_t model_bar_size(struct pci_function *pci, unsigned int bar)
{
	struct virtio_model *m = model(pci);

	RULE(m, bar < PCI_N_BARS, "there is no BAR %u", bar);
	return bar < PCI_N_BARS ? m->bar_sizes[bar] : 0;
}

static volatile void *model_map(struct pci_function *pci, struct pci_window window)
{
	model(pci)->maps++;
	return NULL;
}

static const struct pci_ops model_ops = {
	.config_read = model_config_read,
	.config_write = model_config_write,
	.bar_size = model_bar_size,
	.read = model_read,
	.write = model_write,
	.map = model_map,
};

void model_set_config(struct virtio_model *m, uint32_t offset, unsigned int width, uint32_t value)
{
	memcpy(&m->config[offset], &value, width);
}

uint64_t model_queue_address(const struct virtio_model *m, uint16_t queue, unsigned int which)
{
	const uint32_t *halves = &m->queues[queue].addresses[2 * which];

	return (uint64_t)halves[1] << 32 | halves[0];
}

void model_assert_content(const struct virtio_model *m)
{
	assert_string_equal(m->broken, "");
}

static void put_cap(struct virtio_model *m, uint8_t at, uint8_t next, uint8_t size, uint8_t kind,
	uint32_t offset, uint32_t length)
{
	const struct virtio_pci_cap cap = {
		.cap_vndr = PCI_CAP_ID_VNDR,
		.cap_next = next,
		.cap_len = size,
		.cfg_type = kind,
		.bar = MODEL_BAR,
		.offset = offset,
		.length = length,
	};

	memcpy(&m->config[at], &cap, sizeof(cap));
}

static void put_caps(struct virtio_model *m)
{
	const uint8_t plain = sizeof(struct virtio_pci_cap);

	model_set_config(m, PCI_VENDOR_ID, 2, 0x1af4);
	model_set_config(m, PCI_DEVICE_ID, 2, 0x1041);
	model_set_config(m, PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
	model_set_config(m, PCI_CAPABILITY_LIST, 1, MODEL_CAP_MSIX);

	model_set_config(m, MODEL_CAP_MSIX, 2, PCI_CAP_ID_MSIX | MODEL_CAP_COMMON << 8);
	model_set_config(m, MODEL_CAP_MSIX + PCI_MSIX_TABLE, 4, MODEL_MSIX_BAR);

	put_cap(m, MODEL_CAP_COMMON, MODEL_CAP_NOTIFY, plain, VIRTIO_PCI_CAP_COMMON_CFG,
		MODEL_COMMON, 0x1000);
	put_cap(m, MODEL_CAP_NOTIFY, MODEL_CAP_ISR, plain + 4, VIRTIO_PCI_CAP_NOTIFY_CFG,
		MODEL_NOTIFY, 0x1000);
	model_set_config(m, MODEL_CAP_NOTIFY + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, MODEL_MULTIPLIER);
	put_cap(m, MODEL_CAP_ISR, MODEL_CAP_DEVICE, plain, VIRTIO_PCI_CAP_ISR_CFG, MODEL_ISR,
		0x1000);
	put_cap(m, MODEL_CAP_DEVICE, MODEL_CAP_ACCESS, plain, VIRTIO_PCI_CAP_DEVICE_CFG,
		MODEL_DEVICE, 0x1000);
	put_cap(m, MODEL_CAP_ACCESS, 0, plain + 4, VIRTIO_PCI_CAP_PCI_CFG, 0, 0);
}

void model_set_vectors(struct virtio_model *m, uint16_t n)
{
	m->n_vectors = n;
	model_set_config(m, MODEL_CAP_MSIX + PCI_MSIX_FLAGS, 2, n - 1U);
}

static void set_queues(struct virtio_model *m, uint16_t n_queues)
{
	m->n_queues = n_queues;
	for (uint16_t i = 0; i < n_queues; i++) {
		m->queues[i].max_size = 256;
		m->queues[i].notify_off = i;
		m->queues[i].notify_data = (uint16_t)(0x100 + i);
	}
	forget(m);
}

void model_set_pairs(struct virtio_model *m, uint16_t pairs)
{
	assert_true(2 * pairs + 1 <= MODEL_MAX_QUEUES);
	memcpy(&m->net[MODEL_NET_PAIRS], &pairs, sizeof(pairs));
	set_queues(m, (uint16_t)(2 * pairs + 1));
	model_set_vectors(m, (uint16_t)(2 * pairs + 2));
}

void model_init(struct virtio_model *m)
{
	static const uint8_t net[12] = { 0x52, 0x54, 0, 0xaa, 0xbb, 1, VIRTIO_NET_S_LINK_UP, 0, 2, 0,
		0xdc, 0x05 };

	*m = (struct virtio_model){
		.pci.ops = &model_ops,
		.bar_sizes = { [MODEL_BAR] = MODEL_BAR_SIZE, [MODEL_MSIX_BAR] = 0x1000 },
		.offered = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
			   BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_BIT_RING_RESET) |
			   BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA) |
			   BIT_ULL(VIRTIO_BIT_NOTIF_CONFIG_DATA) | BIT_ULL(VIRTIO_NET_F_MAC) |
			   BIT_ULL(VIRTIO_NET_F_STATUS) | BIT_ULL(VIRTIO_NET_F_MQ) |
			   BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ) |
			   BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE),
	};
	memcpy(m->net, net, sizeof(net));
	put_caps(m);
	set_queues(m, 5);
	model_set_vectors(m, MODEL_MSIX_VECTORS);
}

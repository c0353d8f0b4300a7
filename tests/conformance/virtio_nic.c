/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function's registers are the model's; each access goes through here, under the NIC's lock, and
 * afterwards queues follow what the registers say by then: whether they run, and whether the driver
 * rang. The thread sleeps until someone rings, as nothing else tells a device of new buffers.
 *
 * A ring that breaks the rules, and memory that is not there, make the function want a reset, which is
 * what virtio has for this (virtio 1.2, 2.1.2).
 */
#include "tests/conformance/virtio_nic_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/virtio/function.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

const uint64_t NIC_FEATURES =
	BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
	BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) | BIT_ULL(VIRTIO_BIT_RING_RESET) |
	BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
	BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_NET_F_MAC) |
	BIT_ULL(VIRTIO_NET_F_STATUS) | BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_MTU) |
	BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ) |
	BIT_ULL(VIRTIO_NET_F_CTRL_RX) | BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) |
	BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) | BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE);

void nic_lock(struct nic_function *f)
{
	assert_int_equal(pthread_mutex_lock(&f->nic->lock), 0);
}

void nic_unlock(struct nic_function *f)
{
	assert_int_equal(pthread_mutex_unlock(&f->nic->lock), 0);
}

static void wake(struct virtio_nic *nic)
{
	nic->work = true;
	pthread_cond_broadcast(&nic->woken);
}

/* ------------------------------------------------------------------------- interrupts */

static void interrupt(struct nic_function *f, uint16_t vector)
{
	const uint64_t one = 1;

	if (vector == VIRTIO_MSI_NO_VECTOR || vector >= f->n_irqs)
		return;
	f->figures.interrupts++;
	if (f->irqs[vector] >= 0)
		assert_int_equal(write(f->irqs[vector], &one, sizeof(one)), sizeof(one));
}

bool nic_function_works(const struct nic_function *f)
{
	return !f->model.gone && !f->model.needs_reset &&
	       (f->model.status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       (f->model.config[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

void nic_function_changed(struct nic_function *f)
{
	f->model.generation++;
	if (!f->model.gone && (f->model.status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		(f->model.config[PCI_COMMAND] & PCI_COMMAND_MASTER))
		interrupt(f, f->model.config_vector);
}

void nic_function_break(struct nic_function *f)
{
	f->figures.broken++;
	f->model.needs_reset = true;
	nic_function_changed(f);
}

void nic_function_call(struct nic_function *f, uint16_t queue)
{
	int wants = nic_ring_wants_call(&f->queues[queue].ring);

	if (wants < 0)
		nic_function_break(f);
	else if (wants)
		interrupt(f, f->model.queues[queue].vector);
}

/* -------------------------------------------------------------------------- registers */

static struct nic_function *function_of(struct pci_function *pci)
{
	return (struct nic_function *)pci;
}

/* Without VIRTIO_NET_F_MQ there is one pair, and the control queue comes next. Source: 5.1.2. */
uint16_t nic_control_index(const struct nic_function *f)
{
	if (!(f->model.accepted & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)))
		return MODEL_MAX_QUEUES;
	return f->model.accepted & BIT_ULL(VIRTIO_NET_F_MQ) ? (uint16_t)(2 * f->facts.pairs) : 2;
}

static bool queue_exists(const struct nic_function *f, uint16_t queue)
{
	bool many = f->model.accepted & BIT_ULL(VIRTIO_NET_F_MQ);

	return queue == nic_control_index(f) || queue < (many ? 2 * f->facts.pairs : 2);
}

static void begin_queue(struct nic_function *f, uint16_t queue)
{
	struct nic_ring *ring = &f->queues[queue].ring;

	if (!queue_exists(f, queue))
		model_complain(&f->model, "queue %u is enabled, which these features do not have",
			queue);
	*ring = (struct nic_ring){
		.dma = &f->dma,
		.features = f->model.accepted,
		.size = f->model.queues[queue].size,
		.desc = model_queue_address(&f->model, queue, 0),
		.driver = model_queue_address(&f->model, queue, 1),
		.device = model_queue_address(&f->model, queue, 2),
	};
	nic_ring_begin(ring);
	if (f->model.ifc.there)
		nic_ifc_begin(f, queue);
}

static void follow_queue(struct nic_function *f, uint16_t queue)
{
	const struct model_queue *registers = &f->model.queues[queue];
	struct nic_queue *q = &f->queues[queue];
	bool running = registers->enable && (f->model.status & VIRTIO_CONFIG_S_DRIVER_OK);
	bool rang = registers->notifications != q->notifications;

	if (running && !q->running)
		begin_queue(f, queue);
	if (!running && q->running && f->model.ifc.there)
		nic_ifc_end(f, queue);
	q->running = running;
	q->notifications = registers->notifications;
	if (!rang || !running)
		return;
	if (!nic_ring_tell(&q->ring, registers->notified))
		model_complain(&f->model, "queue %u is said to stand at 0x%x", queue,
			registers->notified >> 16);
	wake(f->nic);
}

static uint64_t end_of_reset(const struct nic_function *f)
{
	if (f->delay_ms == UINT_MAX)
		return UINT64_MAX;
	return clock_now_ns() + f->delay_ms * NS_PER_MS;
}

static void follow_reset(struct nic_function *f)
{
	if (f->resets == f->model.resets)
		return;
	f->resets = f->model.resets;
	f->figures.pairs = 1;
	memcpy(&f->model.net[MODEL_NET_MAC], f->facts.mac, sizeof(f->facts.mac));
	f->ready_ns = f->model.reset_reads > 0 ? end_of_reset(f) : 0;
	f->model.reset_reads = 0; /* the next one is as quick as ever */
}

static void follow(struct nic_function *f)
{
	follow_reset(f);
	if (f->model.ifc.there)
		f->figures.pairs = (uint16_t)f->model.ifc.pairs;
	for (uint16_t i = 0; i < f->model.n_queues; i++)
		follow_queue(f, i);
}

/* A reset that takes its time reads as under way until it is over. */
static void advance(struct nic_function *f)
{
	if (f->ready_ns == 0)
		return;
	f->model.status_reads_left = UINT_MAX;
	if (clock_now_ns() >= f->ready_ns) {
		f->model.status_reads_left = 1;
		f->ready_ns = 0;
	}
}

static uint32_t nic_config_read(struct pci_function *pci, uint32_t offset, unsigned int width)
{
	struct nic_function *f = function_of(pci);
	uint32_t value;

	nic_lock(f);
	value = pci_config_read(&f->model.pci, offset, width);
	nic_unlock(f);
	return value;
}

static void nic_config_write(struct pci_function *pci, uint32_t offset, unsigned int width,
	uint32_t value)
{
	struct nic_function *f = function_of(pci);

	nic_lock(f);
	f->model.pci.ops->config_write(&f->model.pci, offset, width, value);
	wake(f->nic); /* it may be let reach memory again */
	nic_unlock(f);
}

static uint64_t nic_bar_size(struct pci_function *pci, unsigned int bar)
{
	struct nic_function *f = function_of(pci);
	uint64_t size;

	nic_lock(f);
	size = f->model.pci.ops->bar_size(&f->model.pci, bar);
	nic_unlock(f);
	return size;
}

static uint32_t nic_read(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width)
{
	struct nic_function *f = function_of(pci);
	uint32_t value;

	nic_lock(f);
	advance(f);
	value = f->model.pci.ops->read(&f->model.pci, bar, offset, width);
	follow(f);
	nic_unlock(f);
	return value;
}

static void nic_write(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width, uint32_t value)
{
	struct nic_function *f = function_of(pci);

	nic_lock(f);
	f->model.pci.ops->write(&f->model.pci, bar, offset, width, value);
	follow(f);
	nic_unlock(f);
}

/* Nobody hears of accesses to memory: all of them go through @read and @write. */
static volatile void *nic_map(struct pci_function *pci, struct pci_window window)
{
	return NULL;
}

void nic_function_forget(struct nic_function *f)
{
	f->model.pci.ops->write(&f->model.pci, MODEL_BAR,
		MODEL_COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
	follow(f);
}

static const struct pci_ops nic_ops = {
	.config_read = nic_config_read,
	.config_write = nic_config_write,
	.bar_size = nic_bar_size,
	.read = nic_read,
	.write = nic_write,
	.map = nic_map,
};

/* ------------------------------------------------------------------------------ thread */

static void *serve(void *arg)
{
	struct virtio_nic *nic = arg;

	pthread_mutex_lock(&nic->lock);
	while (!nic->end) {
		if (!nic->work) {
			pthread_cond_wait(&nic->woken, &nic->lock);
			continue;
		}
		nic->work = false;
		for (size_t i = 0; i < NIC_MAX_FUNCTIONS; i++) {
			if (nic->functions[i]) {
				nic_control_serve(nic->functions[i]);
				nic_switch_serve(nic->functions[i]);
			}
		}
		pthread_cond_broadcast(&nic->woken);
	}
	pthread_mutex_unlock(&nic->lock);
	return NULL;
}

void nic_wait_idle(struct virtio_nic *nic)
{
	pthread_mutex_lock(&nic->lock);
	while (nic->work)
		pthread_cond_wait(&nic->woken, &nic->lock);
	pthread_mutex_unlock(&nic->lock);
}

struct virtio_nic *virtio_nic_new(void)
{
	struct virtio_nic *nic = calloc(1, sizeof(*nic));

	assert_non_null(nic);
	assert_int_equal(pthread_mutex_init(&nic->lock, NULL), 0);
	assert_int_equal(pthread_cond_init(&nic->woken, NULL), 0);
	assert_int_equal(pthread_create(&nic->thread, NULL, serve, nic), 0);
	return nic;
}

void virtio_nic_free(struct virtio_nic *nic)
{
	pthread_mutex_lock(&nic->lock);
	nic->end = true;
	pthread_cond_broadcast(&nic->woken);
	pthread_mutex_unlock(&nic->lock);
	pthread_join(nic->thread, NULL);
	for (size_t i = 0; i < NIC_MAX_FUNCTIONS; i++)
		assert_null(nic->functions[i]);
	pthread_cond_destroy(&nic->woken);
	pthread_mutex_destroy(&nic->lock);
	free(nic);
}

/* --------------------------------------------------------------------------- functions */

static void init_model(struct nic_function *f)
{
	struct virtio_model *m = &f->model;

	model_init(m);
	model_set_pairs(m, f->facts.pairs);
	if (f->facts.vectors > 0)
		model_set_vectors(m, f->facts.vectors);
	if (f->facts.ifc)
		model_add_ifc(m);
	m->offered = f->facts.features;
	memcpy(&m->net[MODEL_NET_MAC], f->facts.mac, sizeof(f->facts.mac));
	memcpy(&m->net[MODEL_NET_MTU], &f->facts.mtu, sizeof(f->facts.mtu));
}

struct nic_function *nic_function_new(struct virtio_nic *nic, const struct nic_facts *facts)
{
	struct nic_function *f = calloc(1, sizeof(*f));
	size_t at = 0;

	assert_non_null(f);
	assert_true((facts->features & ~NIC_FEATURES) == 0);
	*f = (struct nic_function){
		.pci.ops = &nic_ops,
		.nic = nic,
		.facts = *facts,
		.removal = -1,
		.figures.pairs = 1,
	};
	init_model(f);
	nic_lock(f);
	while (at < NIC_MAX_FUNCTIONS && nic->functions[at])
		at++;
	assert_true(at < NIC_MAX_FUNCTIONS);
	nic->functions[at] = f;
	nic_unlock(f);
	return f;
}

static void close_irqs(struct nic_function *f)
{
	while (f->n_irqs > 0)
		close_keep_errno(f->irqs[--f->n_irqs]);
}

void nic_function_free(struct nic_function *f)
{
	struct virtio_model model;

	if (!f)
		return;
	nic_lock(f);
	for (size_t i = 0; i < NIC_MAX_FUNCTIONS; i++) {
		if (f->nic->functions[i] == f)
			f->nic->functions[i] = NULL;
	}
	nic_unlock(f);
	assert_int_equal(f->n_transports, 0);
	nic_dma_unmap_all(&f->dma);
	close_irqs(f);
	close_keep_errno(f->removal);
	model = f->model;
	free(f);
	model_assert_content(&model);
}

void nic_function_set_link(struct nic_function *f, bool up)
{
	nic_lock(f);
	f->model.net[MODEL_NET_STATUS] &= (uint8_t)~VIRTIO_NET_S_LINK_UP;
	f->model.net[MODEL_NET_STATUS] |= up ? VIRTIO_NET_S_LINK_UP : 0;
	nic_function_changed(f);
	wake(f->nic);
	nic_unlock(f);
}

void nic_function_lose(struct nic_function *f)
{
	const uint64_t one = 1;

	nic_lock(f);
	f->model.gone = true;
	nic_dma_unmap_all(&f->dma);
	close_irqs(f);
	if (f->removal >= 0)
		assert_int_equal(write(f->removal, &one, sizeof(one)), sizeof(one));
	nic_unlock(f);
}

void nic_function_delay(struct nic_function *f, unsigned int ms)
{
	nic_lock(f);
	f->delay_ms = ms;
	f->model.reset_reads = UINT_MAX;
	nic_unlock(f);
}

struct nic_figures nic_function_figures(struct nic_function *f)
{
	struct nic_figures figures;

	nic_lock(f);
	figures = f->figures;
	figures.faults = f->dma.faults;
	figures.last_fault = f->dma.last_fault;
	nic_unlock(f);
	return figures;
}

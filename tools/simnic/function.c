/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function from its creation to its end: BAR, memory, features. Queues are in queues.c.
 *
 * Nothing here waits for a guest or a driver. Memory is mapped before, and unmapped after, the
 * pause in which the data threads' view of it changes.
 */
#include "tools/simnic/function.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/simnic/control.h"
#include "tools/simnic/misbehave.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/queues.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/memfile.h"

#define F_ANY_LAYOUT 27

_Static_assert(SIM_BAR_REGS_OFFSET + sizeof(struct sim_regs) <= SIM_BAR_CONTROL_OFFSET &&
		       SIM_BAR_CONTROL_OFFSET + sizeof(struct sim_control_regs) <= SIM_BAR_SIZE,
	"BAR is too small");

uint64_t function_features(const struct nic *nic)
{
	const uint64_t all = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_PACKED) |
		BIT_ULL(F_ANY_LAYOUT) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
		BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | BIT_ULL(VIRTIO_NET_F_MAC) |
		BIT_ULL(VIRTIO_NET_F_STATUS) | BIT_ULL(VIRTIO_NET_F_MTU) |
		BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) |
		BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_CSUM) |
		BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_HOST_TSO4) |
		BIT_ULL(VIRTIO_NET_F_HOST_TSO6) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |
		BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ) |
		BIT_ULL(VIRTIO_NET_F_CTRL_RX) | BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) |
		BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) | BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) |
		BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
		BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);

	return nic->options.shuffled ? all : all | BIT_ULL(FUNCTION_F_IN_ORDER);
}

static void close_bar(struct function *f)
{
	if (f->bar)
		munmap(f->bar, SIM_BAR_SIZE);
	f->bar = NULL;
	f->bar_fd = close_keep_errno(f->bar_fd);
}

static int open_bar(int *ret_fd, uint8_t **ret)
{
	_cleanup_close_ int fd = memfile_create("simnic-bar", SIM_BAR_SIZE);
	void *bar;

	if (fd < 0)
		return fd;
	bar = mmap(NULL, SIM_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	*ret = bar;
	return 0;
}

static void use_bar(struct function *f, int fd, uint8_t *bar)
{
	f->bar_fd = fd;
	f->bar = bar;
	f->regs = (struct sim_regs *)(void *)(bar + SIM_BAR_REGS_OFFSET);
	f->regs->version = SIM_INTERFACE_VERSION;
	f->regs->link_up = (f->identity.flags & SIM_FUNCTION_LINK_UP) != 0;
	for (uint16_t i = 0; i < f->n_queues; i++)
		f->queues[i].regs = &f->regs->queues[i];
}

static void init_queues(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		struct vq *q = &f->queues[i];

		q->function = f;
		q->index = i;
		q->kind = &f->queues[i] == f->control_queue ? VQ_CONTROL : i % 2 ? VQ_TRANSMIT : VQ_RECEIVE;
		q->kick_fd = q->call_fd = q->err_fd = -1;
		rte_spinlock_init(&q->lock);
		if (vq_is_transmit(q))
			q->thread = f->nic->threads[(f->slot + i / 2U) % f->nic->n_threads];
	}
}

static int find_slot(struct nic *nic, uint32_t *ret)
{
	for (uint32_t i = 0; i < NIC_MAX_FUNCTIONS; i++) {
		if (!nic->functions[i]) {
			*ret = i;
			return 0;
		}
	}
	return -ENOSPC;
}

int function_create(struct nic *nic, const struct sim_function *identity, struct function **ret)
{
	bool control = identity->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
	uint16_t n_queues = (uint16_t)(2 * identity->max_pairs + control);
	struct function *f;
	uint8_t *bar;
	uint32_t slot;
	int r, bar_fd;

	r = find_slot(nic, &slot);
	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f) + n_queues * sizeof(f->queues[0]));
	if (!f)
		return -ENOMEM;
	f->nic = nic;
	f->slot = slot;
	f->identity = *identity;
	f->mtu = identity->mtu;
	f->n_queues = n_queues;
	f->control_queue = control ? &f->queues[n_queues - 1] : NULL;
	f->bar_fd = f->mailbox.fd = f->doorbell_fd = f->control_kick.fd = -1;
	rte_spinlock_init(&f->flood_lock);
	init_queues(f);
	r = open_bar(&bar_fd, &bar);
	if (r == 0) {
		use_bar(f, bar_fd, bar);
		r = iommu_init(&f->iommu);
	}
	if (r < 0) {
		close_bar(f);
		free(f);
		return r;
	}

	nic_pause(nic);
	nic->functions[slot] = f;
	if (slot >= nic->n_slots)
		nic->n_slots = slot + 1;
	nic->n_functions++;
	control_refresh(f);
	nic_resume(nic);
	*ret = f;
	return 0;
}

void function_free(struct function *f)
{
	struct nic *nic = f->nic;

	function_reset(f);
	loop_remove(&nic->loop, &f->mailbox);
	misbehave_forget(f);
	nic_pause(nic);
	nic->functions[f->slot] = NULL;
	nic->n_functions--;
	macs_forget(&nic->macs, (uint16_t)f->slot);
	nic_rescan(nic);
	nic_resume(nic);
	iommu_free(&f->iommu);
	close_keep_errno(f->doorbell_fd);
	close_bar(f);
	free(f);
}

/* Paused: a data thread gives queues up. */
static bool any_runs(const struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (f->queues[i].status >= SIM_QUEUE_RUNNING)
			return true;
	}
	return false;
}

void function_rescan(struct function *f)
{
	f->n_rx_running = 0;
	for (uint16_t i = 0; i < 2 * control_pairs(f); i += 2) {
		if (f->queues[i].status == SIM_QUEUE_RUNNING)
			f->rx_running[f->n_rx_running++] = i;
	}
	if (f->n_rx_running == 0)
		f->running_since = 0;
	else if (f->running_since == 0)
		f->running_since = ++f->nic->start_count;
	nic_rescan(f->nic);
}

/* Takes all queues and all memory away; the registers say so unless the BAR is to be replaced. */
static void clear(struct function *f, bool keep_regs)
{
	struct dirty_bits old_log = f->log;
	struct iommu old;
	int r;

	nic_pause(f->nic);
	for (uint16_t i = 0; i < f->n_queues; i++)
		queue_clear(&f->queues[i], keep_regs);
	postcopy_abort(f);
	old = f->iommu;
	r = iommu_init(&f->iommu);
	if (r < 0) { /* no memory for a new table: empty the old one, paused */
		f->iommu = old;
		while (old.n_regions > 0)
			iommu_region_close(&old.regions[--old.n_regions]);
		f->iommu.n_regions = 0;
		f->iommu.n_bytes = 0;
		iommu_translate(&f->iommu, false);
	}
	f->log = (struct dirty_bits){ 0 };
	f->features = 0;
	f->doorbell = false;
	f->memory_lost = false;
	f->failed_said = false;
	f->mtu = f->identity.mtu;
	control_clear(f, keep_regs);
	macs_forget(&f->nic->macs, (uint16_t)f->slot);
	if (!keep_regs)
		f->regs->status = SIM_FUNCTION_OK;
	nic_resume(f->nic);
	dirty_close(&old_log);
	if (r == 0)
		iommu_free(&old);
}

void function_reset(struct function *f)
{
	clear(f, false);
}

int function_renew(struct function *f)
{
	struct sim_regs *before = f->regs;
	uint8_t *bar, *old_bar = f->bar;
	int fd, old_fd = f->bar_fd, r;

	r = open_bar(&fd, &bar);
	f->renew_due = r < 0;
	if (r < 0) {
		function_reset(f);
		return r;
	}
	clear(f, true);
	nic_pause(f->nic);
	use_bar(f, fd, bar);
	memcpy(&f->regs->rx_frames, &before->rx_frames,
		offsetof(struct sim_regs, pad) - offsetof(struct sim_regs, rx_frames));
	for (uint16_t i = 0; i < f->n_queues; i++)
		memcpy(&f->regs->queues[i].received_desc, &before->queues[i].received_desc,
			sizeof(before->queues[i]) -
				offsetof(struct sim_queue_regs, received_desc));
	f->regs->config_generation = before->config_generation;
	nic_resume(f->nic);
	munmap(old_bar, SIM_BAR_SIZE);
	close_keep_errno(old_fd);
	return 0;
}

static void forget_hits(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++)
		f->queues[i].hit.size = 0;
}

int function_map(struct function *f, const struct sim_map *map, int fd)
{
	struct iommu_region region;
	int r;

	if (f->log.bits && !dirty_covers(&f->log, map))
		return -EINVAL;
	r = iommu_region_open(map, fd, &region);
	if (r < 0)
		return r;
	nic_pause(f->nic);
	r = iommu_insert(&f->iommu, &region);
	nic_resume(f->nic);
	if (r != 0)
		iommu_region_close(&region);
	return r < 0 ? r : 0;
}

int function_unmap(struct function *f, const struct sim_map *map)
{
	struct iommu_region region;
	bool found;
	int r = 0;

	if (!range_ok(map->iova, map->size))
		return -EINVAL;
	nic_pause(f->nic);
	for (uint16_t i = 0; i < f->n_queues && r == 0; i++) {
		if (f->queues[i].status >= SIM_QUEUE_RUNNING &&
			queue_lies_in(&f->queues[i], map->iova, map->size))
			r = -EBUSY;
	}
	found = r == 0 && iommu_remove(&f->iommu, map->iova, map->size, &region);
	for (uint16_t i = 0; found && i < f->n_queues; i++) {
		if (queue_lies_in(&f->queues[i], map->iova, map->size))
			queue_disable(&f->queues[i]);
	}
	forget_hits(f);
	if (found)
		postcopy_forget(f, &region);
	nic_resume(f->nic);
	if (found)
		iommu_region_close(&region);
	return r;
}

int function_set_log(struct function *f, const struct sim_log *log, int fd)
{
	struct dirty_bits new = { 0 }, old;
	int r;

	if (!f->nic->options.dirty_log)
		return -EOPNOTSUPP;
	if (f->postcopy && fd >= 0)
		return -EBUSY;
	if (fd < 0 && (log->offset != 0 || log->size != 0))
		return -EINVAL;
	r = fd < 0 ? 0 : dirty_open(log, fd, &new);
	if (r == 0 && new.bits && !dirty_covers_all(&new, &f->iommu)) {
		dirty_close(&new);
		r = -EINVAL;
	}
	if (r < 0)
		return r;

	new.rings = f->nic->options.dirty_log == LOG_ALL;
	nic_pause(f->nic); /* between bursts: what was written is marked */
	old = f->log;
	f->log = new;
	nic_resume(f->nic);
	dirty_close(&old);
	return 0;
}

/* Paused. */
static int set_features(struct function *f, uint64_t features)
{
	int r;

	if (any_runs(f))
		return features == f->features ? 0 : -EBUSY;
	if (features == f->features && !f->iommu.translates)
		return 0;
	r = iommu_translate(&f->iommu, features & BIT_ULL(VIRTIO_F_ACCESS_PLATFORM));
	for (uint16_t i = 0; i < f->n_queues && r == 0; i++)
		queue_disable(&f->queues[i]);
	if (r == 0)
		f->features = features;
	control_refresh(f);
	return r;
}

int function_set_features(struct function *f, uint64_t features)
{
	int r;

	if (features & ~f->identity.features)
		return -EINVAL;
	nic_pause(f->nic);
	r = set_features(f, features);
	nic_resume(f->nic);
	return r;
}

int function_set_doorbell(struct function *f, bool on, int *ret_fd)
{
	if (on && f->doorbell_fd < 0)
		f->doorbell_fd = memfile_create("simnic-doorbell", SIM_DOORBELL_SIZE);
	if (on && f->doorbell_fd < 0) {
		int r = f->doorbell_fd;

		f->doorbell_fd = -1;
		return r;
	}
	if (on)
		*ret_fd = f->doorbell_fd;
	nic_pause(f->nic);
	f->doorbell = on;
	for (uint16_t i = 0; i < f->n_queues; i++)
		queue_update_poll(&f->queues[i]);
	nic_resume(f->nic);
	return 0;
}

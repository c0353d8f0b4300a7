/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of virtio 1.2, 3.1.1, one step a function. Each thing that a device may refuse is read
 * back, and each wait ends at a deadline.
 *
 * A function that fell off its bus answers all ones. No register that is looked at for this can have
 * that value by itself: two bits of the status are reserved, and counts and enables are small.
 */
#include "drivers/virtio/function.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <time.h>

#include "vdpa/base/clock.h"

#define GONE8	      UINT8_MAX
#define GONE16	      UINT16_MAX
#define POLL_PAUSE_NS (NS_PER_MS / 10)

/* The bits of the status that a driver sets; VIRTIO_CONFIG_S_NEEDS_RESET is the device's. */
#define STATUS_OURS                                                                                \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
		VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

/* Features that need a register at the end of the common configuration, which may be shorter. */
static const struct {
	uint8_t feature;
	uint8_t common_size; /* bytes */
} needs_register[] = {
	{ VIRTIO_BIT_NOTIF_CONFIG_DATA, VIRTIO_PCI_COMMON_Q_NDATA + 2 },
	{ VIRTIO_BIT_RING_RESET, VIRTIO_PCI_COMMON_Q_RESET + 2 },
};

static uint8_t read_status(struct virtio_function *f)
{
	return (uint8_t)virtio_common_read(f, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void add_status(struct virtio_function *f, uint8_t bits)
{
	f->status |= bits;
	virtio_common_write(f, VIRTIO_PCI_COMMON_STATUS, 1, f->status);
}

/* 64 bits through a window of 32: @select chooses the half that @data shows. */
static uint64_t read_features(struct virtio_function *f, uint32_t select, uint32_t data)
{
	uint64_t low, high;

	virtio_common_write(f, select, 4, 0);
	low = virtio_common_read(f, data, 4);
	virtio_common_write(f, select, 4, 1);
	high = virtio_common_read(f, data, 4);
	return high << 32 | low;
}

static void write_features(struct virtio_function *f, uint64_t features)
{
	for (uint32_t half = 0; half < 2; half++) {
		virtio_common_write(f, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		virtio_common_write(f, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * half));
	}
}

static uint64_t read_offered(struct virtio_function *f)
{
	uint64_t offered = read_features(f, VIRTIO_PCI_COMMON_DFSELECT, VIRTIO_PCI_COMMON_DF);

	for (size_t i = 0; i < ARRAY_SIZE(needs_register); i++) {
		if (f->layout.common.size < needs_register[i].common_size)
			offered &= ~BIT_ULL(needs_register[i].feature);
	}
	return offered;
}

int virtio_common_wait(struct virtio_function *f, uint32_t offset, unsigned int width,
	uint32_t value, unsigned int deadline_ms)
{
	const struct timespec pause = { .tv_nsec = (long)POLL_PAUSE_NS };
	uint64_t end = clock_now_ns() + deadline_ms * NS_PER_MS;

	for (;;) {
		/* The register is looked at once more after the last pause, however long that took. */
		bool over = clock_now_ns() >= end;
		uint32_t now = virtio_common_read(f, offset, width);

		if (now == value)
			return 0;
		if (now == UINT32_MAX >> (32 - 8 * width))
			return -ENODEV;
		if (over)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
}

static void map_windows(struct virtio_function *f)
{
	const struct pci_window *windows[] = { &f->layout.common, &f->layout.device,
		&f->layout.notify };

	for (size_t i = 0; i < ARRAY_SIZE(windows); i++) {
		if (windows[i]->size > 0)
			f->pci->ops->map(f->pci, *windows[i]);
	}
}

static int read_n_queues(struct virtio_function *f)
{
	uint32_t n_queues = virtio_common_read(f, VIRTIO_PCI_COMMON_NUMQ, 2);

	if (n_queues == GONE16)
		return -ENODEV;
	f->n_queues = (uint16_t)n_queues;
	return 0;
}

int virtio_function_open(struct pci_function *pci, struct virtio_function *ret)
{
	struct virtio_function f = { .pci = pci };
	int r;

	r = virtio_is_net(pci);
	if (r == 0)
		r = virtio_layout_read(pci, &f.layout);
	if (r == 0)
		r = pci_msix_read(pci, &f.msix);
	if (r < 0)
		return r;

	map_windows(&f);
	f.status = read_status(&f);
	r = read_n_queues(&f);
	if (r < 0 || f.status == GONE8)
		return -ENODEV;
	f.status &= STATUS_OURS;
	f.offered = read_offered(&f);
	if (!(f.offered & BIT_ULL(VIRTIO_F_VERSION_1)))
		return -EPROTO;
	if (f.status & VIRTIO_CONFIG_S_FEATURES_OK)
		f.features = f.offered & read_features(&f, VIRTIO_PCI_COMMON_GFSELECT,
						 VIRTIO_PCI_COMMON_GF);
	*ret = f;
	return 0;
}

int virtio_function_reset(struct virtio_function *f, unsigned int deadline_ms)
{
	int r;

	virtio_common_write(f, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	r = virtio_common_wait(f, VIRTIO_PCI_COMMON_STATUS, 1, 0, deadline_ms);
	if (r < 0)
		return r;
	f->status = 0;
	f->features = 0;
	return 0;
}

int virtio_function_negotiate(struct virtio_function *f, uint64_t features)
{
	uint8_t status = read_status(f);

	if (status == GONE8)
		return -ENODEV;
	if ((features & ~f->offered) || !(features & BIT_ULL(VIRTIO_F_VERSION_1)))
		return -EINVAL;
	if (status != 0 || f->status != 0)
		return -EBUSY;

	add_status(f, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(f, VIRTIO_CONFIG_S_DRIVER);
	write_features(f, features);
	add_status(f, VIRTIO_CONFIG_S_FEATURES_OK);

	status = read_status(f);
	if (status == GONE8)
		return -ENODEV;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		f->status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
		return -EINVAL;
	}
	f->features = features;
	return read_n_queues(f);
}

int virtio_function_run(struct virtio_function *f)
{
	int r = virtio_function_check(f);

	if (r < 0)
		return r;
	if (!(f->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return -EBUSY;
	if (f->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return 0;
	add_status(f, VIRTIO_CONFIG_S_DRIVER_OK);
	return virtio_function_check(f);
}

int virtio_function_check(struct virtio_function *f)
{
	uint8_t status = read_status(f);

	if (status == GONE8 || (status & f->status) != f->status)
		return -ENODEV;
	return status & VIRTIO_CONFIG_S_NEEDS_RESET ? -EIO : 0;
}

int virtio_vector_assign(struct virtio_function *f, uint32_t offset, uint16_t vector)
{
	uint16_t now;

	if (vector != VIRTIO_MSI_NO_VECTOR && vector >= f->msix.n_vectors)
		return -EINVAL;
	virtio_common_write(f, offset, 2, vector);
	now = (uint16_t)virtio_common_read(f, offset, 2);
	/* No vector and no device look alike. */
	if (now == VIRTIO_MSI_NO_VECTOR && read_status(f) == GONE8)
		return -ENODEV;
	if (now == vector)
		return 0;
	return now == VIRTIO_MSI_NO_VECTOR ? -ENOSPC : -EIO;
}

int virtio_function_set_config_vector(struct virtio_function *f, uint16_t vector)
{
	return virtio_vector_assign(f, VIRTIO_PCI_COMMON_MSIX, vector);
}

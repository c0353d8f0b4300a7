/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The conformance suite's stand for the drivers virtio and ifc: functions of the NIC of virtio_nic.h, in this
 * process. The driver under test is the real one but for the way to a function: its descriptor is a file
 * that only stands for it.
 *
 * Usage: driver_virtio [--driver virtio|ifc] [--without FEATURE]... [--vectors N]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "drivers/drivers.h"
#include "drivers/ifc/ifc.h"
#include "drivers/virtio/device.h"
#include "drivers/virtio/function.h"
#include "tests/conformance/driver_rig.h"
#include "tests/conformance/virtio_nic.h"
#include "vdpa/base/cleanup.h"

#define MAX_DEVICES 16
#define MAX_LOSSES  16

/* A function, and the descriptor that stands for it. */
struct place {
	int fd;
	struct nic_function *function;
};

/* @places: the last one is what the device is now; those before fell off the bus. */
struct virtio_rig_device {
	struct rig_device device; /* first */
	struct place places[MAX_LOSSES + 1];
	size_t n_places;
};

static struct {
	struct virtio_nic *nic;
	uint64_t features;
	uint16_t vectors;
	bool ifc;
	unsigned int n_made;
	struct virtio_rig_device *devices[MAX_DEVICES];
} stand;

/* ------------------------------------------------------------------------------ driver */

static struct driver_ops driver;

static struct nic_function *find_in(const struct virtio_rig_device *d, int fd)
{
	for (size_t i = 0; d && i < d->n_places; i++) {
		if (d->places[i].fd == fd)
			return d->places[i].function;
	}
	return NULL;
}

static struct nic_function *find_function(const int *fds, size_t n_fds)
{
	struct nic_function *found = NULL;

	for (size_t i = 0; n_fds == 1 && !found && i < MAX_DEVICES; i++)
		found = find_in(stand.devices[i], fds[0]);
	return found;
}

static int rig_open(const int *fds, size_t n_fds, struct driver_keeper *keeper,
	struct driver_device **ret)
{
	struct nic_function *f = find_function(fds, n_fds);

	if (n_fds == 0 && stand.ifc)
		return ifc_device_open_absent(&driver, keeper, ret);
	if (n_fds == 0)
		return virtio_device_open_absent(&driver, NULL, keeper, ret);
	if (!f)
		return -EINVAL;
	return stand.ifc ? ifc_device_open(&driver, nic_transport_new(f), keeper, ret) :
			   virtio_device_open(&driver, NULL, nic_transport_new(f), keeper, ret);
}

static int rig_reopen(struct driver_device *device, const int *fds, size_t n_fds)
{
	struct nic_function *f = find_function(fds, n_fds);

	return f ? virtio_device_reopen(device, nic_transport_new(f)) : -EINVAL;
}

/* ----------------------------------------------------------------------------- devices */

static void add_place(struct virtio_rig_device *d)
{
	struct nic_facts facts = {
		.pairs = d->device.pairs,
		.mtu = d->device.mtu,
		.vectors = stand.vectors,
		.ifc = stand.ifc,
		.features = stand.features,
	};
	struct place *place = &d->places[d->n_places];

	assert_true(d->n_places <= MAX_LOSSES);
	memcpy(facts.mac, d->device.mac, sizeof(facts.mac));
	place->function = nic_function_new(stand.nic, &facts);
	place->fd = memfd_create("function", MFD_CLOEXEC);
	assert_true(place->fd >= 0);
	d->n_places++;
	d->device.fds[0] = place->fd;
	d->device.n_fds = 1;
}

static struct nic_function *function_of(struct rig_device *device)
{
	struct virtio_rig_device *d = (struct virtio_rig_device *)device;

	return d->places[d->n_places - 1].function;
}

static struct rig_device *device_new(uint16_t pairs)
{
	struct virtio_rig_device *d = calloc(1, sizeof(*d));
	unsigned int number = ++stand.n_made;
	size_t at = 0;

	assert_non_null(d);
	while (at < MAX_DEVICES && stand.devices[at])
		at++;
	assert_true(at < MAX_DEVICES);
	d->device = rig_device(number, pairs);
	add_place(d);
	stand.devices[at] = d;
	return &d->device;
}

static void device_free(struct rig_device *device)
{
	struct virtio_rig_device *d = (struct virtio_rig_device *)device;

	if (!d)
		return;
	for (size_t i = 0; i < MAX_DEVICES; i++) {
		if (stand.devices[i] == d)
			stand.devices[i] = NULL;
	}
	while (d->n_places > 0) {
		const struct place *place = &d->places[--d->n_places];

		close_keep_errno(place->fd);
		nic_function_free(place->function);
	}
	free(d);
}

static void set_link(struct rig_device *device, bool up)
{
	nic_function_set_link(function_of(device), up);
}

static void lose(void)
{
	for (size_t i = 0; i < MAX_DEVICES; i++) {
		if (stand.devices[i]) {
			nic_function_lose(function_of(&stand.devices[i]->device));
			add_place(stand.devices[i]);
		}
	}
}

static void hang(struct rig_device *device)
{
	nic_function_delay(function_of(device), UINT_MAX);
}

static void delay(struct rig_device *device, unsigned int ms)
{
	nic_function_delay(function_of(device), ms);
}

/* Of a bus, registers answer at once: only a reset is waited for. */
static const struct driver_rig rig = {
	.driver = &driver,
	.lacks = RIG_OWN_KICKS | RIG_QUEUE_ERRORS | RIG_FIGURES | RIG_IDLE_EVENTS |
		 RIG_EXACT_CONFIG | RIG_OWN_POSITIONS | RIG_FILES | RIG_LOG_FRAMES,
	.waits = BIT(RIG_CALL_RESET) | BIT(RIG_CALL_SET_FEATURES),
	.device_new = device_new,
	.device_free = device_free,
	.set_link = set_link,
	.lose = lose,
	.hang = hang,
	.delay = delay,
};

/* ------------------------------------------------------------------------------- main */

static int without(const char *word)
{
	static const struct {
		const char *word;
		unsigned int feature;
	} features[] = {
		{ "ring-reset", VIRTIO_BIT_RING_RESET },
		{ "packed", VIRTIO_F_RING_PACKED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (strcmp(word, features[i].word) == 0) {
			stand.features &= ~BIT_ULL(features[i].feature);
			return 0;
		}
	}
	return -EINVAL;
}

static int with_vectors(const char *word)
{
	stand.vectors = (uint16_t)strtoul(word, NULL, 10);
	return stand.vectors > 0 ? 0 : -EINVAL;
}

static int with_driver(const char *word)
{
	stand.ifc = strcmp(word, "ifc") == 0;
	return stand.ifc || strcmp(word, "virtio") == 0 ? 0 : -EINVAL;
}

static int parse(int argc, char **argv)
{
	static const struct {
		const char *word;
		int (*take)(const char *word);
	} options[] = {
		{ "--driver", with_driver },
		{ "--without", without },
		{ "--vectors", with_vectors },
	};

	for (int i = 1; i < argc; i += 2) {
		int r = -EINVAL;

		for (size_t o = 0; i + 1 < argc && o < ARRAY_SIZE(options); o++) {
			if (strcmp(argv[i], options[o].word) == 0)
				r = options[o].take(argv[i + 1]);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int failed;

	stand.features = NIC_FEATURES;
	if (parse(argc, argv) < 0) {
		fprintf(stderr, "usage: driver_virtio [--driver virtio|ifc] [--without ring-reset|packed]... "
				"[--vectors N]\n");
		return 2;
	}
	driver = stand.ifc ? ifc_driver : virtio_driver;
	driver.open = rig_open;
	driver.reopen = rig_reopen;
	stand.nic = virtio_nic_new();
	failed = driver_suite_run(&rig);
	virtio_nic_free(stand.nic);
	return failed == 0 ? 0 : 1;
}

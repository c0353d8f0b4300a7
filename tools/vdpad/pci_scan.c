/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What sysfs says of PCI functions. It is read anew each time: functions are plugged, VFs are made and
 * drivers change behind our back. What is read is checked: on a test's host it is anybody's.
 *
 * Which function is whose is a table of numbers. Source: virtio 1.2, 4.1.2, for virtio-net, modern and
 * transitional; Intel's vDPA functions have virtio's numbers and Intel's subsystem.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/vdpad/pci.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

#define CLASS_ETHERNET 0x0200U
#define ANY	       UINT32_MAX

#define VENDOR_VIRTIO	    0x1af4
#define VENDOR_INTEL	    0x8086
#define VIRTIO_NET	    0x1041
#define VIRTIO_TRANSITIONAL 0x1000
#define VIRTIO_TYPE_NET	    1

struct numbers {
	uint32_t vendor, device, subsystem_vendor, subsystem_device;
};

/* The first row that fits is meant. */
static const struct {
	struct numbers numbers;
	const char *kind;
	const char *worker_driver;
} known[] = {
	{ { VENDOR_VIRTIO, VIRTIO_NET, VENDOR_INTEL, 0x0001 }, "Intel IFC", "ifc" },
	{ { VENDOR_VIRTIO, VIRTIO_NET, VENDOR_INTEL, 0x001a }, "Intel IFC", "ifc" },
	{ { VENDOR_VIRTIO, VIRTIO_TRANSITIONAL, VENDOR_INTEL, VIRTIO_TYPE_NET }, "Intel IFC", "ifc" },
	{ { VENDOR_VIRTIO, VIRTIO_NET, ANY, ANY }, "virtio-net", "virtio" },
	{ { VENDOR_VIRTIO, VIRTIO_TRANSITIONAL, ANY, VIRTIO_TYPE_NET }, "virtio-net", "virtio" },
};

bool pci_name_ok(const char *text)
{
	size_t domain = strspn(text, "0123456789abcdef");
	const char *rest = text + domain;

	return domain >= 4 && domain <= 8 && strlen(rest) == 8 && rest[0] == ':' &&
	       strspn(rest + 1, "0123456789abcdef") == 2 && rest[3] == ':' &&
	       strspn(rest + 4, "0123456789abcdef") == 2 && rest[6] == '.' && rest[7] >= '0' &&
	       rest[7] <= '7';
}

static void path_of(const struct pci_host *host, const char *name, const char *rest,
	char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s/bus/pci/devices/%s%s", host->sysfs, name, rest);
}

/* The last part of what a link leads to; "" without one, or when it does not fit. */
static void read_link(const char *path, char *ret, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *last;

	ret[0] = '\0';
	if (n <= 0)
		return;
	target[n] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) < size)
		strcpy(ret, last);
}

static void read_name(const struct pci_host *host, const char *name, const char *rest, char *ret,
	size_t size)
{
	char path[PATH_MAX];

	path_of(host, name, rest, path);
	read_link(path, ret, size);
}

/* Return: bytes, with a zero behind them; a negative errno. */
static ssize_t read_text(const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	return n;
}

static int read_number(const struct pci_host *host, const char *name, const char *rest,
	uint32_t *ret)
{
	char path[PATH_MAX], text[32], *end;
	unsigned long value;

	path_of(host, name, rest, path);
	if (read_text(path, text, sizeof(text)) < 0)
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 16);
	if (errno || end == text || (*end && *end != '\n') || value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int read_numbers(const struct pci_host *host, const char *name, uint32_t *ret_class,
	struct numbers *ret)
{
	int r = read_number(host, name, "/class", ret_class);

	if (r == 0)
		r = read_number(host, name, "/vendor", &ret->vendor);
	if (r == 0)
		r = read_number(host, name, "/device", &ret->device);
	if (r == 0)
		r = read_number(host, name, "/subsystem_vendor", &ret->subsystem_vendor);
	if (r == 0)
		r = read_number(host, name, "/subsystem_device", &ret->subsystem_device);
	return r;
}

static bool fits(uint32_t number, uint32_t row)
{
	return row == ANY || number == row;
}

static bool numbers_fit(const struct numbers *n, const struct numbers *row)
{
	return fits(n->vendor, row->vendor) && fits(n->device, row->device) &&
	       fits(n->subsystem_vendor, row->subsystem_vendor) &&
	       fits(n->subsystem_device, row->subsystem_device);
}

/* "0110..." of 64 digits, bit 0 first. */
static bool read_bits(const char *path, uint64_t *ret)
{
	char text[80];
	uint64_t bits = 0;

	if (read_text(path, text, sizeof(text)) < 64 || strspn(text, "01") != 64)
		return false;
	for (unsigned int i = 0; i < 64; i++)
		bits |= text[i] == '1' ? BIT_ULL(i) : 0;
	*ret = bits;
	return true;
}

/* A function that virtio-pci drives has a virtioN, which knows what the device offers. */
static void read_features(const struct pci_host *host, struct pci_nic *nic)
{
	char path[PATH_MAX], file[PATH_MAX + NAME_MAX + sizeof("/features")];
	struct dirent *entry;
	DIR *dir;

	path_of(host, nic->name, "", path);
	dir = opendir(path);
	while (dir && !nic->has_features && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "virtio", 6) != 0)
			continue;
		snprintf(file, sizeof(file), "%s/%s/features", path, entry->d_name);
		nic->has_features = read_bits(file, &nic->features);
	}
	if (dir)
		closedir(dir);
}

void pci_driver(const struct pci_host *host, const char *name, char ret[PCI_DRIVER_SIZE])
{
	read_name(host, name, "/driver", ret, PCI_DRIVER_SIZE);
}

bool pci_exists(const struct pci_host *host, const char *name)
{
	char path[PATH_MAX];

	path_of(host, name, "", path);
	return pci_name_ok(name) && access(path, F_OK) == 0;
}

/* Return: 0; -EINVAL: no driver of ours knows it. */
static int look(const struct pci_host *host, const char *name, struct pci_nic *ret)
{
	struct numbers numbers = { 0 };
	struct pci_nic nic = { .kind = NULL };
	uint32_t class;

	if (read_numbers(host, name, &class, &numbers) < 0 || class >> 8 != CLASS_ETHERNET)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(known) && !nic.kind; i++) {
		if (!numbers_fit(&numbers, &known[i].numbers))
			continue;
		nic.kind = known[i].kind;
		nic.worker_driver = known[i].worker_driver;
	}
	if (!nic.kind)
		return -EINVAL;
	snprintf(nic.name, sizeof(nic.name), "%s", name);
	pci_driver(host, name, nic.driver);
	read_name(host, name, "/iommu_group", nic.group, sizeof(nic.group));
	read_name(host, name, "/physfn", nic.pf, sizeof(nic.pf));
	if (!pci_name_ok(nic.pf))
		nic.pf[0] = '\0';
	if (strspn(nic.group, "0123456789") != strlen(nic.group))
		nic.group[0] = '\0';
	read_features(host, &nic);
	*ret = nic;
	return 0;
}

int pci_find(const struct pci_host *host, const char *name, struct pci_nic *ret, struct failure *why)
{
	if (!pci_exists(host, name))
		return failure_set(why, FAILURE_NOT_FOUND,
			"there is no PCI function %.40s; vdpa mgmtdev show lists those that a device "
			"can be made of", name);
	if (look(host, name, ret) < 0)
		return failure_set(why, FAILURE_INVALID,
			PCI_BUS "/%s is no virtio-net function, and no other that vdpad knows; vdpa "
			"mgmtdev show lists those that it knows", name);
	return 0;
}

static int is_name(const struct dirent *entry)
{
	return pci_name_ok(entry->d_name);
}

int pci_scan(const struct pci_host *host, void (*found)(void *arg, const struct pci_nic *nic),
	void *arg)
{
	struct dirent **entries;
	char path[PATH_MAX];
	struct pci_nic nic;
	int n;

	snprintf(path, sizeof(path), "%s/bus/pci/devices", host->sysfs);
	n = scandir(path, &entries, is_name, alphasort);
	if (n < 0)
		return errno == ENOMEM ? -ENOMEM : 0;
	for (int i = 0; i < n; i++) {
		if (look(host, entries[i]->d_name, &nic) == 0)
			found(arg, &nic);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

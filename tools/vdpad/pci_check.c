/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why a function can't be taken, with the remedy. The order is that in which an operator mends it: the
 * host first, then who has the function.
 *
 * A group of the IOMMU is what can be kept apart. Whoever has one function of it may reach what the
 * others reach; so all of a group's functions have to be away from the host's drivers. Bridges pass on,
 * and do nothing by themselves; VFIO takes them so, too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpad/pci.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

static bool is_harmless(const char *driver)
{
	static const char *const harmless[] = { "", PCI_VFIO_DRIVER, "pci-stub" };

	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++) {
		if (strcmp(driver, harmless[i]) == 0)
			return true;
	}
	return false;
}

/* Base class 06 of PCI: its file says 0x06.... */
static bool is_bridge(const struct pci_host *host, const char *name)
{
	char path[PATH_MAX], text[8] = "";

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/class", host->sysfs, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 4 && strncmp(text, "0x06", 4) == 0;
}

static int check_neighbour(const struct pci_host *host, const struct pci_nic *nic, const char *name,
	struct failure *why)
{
	char driver[PCI_DRIVER_SIZE];

	pci_driver(host, name, driver);
	if (strcmp(name, nic->name) == 0 || is_harmless(driver) || is_bridge(host, name))
		return 0;
	return failure_set(why, FAILURE_UNAVAILABLE,
		PCI_BUS "/%s: the IOMMU can't keep it apart from %.40s, which %s has (both are in group "
		"%s); bind that to vfio-pci or pci-stub, too, or put one of them into another slot",
		nic->name, name, driver, nic->group);
}

static int check_group(const struct pci_host *host, const struct pci_nic *nic, struct failure *why)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	if (!nic->group[0])
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s has no IOMMU, which would keep it to the guest's memory; switch it on "
			"in the firmware, and with intel_iommu=on or amd_iommu=on for the kernel",
			nic->name);
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/iommu_group/devices", host->sysfs,
		nic->name);
	dir = opendir(path);
	if (!dir)
		return failure_set(why, FAILURE_UNAVAILABLE, "%s: %s", path, strerror(errno));
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			r = check_neighbour(host, nic, entry->d_name, why);
	}
	closedir(dir);
	return r;
}

static int check_binding(const struct pci_nic *nic, bool bind, struct failure *why)
{
	if (bind || strcmp(nic->driver, PCI_VFIO_DRIVER) == 0)
		return 0;
	if (!nic->driver[0])
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s has no driver; bind it to vfio-pci, or say bind on", nic->name);
	return failure_set(why, FAILURE_UNAVAILABLE,
		PCI_BUS "/%s is bound to %s; bind it to vfio-pci, or say bind on: then it is taken from "
		"that driver, and given back when the device is deleted", nic->name, nic->driver);
}

static int check_module(const struct pci_host *host, const struct pci_nic *nic, struct failure *why)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/bus/pci/drivers/" PCI_VFIO_DRIVER, host->sysfs);
	if (access(path, F_OK) == 0)
		return 0;
	return failure_set(why, FAILURE_UNAVAILABLE,
		PCI_BUS "/%s: the kernel has no driver vfio-pci; load it with modprobe vfio-pci",
		nic->name);
}

int pci_check(const struct pci_host *host, const struct pci_nic *nic, bool bind, struct failure *why)
{
	int r = check_module(host, nic, why);

	if (r == 0)
		r = check_binding(nic, bind, why);
	if (r == 0)
		r = check_group(host, nic, why);
	return r;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VFIO's descriptors of a function: by iommufd where the host has it (pci_iommufd.c), else by its group. The
 * group's own descriptor is not kept: the device's keeps it open. A group is open once at a time, so that of a
 * worker that just ended is waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drivers/virtio/vfio.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/pci_internal.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

int pci_open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void pci_look_later(void)
{
	const struct timespec look = { .tv_nsec = PCI_LOOK_MS * (long)NS_PER_MS };

	nanosleep(&look, NULL);
}

static int open_container(const struct pci_host *host, const char *name, int *ret, struct failure *why)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	int r;

	snprintf(path, sizeof(path), "%s/vfio", host->vfio);
	fd = pci_open_file(path);
	if (fd == -ENOENT)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: there is no %s; load VFIO with modprobe vfio-pci", name, path);
	if (fd < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s can't be opened: %s; vdpad has to run as root", name, path,
			strerror(-fd));
	r = vfio_container_check(fd);
	if (r == -EOPNOTSUPP)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s has no IOMMU of type 1; load it with modprobe vfio_iommu_type1",
			name, path);
	if (r < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s does not answer as VFIO does: %s", name, path, strerror(-r));
	*ret = TAKE_FD(fd);
	return 0;
}

static int open_when_free(const char *path)
{
	int fd = pci_open_file(path);

	for (int ms = 0; fd == -EBUSY && ms < PCI_PATIENCE_MS; ms += PCI_LOOK_MS) {
		pci_look_later();
		fd = pci_open_file(path);
	}
	return fd;
}

static int open_group(const struct pci_host *host, const struct pci_nic *nic, int *ret,
	struct failure *why)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", host->vfio, nic->group);
	fd = open_when_free(path);
	if (fd == -ENOENT)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: there is no %s, though vfio-pci has it; is %s that of this host?",
			nic->name, path, host->vfio);
	if (fd == -EBUSY)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: another process has %s open; end it, and try again", nic->name,
			path);
	if (fd < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s can't be opened: %s; vdpad has to run as root", nic->name, path,
			strerror(-fd));
	*ret = fd;
	return 0;
}

static int attach(const struct pci_nic *nic, int group, int container, struct failure *why)
{
	int r = vfio_group_attach(group, container);

	if (r == -EBUSY)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: a function of its IOMMU group %s belongs to another driver, or is "
			"used by another process", nic->name, nic->group);
	if (r == -EPERM)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: the IOMMU can't keep its interrupts apart; the kernel's log has "
			"more, and vfio_iommu_type1.allow_unsafe_interrupts=1 takes that risk",
			nic->name);
	return r < 0 ? failure_set(why, FAILURE_UNAVAILABLE,
			       PCI_BUS "/%s: its IOMMU group %s can't be used: %s", nic->name,
			       nic->group, strerror(-r))
		     : 0;
}

static int open_by_group(const struct pci_host *host, const struct pci_nic *nic, int *ret_fds,
	struct failure *why)
{
	_cleanup_close_ int container = -1, group = -1;
	int device, r;

	r = open_container(host, nic->name, &container, why);
	if (r == 0)
		r = open_group(host, nic, &group, why);
	if (r == 0)
		r = attach(nic, group, container, why);
	if (r < 0)
		return r;
	r = vfio_group_device(group, nic->name, &device);
	if (r < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: VFIO does not open it: %s; the kernel's log says why", nic->name,
			strerror(-r));
	ret_fds[0] = TAKE_FD(container);
	ret_fds[1] = device;
	return 0;
}

int pci_open(const struct pci_host *host, const struct pci_nic *nic, int *ret_fds, struct failure *why)
{
	int r = pci_open_by_iommufd(host, nic, ret_fds, why);

	return r == -EOPNOTSUPP ? open_by_group(host, nic, ret_fds, why) : r;
}

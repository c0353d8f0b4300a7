/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function's descriptors by the kernel's newer way: a device file of the function's own, and an iommufd.
 * Where there is no such file, or no iommufd, groups are the way (pci_open.c).
 *
 * The file lets in anybody, and belongs to the first who binds it; that of a worker that just ended is waited
 * for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "drivers/virtio/iommufd.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/pci_internal.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define CDEV_SIZE 32

/* What VFIO calls a function that it has: "vfio0". Return: 0; -ENOENT it has no file of its own. */
static int find_cdev(const struct pci_host *host, const char *name, char ret[CDEV_SIZE])
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/vfio-dev", host->sysfs, name);
	ret[0] = '\0';
	dir = opendir(path);
	if (!dir)
		return -ENOENT;
	while (!ret[0] && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4) == 0 && strlen(entry->d_name) < CDEV_SIZE)
			strcpy(ret, entry->d_name);
	}
	closedir(dir);
	return ret[0] ? 0 : -ENOENT;
}

static int begin(const char *name, const char *path, int iommufd, uint32_t *ret, struct failure *why)
{
	int r = iommufd_begin(iommufd, ret);

	return r < 0 ? failure_set(why, FAILURE_UNAVAILABLE,
			       PCI_BUS "/%s: %s does not answer as an iommufd does: %s", name, path,
			       strerror(-r))
		     : 0;
}

static int open_cdev(const struct pci_host *host, const char *name, const char *cdev, int *ret,
	struct failure *why)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/devices/%s", host->vfio, cdev);
	fd = pci_open_file(path);
	if (fd == -ENOENT)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: there is no %s, though vfio-pci has it; is %s that of this host?", name,
			path, host->vfio);
	if (fd < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s can't be opened: %s; vdpad has to run as root", name, path,
			strerror(-fd));
	*ret = fd;
	return 0;
}

static int bind_when_free(int device, int iommufd)
{
	int r = iommufd_bind(device, iommufd);

	for (int ms = 0; (r == -EINVAL || r == -EBUSY) && ms < PCI_PATIENCE_MS; ms += PCI_LOOK_MS) {
		pci_look_later();
		r = iommufd_bind(device, iommufd);
	}
	return r;
}

static int attach(const struct pci_nic *nic, const char *cdev, int device, int iommufd, uint32_t space,
	struct failure *why)
{
	int r = bind_when_free(device, iommufd);

	if (r == -EINVAL)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: another process has %s open; end it, and try again", nic->name, cdev);
	if (r == -EBUSY)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: a function of its IOMMU group %s belongs to another driver, or is used by "
			"another process", nic->name, nic->group);
	if (r == 0)
		r = iommufd_attach(device, space);
	if (r == -EPERM)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: the IOMMU can't keep its interrupts apart; the kernel's log has more, and "
			"iommufd.allow_unsafe_interrupts=1 takes that risk", nic->name);
	return r < 0 ? failure_set(why, FAILURE_UNAVAILABLE,
			       PCI_BUS "/%s: VFIO's %s can't be used: %s; the kernel's log says why", nic->name,
			       cdev, strerror(-r))
		     : 0;
}

int pci_open_by_iommufd(const struct pci_host *host, const struct pci_nic *nic, int *ret_fds,
	struct failure *why)
{
	_cleanup_close_ int iommufd = -1, device = -1;
	char cdev[CDEV_SIZE];
	uint32_t space;
	int r;

	if (find_cdev(host, nic->name, cdev) < 0)
		return -EOPNOTSUPP;
	iommufd = pci_open_file(host->iommu);
	if (iommufd == -ENOENT || iommufd == -ENODEV || iommufd == -ENXIO)
		return -EOPNOTSUPP;
	if (iommufd < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s can't be opened: %s; vdpad has to run as root", nic->name, host->iommu,
			strerror(-iommufd));
	r = begin(nic->name, host->iommu, iommufd, &space, why);
	if (r == 0)
		r = open_cdev(host, nic->name, cdev, &device, why);
	if (r == 0)
		r = attach(nic, cdev, device, iommufd, space, why);
	if (r < 0)
		return r;
	log_info(PCI_BUS "/%s: opened by iommufd, as %s", nic->name, cdev);
	ret_fds[0] = TAKE_FD(iommufd);
	ret_fds[1] = TAKE_FD(device);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who drives a function. driver_override names the one driver that may have it, so that no other takes
 * it between two steps; without one the kernel's own rules hold again. What each step was for is looked
 * at afterwards: a write to sysfs that succeeds says little.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/vdpad/pci.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define PATIENCE_MS 3000
#define LOOK_MS	    10

/* @text goes into @path below bus/pci. */
static int put(const struct pci_host *host, const char *path, const char *text, struct failure *why)
{
	char file[PATH_MAX];

	snprintf(file, sizeof(file), "%s/bus/pci/%s", host->sysfs, path);
	_cleanup_close_ int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return failure_set(why, FAILURE_UNAVAILABLE, "%s: \"%.*s\" can't be written: %s", file,
			(int)strcspn(text, "\n"), text, strerror(errno));
	return 0;
}

static int put_override(const struct pci_host *host, const char *name, const char *driver,
	struct failure *why)
{
	char path[64 + PCI_NAME_SIZE], text[PCI_DRIVER_SIZE + 2];

	snprintf(path, sizeof(path), "devices/%s/driver_override", name);
	snprintf(text, sizeof(text), "%s\n", driver);
	return put(host, path, text, why);
}

/* The kernel may probe later than it says. */
static bool comes_to(const struct pci_host *host, const char *name, const char *driver)
{
	const struct timespec look = { .tv_nsec = LOOK_MS * 1000000L };
	char now[PCI_DRIVER_SIZE];

	for (int ms = 0; ms < PATIENCE_MS; ms += LOOK_MS) {
		pci_driver(host, name, now);
		if (strcmp(now, driver) == 0)
			return true;
		nanosleep(&look, NULL);
	}
	return false;
}

static int unbind(const struct pci_host *host, const char *name, const char *driver,
	struct failure *why)
{
	char path[64 + PCI_DRIVER_SIZE];
	int r;

	if (!driver[0])
		return 0;
	snprintf(path, sizeof(path), "drivers/%s/unbind", driver);
	r = put(host, path, name, why);
	if (r == 0 && !comes_to(host, name, ""))
		r = failure_set(why, FAILURE_UNAVAILABLE, PCI_BUS "/%s: %s does not let it go", name,
			driver);
	return r;
}

int pci_bind(const struct pci_host *host, const char *name, struct failure *why)
{
	char driver[PCI_DRIVER_SIZE];
	int r;

	pci_driver(host, name, driver);
	if (strcmp(driver, PCI_VFIO_DRIVER) == 0)
		return 0;
	r = put_override(host, name, PCI_VFIO_DRIVER, why);
	if (r == 0)
		r = unbind(host, name, driver, why);
	if (r == 0)
		r = put(host, "drivers_probe", name, why);
	if (r < 0)
		return r;
	if (!comes_to(host, name, PCI_VFIO_DRIVER))
		return failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: vfio-pci does not take it; the kernel's log says why", name);
	log_info(PCI_BUS "/%s: taken from %s for vfio-pci", name, driver[0] ? driver : "no driver");
	return 0;
}

/* Some driver may have it by the kernel's rules before it is asked for. */
static int bind_to(const struct pci_host *host, const char *name, const char *driver,
	struct failure *why)
{
	char path[64 + PCI_DRIVER_SIZE], now[PCI_DRIVER_SIZE];
	int r;

	snprintf(path, sizeof(path), "drivers/%s/bind", driver);
	r = put(host, path, name, why);
	pci_driver(host, name, now);
	if (strcmp(now, driver) == 0)
		return 0;
	if (r == 0 && !comes_to(host, name, driver))
		r = failure_set(why, FAILURE_UNAVAILABLE,
			PCI_BUS "/%s: %s does not take it back; the kernel's log says why", name,
			driver);
	return r;
}

int pci_give_back(const struct pci_host *host, const char *name, const char *driver,
	struct failure *why)
{
	char now[PCI_DRIVER_SIZE];
	int r;

	if (!pci_exists(host, name))
		return 0;
	r = put_override(host, name, "", why);
	pci_driver(host, name, now);
	if (r == 0 && strcmp(now, PCI_VFIO_DRIVER) == 0) {
		r = unbind(host, name, now, why);
		now[0] = '\0';
	}
	if (r == 0 && driver[0] && !now[0])
		r = bind_to(host, name, driver, why);
	if (r == 0)
		log_info(PCI_BUS "/%s: given back to %s", name, driver[0] ? driver : "no driver");
	return r;
}

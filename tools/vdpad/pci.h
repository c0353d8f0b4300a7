/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI functions that devices can be made of: found in sysfs, bound to VFIO on request and given back,
 * opened. Nothing is kept between two looks, so nothing here goes stale.
 */
#ifndef VDPAD_PCI_H
#define VDPAD_PCI_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "tools/vdpad/failure.h"

#define PCI_BUS		"pci"
#define PCI_NAME_SIZE	16 /* "0000:00:05.0"; domains may have eight digits */
#define PCI_HANDLE_SIZE (PCI_NAME_SIZE + sizeof(PCI_BUS "/"))
#define PCI_DRIVER_SIZE 32
#define PCI_VFIO_DRIVER "vfio-pci"
#define PCI_N_FDS	2 /* of an open function: the container, or an iommufd; the device */

struct vdpad;

/* Where sysfs and the device nodes are. */
struct pci_host {
	const char *sysfs; /* "/sys" */
	const char *vfio;  /* "/dev/vfio" */
	const char *iommu; /* "/dev/iommu" */
};

/**
 * struct pci_nic - a function that some driver of ours may know, as it is now.
 * @name:     "0000:00:05.0"
 * @driver:   of the kernel; "": none
 * @pf:       the function that this one is a VF of; "": it is none
 * @group:    of the IOMMU; "": none
 * @worker_driver: ours, in the worker's words
 * @has_features, @features: as the kernel's driver found them; else not known
 */
struct pci_nic {
	char name[PCI_NAME_SIZE];
	char driver[PCI_DRIVER_SIZE];
	char pf[PCI_NAME_SIZE];
	char group[16];
	const char *kind;
	const char *worker_driver;
	bool has_features;
	uint64_t features;
};

/** pci_host() - as the configuration says. */
struct pci_host pci_host(const struct vdpad *v);

/* pci_scan.c */

/** pci_name_ok() - is this the name of a PCI function, as sysfs writes it? */
bool pci_name_ok(const char *text);

/**
 * pci_find() - look at one function.
 * @ret: written on success only
 * Return: 0; -ENOENT, -EINVAL with @why: it is not there, or is no NIC that any driver of ours knows.
 */
int pci_find(const struct pci_host *host, const char *name, struct pci_nic *ret, struct failure *why);

/** pci_exists() - is there any function of that name? */
bool pci_exists(const struct pci_host *host, const char *name);

/**
 * pci_scan() - call @found for each function that a driver of ours knows, sorted by name.
 * Return: 0; -ENOMEM. No sysfs, no functions.
 */
int pci_scan(const struct pci_host *host, void (*found)(void *arg, const struct pci_nic *nic),
	void *arg);

/** pci_driver() - the kernel's driver of a function as it is now, "" for none. */
void pci_driver(const struct pci_host *host, const char *name, char ret[PCI_DRIVER_SIZE]);

/* pci_check.c */

/**
 * pci_check() - can a device be made of it?
 * @bind: it may be taken from another driver
 * Return: 0, or negative with @why: reason and remedy.
 */
int pci_check(const struct pci_host *host, const struct pci_nic *nic, bool bind,
	struct failure *why);

/* pci_bind.c: these wait */

/** pci_bind() - take a function from its driver and give it to vfio-pci. Again: no effect. */
int pci_bind(const struct pci_host *host, const char *name, struct failure *why);

/**
 * pci_give_back() - take it from vfio-pci, and give it to @driver; "" for none.
 *
 * As long as somebody has it open the kernel makes us wait. A function that is gone needs nothing.
 */
int pci_give_back(const struct pci_host *host, const char *name, const char *driver,
	struct failure *why);

/* pci_open.c, pci_iommufd.c */

/**
 * pci_open() - open a function that vfio-pci has. Waits for its reset, and a while for others to let go.
 * @ret_fds: PCI_N_FDS, the caller's; the container, with the group and a type 1 IOMMU, or an iommufd that
 *	     takes the same requests; the device
 */
int pci_open(const struct pci_host *host, const struct pci_nic *nic, int *ret_fds,
	struct failure *why);

/* pci_record.c: what was bound on request, in STATE/pci */

struct pci_record {
	char name[PCI_NAME_SIZE];
	char device[NAME_MAX + 1];	/* of ours, for which it was bound */
	char driver[PCI_DRIVER_SIZE];	/* that it had; "": none */
};

/** pci_record_write() - before anything is changed. 0, or negative with @why. */
int pci_record_write(const struct vdpad *v, const struct pci_record *record, struct failure *why);

/**
 * pci_record_read() - of a function.
 * Return: 0; -ENOENT there is none, or it is of an earlier start of the host; -EINVAL nonsense, logged.
 */
int pci_record_read(const struct vdpad *v, const char *name, struct pci_record *ret);

/** pci_record_remove() - it was given back. */
void pci_record_remove(const struct vdpad *v, const char *name);

/** pci_records_each() - call @found with each; those of an earlier start of the host are removed. */
void pci_records_each(struct vdpad *v, void (*found)(struct vdpad *v, const struct pci_record *record));

/* pci_return.c */

typedef void (*pci_returned)(void *arg);

/**
 * pci_return() - give a function back, if it was bound on request, without waiting.
 * @done: called once, later or at once, also when it failed: that is logged, the record stays, and the
 *	  next vdpad tries again; NULL: nobody waits
 */
void pci_return(struct vdpad *v, const char *name, pci_returned done, void *arg);

/** pci_return_forget() - @arg will not be there any more. */
void pci_return_forget(struct vdpad *v, const void *arg);

/** pci_is_returning() - is it just being given back? */
bool pci_is_returning(const struct vdpad *v, const char *name);

/** pci_return_strangers() - give back what was bound for devices that are none any more. */
void pci_return_strangers(struct vdpad *v);

#endif

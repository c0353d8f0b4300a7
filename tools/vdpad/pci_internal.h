/* SPDX-License-Identifier: BSD-2-Clause */
/* What both ways to open a function share; both wait, in a child of vdpad. */
#ifndef VDPAD_PCI_INTERNAL_H
#define VDPAD_PCI_INTERNAL_H

#include "tools/vdpad/pci.h"

#define PCI_PATIENCE_MS 3000 /* for others to let go of a function */
#define PCI_LOOK_MS	20   /* between two looks whether they have */

/** pci_open_file() - to read and write. Return: a descriptor, the caller's; a negative errno. */
int pci_open_file(const char *path);

/** pci_look_later() - wait PCI_LOOK_MS. */
void pci_look_later(void);

/**
 * pci_open_by_iommufd() - as pci_open(), in pci_iommufd.c.
 * Return: also -EOPNOTSUPP, without @why, this host has no such way to the function.
 */
int pci_open_by_iommufd(const struct pci_host *host, const struct pci_nic *nic, int *ret_fds,
	struct failure *why);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The command register: the only one of configuration space that is written. */
#include "drivers/virtio/pci.h"

#include <errno.h>
#include <linux/pci_regs.h>

static int change_command(struct pci_function *pci, uint32_t clear, uint32_t set)
{
	uint32_t now = pci_config_read(pci, PCI_COMMAND, 2);
	uint32_t wanted = (now & ~clear) | set;

	if (now == UINT16_MAX)
		return -ENODEV;
	if (now == wanted)
		return 0;
	pci->ops->config_write(pci, PCI_COMMAND, 2, wanted);
	now = pci_config_read(pci, PCI_COMMAND, 2);
	if (now == UINT16_MAX)
		return -ENODEV;
	return (now & PCI_COMMAND_MASTER) == (wanted & PCI_COMMAND_MASTER) ? 0 : -EIO;
}

int pci_dma_allow(struct pci_function *pci)
{
	return change_command(pci, 0, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

int pci_dma_forbid(struct pci_function *pci)
{
	return change_command(pci, PCI_COMMAND_MASTER, 0);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices and NICs as JSON objects; their keys are in docs/control-socket.md. */
#ifndef VDPAD_VIEWS_H
#define VDPAD_VIEWS_H

#include <jansson.h>

struct device;
struct nic;
struct pci_nic;
struct vdpad;

json_t *view_nic(struct nic *nic);
json_t *view_pci(struct vdpad *v, const struct pci_nic *nic);
json_t *view_device(const struct device *dev);

/* From the health block as it is; @params are the request's. NULL: nothing to show. */
json_t *view_config(struct device *dev, json_t *params);
json_t *view_vstats(struct device *dev, json_t *params);
json_t *view_migration(struct device *dev, json_t *params);
json_t *view_status(struct device *dev, json_t *params);

#endif

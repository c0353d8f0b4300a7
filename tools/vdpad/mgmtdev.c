/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management devices: simnics, which the configuration names, and PCI functions, which are looked for
 * each time somebody asks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/vdpad/backing.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/nic.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/views.h"
#include "vdpa/base/bits.h"

static const struct backing *const backings[] = { &backing_sim, &backing_pci };

const struct backing *backing_of(const char *handle)
{
	for (size_t i = 0; i < ARRAY_SIZE(backings); i++) {
		size_t n = strlen(backings[i]->bus);

		if (strncmp(handle, backings[i]->bus, n) == 0 && handle[n] == '/')
			return backings[i];
	}
	return &backing_sim;
}

const char *backing_function(const char *handle)
{
	const char *slash = strchr(handle, '/');

	return slash ? slash + 1 : handle;
}

static bool is_pci(const char *handle)
{
	return backing_of(handle) == &backing_pci ||
	       (!strchr(handle, '/') && pci_name_ok(handle));
}

static int get_sim(struct vdpad *v, const char *handle, bool bind, struct mgmtdev *ret,
	struct failure *why)
{
	struct nic *nic;
	int r = nic_get(v, handle, &nic, why);

	if (r == 0)
		r = nic_require(nic, why);
	if (r < 0)
		return r;
	if (bind)
		return failure_set(why, FAILURE_INVALID,
			"bind on: %s is no PCI function; leave it away", nic->handle);
	*ret = (struct mgmtdev){
		.backing = &backing_sim,
		.worker_driver = "sim",
		.features = nic->info.features,
		.max_pairs = (uint16_t)nic->info.max_pairs,
		.max_control_pairs = SIM_MAX_CONTROL_PAIRS,
		.default_mtu = 1500,
		.default_pairs = 1,
	};
	snprintf(ret->handle, sizeof(ret->handle), "%s", nic->handle);
	return 0;
}

/* A function serves one device, and a group of the IOMMU is one process's. */
static int check_unused(struct vdpad *v, const struct pci_nic *nic, struct failure *why)
{
	const struct pci_host host = pci_host(v);
	const struct device *dev;
	struct pci_nic other;
	struct failure ignored;

	if (pci_is_returning(v, nic->name))
		return failure_set(why, FAILURE_BUSY,
			PCI_BUS "/%s is just being given back to the driver that it had; try again",
			nic->name);
	TAILQ_FOREACH(dev, &v->devices, link) {
		const char *name = backing_function(dev->spec.mgmtdev);

		if (dev->backing != &backing_pci)
			continue;
		if (strcmp(name, nic->name) == 0)
			return failure_set(why, FAILURE_EXISTS,
				PCI_BUS "/%s belongs to device %s; delete that first", nic->name,
				dev->spec.name);
		if (nic->group[0] && pci_find(&host, name, &other, &ignored) == 0 &&
			strcmp(other.group, nic->group) == 0)
			return failure_set(why, FAILURE_EXISTS,
				PCI_BUS "/%s: the IOMMU can't keep it apart from %s, which belongs to "
				"device %s (both are in group %s); delete that first, or put one of them "
				"into another slot", nic->name, name, dev->spec.name, nic->group);
	}
	return 0;
}

static int get_pci(struct vdpad *v, const char *handle, bool bind, struct mgmtdev *ret,
	struct failure *why)
{
	const struct pci_host host = pci_host(v);
	struct pci_nic nic;
	int r = pci_find(&host, backing_function(handle), &nic, why);

	if (r == 0)
		r = check_unused(v, &nic, why);
	if (r == 0)
		r = pci_check(&host, &nic, bind, why);
	if (r < 0)
		return r;
	*ret = (struct mgmtdev){
		.backing = &backing_pci,
		.features = nic.has_features ? nic.features : UINT64_MAX,
		.max_pairs = QUEUE_MAX / 2,
		.max_control_pairs = QUEUE_MAX / 2 - 1,
	};
	snprintf(ret->handle, sizeof(ret->handle), PCI_BUS "/%s", nic.name);
	snprintf(ret->worker_driver, sizeof(ret->worker_driver), "%s", nic.worker_driver);
	return 0;
}

int mgmtdev_get(struct vdpad *v, const char *handle, bool bind, struct mgmtdev *ret,
	struct failure *why)
{
	return is_pci(handle) ? get_pci(v, handle, bind, ret, why)
			      : get_sim(v, handle, bind, ret, why);
}

/* ---------------------------------------------------------------------------- show */

struct showing {
	struct vdpad *vdpad;
	const char *only; /* name of a function; NULL: all */
	json_t *list;
};

static void show_pci(void *arg, const struct pci_nic *nic)
{
	const struct showing *s = arg;

	if (!s->only || strcmp(s->only, nic->name) == 0)
		json_array_append_new(s->list, view_pci(s->vdpad, nic));
}

static int view_sims(struct vdpad *v, const char *handle, json_t *list, struct failure *why)
{
	struct nic *nic, *only = NULL;
	int r = handle ? nic_get(v, handle, &only, why) : 0;

	if (r < 0)
		return r;
	TAILQ_FOREACH(nic, &v->nics, link) {
		if (!only || nic == only)
			json_array_append_new(list, view_nic(nic));
	}
	return 0;
}

static int view_pcis(struct vdpad *v, const char *handle, json_t *list, struct failure *why)
{
	const struct pci_host host = pci_host(v);
	struct showing showing = { .vdpad = v, .list = list };
	struct pci_nic nic;
	int r = 0;

	if (handle) {
		showing.only = backing_function(handle);
		r = pci_find(&host, showing.only, &nic, why);
	}
	if (r == 0 && pci_scan(&host, show_pci, &showing) < 0)
		r = failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	return r;
}

json_t *mgmtdevs_view(struct vdpad *v, const char *handle, struct failure *why)
{
	json_t *list = json_array();
	int r = 0;

	if (!handle || !is_pci(handle))
		r = view_sims(v, handle, list, why);
	if (r == 0 && (!handle || is_pci(handle)))
		r = view_pcis(v, handle, list, why);
	if (r == 0)
		return list;
	json_decref(list);
	return NULL;
}

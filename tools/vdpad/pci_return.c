/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving functions back to the drivers they were taken from, while vdpad goes on: the kernel waits until
 * the last process has closed a function, which for a worker that was just killed takes a moment.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vdpad/backing.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/job.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/vdpad.h"
#include "vdpa/base/log.h"

#define RETURN_MS 30000

struct pci_returning {
	SLIST_ENTRY(pci_returning) link;
	struct vdpad *vdpad;
	struct pci_record record;
	struct pci_host host;
	pci_returned done;
	void *arg;
};

static int run(const void *task, struct job_result *ret)
{
	const struct pci_returning *p = task;

	return pci_give_back(&p->host, p->record.name, p->record.driver, &ret->why);
}

static void finish(struct pci_returning *p)
{
	pci_returned done = p->done;
	void *arg = p->arg;

	SLIST_REMOVE(&p->vdpad->returning, p, pci_returning, link);
	free(p);
	if (done)
		done(arg);
}

static void failed(struct vdpad *v, const char *name, const char *reason)
{
	char handle[PCI_HANDLE_SIZE];

	snprintf(handle, sizeof(handle), PCI_BUS "/%s", name);
	log_error("%s is not given back to its driver: %s; the next start of vdpad tries again",
		handle, reason);
	event_send(v, "failed", "mgmtdev", handle, reason);
}

static void on_returned(void *arg, struct job_result *result)
{
	struct pci_returning *p = arg;

	if (result->status < 0)
		failed(p->vdpad, p->record.name, result->why.text);
	else
		pci_record_remove(p->vdpad, p->record.name);
	finish(p);
}

static int begin(struct pci_returning *p)
{
	char what[80];
	struct job *job;

	snprintf(what, sizeof(what), "giving " PCI_BUS "/%s back", p->record.name);
	return job_start(p->vdpad->event, &(struct job_request){ .what = what, .run = run, .task = p,
		.deadline_ms = RETURN_MS, .done = on_returned, .arg = p }, &job);
}

void pci_return(struct vdpad *v, const char *name, pci_returned done, void *arg)
{
	struct pci_returning *p = calloc(1, sizeof(*p));
	int r = p ? pci_record_read(v, name, &p->record) : -ENOMEM;

	if (r < 0) {
		if (r != -ENOENT)
			failed(v, name, strerror(-r));
		free(p);
		if (done)
			done(arg);
		return;
	}
	p->vdpad = v;
	p->host = pci_host(v);
	p->done = done;
	p->arg = arg;
	SLIST_INSERT_HEAD(&v->returning, p, link);
	r = begin(p);
	if (r < 0) {
		failed(v, name, strerror(-r));
		finish(p);
	}
}

void pci_return_forget(struct vdpad *v, const void *arg)
{
	struct pci_returning *p;

	SLIST_FOREACH(p, &v->returning, link) {
		if (p->arg == arg)
			p->done = NULL;
	}
}

bool pci_is_returning(const struct vdpad *v, const char *name)
{
	const struct pci_returning *p;

	SLIST_FOREACH(p, &v->returning, link) {
		if (strcmp(p->record.name, name) == 0)
			return true;
	}
	return false;
}

static void return_stranger(struct vdpad *v, const struct pci_record *record)
{
	const struct device *dev = device_find(v, record->device);

	if (device_is_skipped(v, record->device) ||
		(dev && strcmp(backing_function(dev->spec.mgmtdev), record->name) == 0))
		return;
	log_info(PCI_BUS "/%s was taken for %s, which is no device any more", record->name,
		record->device);
	pci_return(v, record->name, NULL, NULL);
}

void pci_return_strangers(struct vdpad *v)
{
	pci_records_each(v, return_stranger);
}

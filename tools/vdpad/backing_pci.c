/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device on a PCI function. Taking it, opening it and giving it back are done by children (job.h):
 * the kernel resets functions and waits for others meanwhile.
 *
 * What the function is like, vdpad does not read from it: the worker does, and says so in the health
 * block. So a device with facts that the function does not have is refused when the worker serves.
 *
 * A function that goes away is noticed by its worker. The kernel removes it only when nobody has it open,
 * so shim and worker are told to let go of it; from then on it is looked for, and when it is there again,
 * they get new descriptors, by the same way as those of a simnic that began anew.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/vdpad/backing.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/standby.h"
#include "tools/vdpad/job.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/views.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define OPEN_MS	   15000
#define PAUSE_MS   250	 /* before the first look for one that went away */
#define LOOK_MS	   2000	 /* between others */
#define VERIFY_MS  10000 /* until the worker serves */
#define AGAIN_MS   50
#define MAX_SILENT 5 /* looks at a worker that does not get ready */

/* What a child that opens needs to know. */
struct opening {
	struct pci_host host;
	struct pci_nic nic;
	bool bind;
};

struct pci_host pci_host(const struct vdpad *v)
{
	return (struct pci_host){ .sysfs = v->config.pci_sysfs, .vfio = v->config.pci_vfio,
		.iommu = v->config.pci_iommu };
}

static const char *function_of(const struct device *dev)
{
	return backing_function(dev->spec.mgmtdev);
}

static bool is_configured(const struct device *dev, char ret_why[200])
{
	return true;
}

static bool is_ready(const struct device *dev)
{
	const struct pci_host host = pci_host(dev->vdpad);

	return pci_exists(&host, function_of(dev));
}

static int require(const struct device *dev, struct failure *why)
{
	return 0;
}

/* ---------------------------------------------------------------------------- open */

static int run_open(const void *task, struct job_result *ret)
{
	const struct opening *opening = task;
	int r = 0;

	if (opening->bind)
		r = pci_bind(&opening->host, opening->nic.name, &ret->why);
	if (r == 0)
		r = pci_open(&opening->host, &opening->nic, ret->fds, &ret->why);
	if (r == 0)
		ret->n_fds = PCI_N_FDS;
	return r;
}

/* What it is taken from is noted before; of one that vfio-pci has already nothing is to be noted. */
static int note_driver(const struct device *dev, const struct pci_nic *nic, struct failure *why)
{
	struct pci_record record = { .name = "" };

	if (strcmp(nic->driver, PCI_VFIO_DRIVER) == 0)
		return 0;
	snprintf(record.name, sizeof(record.name), "%s", nic->name);
	snprintf(record.device, sizeof(record.device), "%s", dev->spec.name);
	snprintf(record.driver, sizeof(record.driver), "%s", nic->driver);
	return pci_record_write(dev->vdpad, &record, why);
}

/* Return: 0 with @done to be called later; negative with @why. */
static int begin_open(struct device *dev, void (*done)(void *arg, struct job_result *result),
	struct failure *why)
{
	struct opening opening = { .host = pci_host(dev->vdpad), .bind = dev->spec.bind };
	char what[80];
	int r;

	r = pci_find(&opening.host, function_of(dev), &opening.nic, why);
	if (r == 0)
		r = pci_check(&opening.host, &opening.nic, opening.bind, why);
	if (r == 0 && opening.bind)
		r = note_driver(dev, &opening.nic, why);
	if (r < 0)
		return r;
	snprintf(what, sizeof(what), "opening %s", dev->spec.mgmtdev);
	r = job_start(dev->vdpad->event, &(struct job_request){ .what = what, .run = run_open,
		.task = &opening, .deadline_ms = OPEN_MS, .done = done, .arg = dev }, &dev->job);
	if (r < 0)
		return failure_set(why, FAILURE_UNAVAILABLE, "%s: no process can be started: %s",
			dev->spec.mgmtdev, strerror(-r));
	return 0;
}

/* One that is started again, and is no new one, keeps what was taken for it. */
static void undo(struct device *dev)
{
	device_close_fds(dev);
	dev->function_ok = false;
	if (!dev->stored)
		pci_return(dev->vdpad, function_of(dev), NULL, NULL);
}

static void on_opened(void *arg, struct job_result *result)
{
	struct device *dev = arg;

	dev->job = NULL;
	if (result->status < 0) {
		dev->why = result->why;
		undo(dev);
	} else {
		device_take_fds(dev, result->fds, result->n_fds);
		result->n_fds = 0;
		dev->function_ok = true;
	}
	device_start_go_on(dev, result->status);
}

static int obtain(struct device *dev)
{
	int r = begin_open(dev, on_opened, &dev->why);

	if (r == 0)
		return BACKING_WAIT;
	undo(dev);
	return r;
}

/* -------------------------------------------------------------------------- verify */

static int has_another(const char *what, const char *wanted, const char *has, struct failure *why)
{
	return failure_set(why, FAILURE_INVALID,
		"%s %s: the function's own is %s, and can't be changed from here; leave it away", what,
		wanted, has);
}

static int check_mac(const struct device_spec *spec, const struct health *h, struct failure *why)
{
	char wanted[ETHERADDR_TEXT_SIZE], has[ETHERADDR_TEXT_SIZE];

	if (etheraddr_is_zero(spec->mac) || memcmp(spec->mac, h->mac, sizeof(spec->mac)) == 0)
		return 0;
	etheraddr_format(spec->mac, wanted);
	etheraddr_format(h->mac, has);
	return has_another("mac", wanted, has, why);
}

static int check_mtu(const struct device_spec *spec, const struct health *h, struct failure *why)
{
	char wanted[8], has[8];

	if (spec->mtu == 0 || spec->mtu == h->mtu)
		return 0;
	snprintf(wanted, sizeof(wanted), "%u", spec->mtu);
	snprintf(has, sizeof(has), "%u", h->mtu);
	return has_another("mtu", wanted, has, why);
}

/* All ones were not asked for by anybody, but for the bits of a control queue. */
static int check_features(const struct device_spec *spec, const struct health *h, struct failure *why)
{
	uint64_t asked = spec->features;

	if (asked == UINT64_MAX || asked == (UINT64_MAX & ~(uint64_t)DEVICE_CONTROL_FEATURES))
		asked &= BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
	if (!(asked & ~h->device_features))
		return 0;
	return failure_set(why, FAILURE_INVALID,
		"features 0x%llx: the function does not have 0x%llx of them; leave those away",
		(unsigned long long)spec->features,
		(unsigned long long)(asked & ~h->device_features));
}

int pci_facts_differ(const struct device_spec *spec, const struct health *h, struct failure *why)
{
	int r = check_mac(spec, h, why);

	if (r == 0)
		r = check_mtu(spec, h, why);
	if (r == 0)
		r = check_features(spec, h, why);
	if (r == 0 && spec->max_pairs > h->max_pairs)
		r = failure_set(why, FAILURE_INVALID,
			"max_vqp %u: the function has %u; leave it away, or ask for less",
			spec->max_pairs, h->max_pairs);
	return r;
}

static void ask_worker(struct device *dev);

static int on_ask_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct device *dev = arg;

	dev->timer = sd_event_source_disable_unref(dev->timer);
	ask_worker(dev);
	return 0;
}

/* No worker serves yet: it begins, or will never come. */
static void on_no_worker(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (r == 0)
		r = device_take_status(dev, answer);
	if (r < 0)
		device_start_go_on(dev, device_fail(dev, "its shim", r));
	else if (dev->status.state == SHIM_GIVEN_UP)
		device_start_go_on(dev, failure_set(&dev->why, FAILURE_UNAVAILABLE,
			"%s: its worker can't serve %s: %s", dev->spec.name, dev->spec.mgmtdev,
			dev->status.reason));
	else if (clock_now_ns() >= dev->verify_until_ns)
		device_start_go_on(dev, device_fail(dev, "its worker", -ETIMEDOUT));
	else
		device_set_timer(dev, AGAIN_MS, on_ask_again);
}

static int compare(struct device *dev)
{
	struct health health;

	if (!dev->health || health_read(dev->health, &health, NULL) < 0)
		return device_fail(dev, "its health block", -EBADMSG);
	if (health.lost)
		return failure_set(&dev->why, FAILURE_UNAVAILABLE, "%s: %s went away meanwhile",
			dev->spec.name, dev->spec.mgmtdev);
	return pci_facts_differ(&dev->spec, &health, &dev->why);
}

static void on_asked(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (r == 0) {
		device_start_go_on(dev, compare(dev));
		return;
	}
	if (r == -EHOSTDOWN)
		r = device_call(dev, SHIM_HELLO, NULL, 0, -1, sizeof(struct shim_status),
			DEVICE_CALL_MS, on_no_worker);
	if (r < 0)
		device_start_go_on(dev, device_fail(dev, "its worker", r));
}

static void ask_worker(struct device *dev)
{
	int r = device_call(dev, SHIM_REFRESH, NULL, 0, -1, 0, VERIFY_MS, on_asked);

	if (r < 0)
		device_start_go_on(dev, device_fail(dev, "its shim", r));
}

static int verify(struct device *dev)
{
	dev->verify_until_ns = clock_now_ns() + VERIFY_MS * NS_PER_MS;
	ask_worker(dev);
	return BACKING_WAIT;
}

/* ---------------------------------------------------------------------- come back */

static void reopen(struct device *dev);

static int on_look(sd_event_source *source, uint64_t usec, void *arg)
{
	struct device *dev = arg;

	dev->timer = sd_event_source_disable_unref(dev->timer);
	if (dev->let_go)
		reopen(dev);
	else
		dev->backing->check(dev);
	return 0;
}

static void look_again(struct device *dev, const char *reason)
{
	if (dev->phase != DEVICE_UP)
		return;
	if (strcmp(dev->reason, reason) != 0)
		log_warning("%s: %s", dev->spec.name, reason);
	snprintf(dev->reason, sizeof(dev->reason), "%s", reason);
	device_set_timer(dev, LOOK_MS, on_look);
}

static void on_told(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;

	dev->checking = false;
	if (answer->status == 0) {
		dev->let_go = false;
		dev->function_ok = true;
		dev->reason[0] = '\0';
	} else if (answer->status != -ECANCELED && answer->status != -ECONNRESET) {
		look_again(dev, "its shim does not take the function that came back");
	}
}

static void on_reopened(void *arg, struct job_result *result)
{
	struct device *dev = arg;
	int r = 0;

	dev->job = NULL;
	if (dev->phase == DEVICE_UP && result->status == 0)
		r = channel_call(dev->shim, &(struct channel_request){ .kind = SHIM_DEVICE_FDS,
			.fds = result->fds, .n_fds = result->n_fds,
			.deadline_ms = DEVICE_CALL_MS, .done = on_told, .arg = dev });
	if (dev->phase == DEVICE_UP && result->status == 0 && r == 0)
		return;
	dev->checking = false;
	look_again(dev, result->status < 0 ? result->why.text : "its shim does not answer");
}

static void reopen(struct device *dev)
{
	char text[200];
	struct failure why;

	if (dev->phase != DEVICE_UP || dev->checking)
		return;
	if (is_ready(dev)) {
		dev->checking = begin_open(dev, on_reopened, &why) == 0;
		if (dev->checking)
			return;
		snprintf(text, sizeof(text), "%.199s", why.text);
	} else {
		snprintf(text, sizeof(text), "%s went away; it is waited for", dev->spec.mgmtdev);
	}
	look_again(dev, text);
}

static void on_let_go(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;

	dev->checking = false;
	if (answer->status < 0 || dev->phase != DEVICE_UP)
		return;
	dev->let_go = true;
	device_set_timer(dev, PAUSE_MS, on_look); /* the kernel is just removing it, perhaps */
}

/* All of its descriptors, which is none: they keep the kernel from removing it. */
static void let_go(struct device *dev)
{
	dev->function_ok = false;
	dev->checking = device_call(dev, SHIM_DEVICE_FDS, NULL, 0, -1, 0, DEVICE_CALL_MS,
				on_let_go) == 0;
}

static void on_refreshed(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	dev->checking = false;
	if (dev->phase != DEVICE_UP || (r < 0 && r != -EHOSTDOWN))
		return;
	if (standby_other_is_missed(dev)) {
		let_go(dev);
	} else if (r == 0) {
		dev->n_silent = 0;
		dev->function_ok = true;
		dev->reason[0] = '\0';
	} else if (dev->status.state == SHIM_WORKING && ++dev->n_silent > MAX_SILENT) {
		dev->n_silent = 0; /* it was gone before this worker could say so */
		let_go(dev);
	} else if (dev->status.state != SHIM_GIVEN_UP) {
		device_set_timer(dev, LOOK_MS, on_look);
	}
}

static void on_status(void *arg, struct channel_answer *answer)
{
	if (answer->status == 0)
		device_take_status(arg, answer);
}

static void check(struct device *dev)
{
	if (dev->phase != DEVICE_UP || dev->checking || dev->let_go)
		return;
	dev->checking = true;
	device_call(dev, SHIM_HELLO, NULL, 0, -1, sizeof(struct shim_status), DEVICE_CALL_MS,
		on_status);
	if (device_call(dev, SHIM_REFRESH, NULL, 0, -1, 0, DEVICE_CALL_MS, on_refreshed) < 0)
		dev->checking = false;
}

/* ---------------------------------------------------------------------------- end */

static void on_returned(void *arg)
{
	device_end_go_on(arg);
}

static void release(struct device *dev)
{
	job_cancel(TAKE_PTR(dev->job));
	pci_return(dev->vdpad, function_of(dev), on_returned, dev);
}

static void forget(struct device *dev)
{
	job_cancel(TAKE_PTR(dev->job));
	pci_return_forget(dev->vdpad, dev);
}

/* -------------------------------------------------------------------------- change */

static int may_change(const struct device *dev, const struct device_spec *spec, struct failure *why)
{
	const struct device_spec *old = &dev->spec;
	const char *what = NULL;

	if (memcmp(spec->mac, old->mac, sizeof(spec->mac)) != 0)
		what = "mac";
	else if (spec->mtu != old->mtu)
		what = "mtu";
	else if (spec->link_up != old->link_up)
		what = "link";
	else if (spec->spoof_check != old->spoof_check)
		what = "spoof_check";
	if (!what)
		return 0;
	return failure_set(why, FAILURE_INVALID,
		"%s: %s is that of %s, and can't be changed from here; a VF's is changed at its PF, with "
		"ip link set PF vf N", old->name, what, old->mgmtdev);
}

static json_t *view(const struct device *dev)
{
	const struct pci_host host = pci_host(dev->vdpad);
	struct failure ignored;
	struct pci_nic nic;

	if (pci_find(&host, function_of(dev), &nic, &ignored) < 0)
		return NULL;
	return view_pci(dev->vdpad, &nic);
}

const struct backing backing_pci = {
	.bus = PCI_BUS,
	.poll_ms = LOOK_MS,
	.own_facts = true,
	.pins_memory = true,
	.is_configured = is_configured,
	.is_ready = is_ready,
	.require = require,
	.obtain = obtain,
	.undo = undo,
	.verify = verify,
	.check = check,
	.on_trouble = check,
	.release = release,
	.may_change = may_change,
	.forget = forget,
	.view = view,
};

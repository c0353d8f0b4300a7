/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When vdpad begins to serve: after the NICs and devices of before were looked for, so that who asks
 * right after the start sees what is there. A device that hangs delays this for DEVICES_MS at most; a
 * NIC that starts is waited for until it is up or has failed, which has a deadline of its own, because
 * the first thing that is asked for is a device of it.
 */
#include "tools/vdpad/device.h"
#include "tools/vdpad/nic.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define DEVICES_MS 8000

static void tell(struct vdpad *v)
{
	v->ready_timer = sd_event_source_disable_unref(v->ready_timer);
	TAKE_PTR(v->ready)(v);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vdpad *v = arg;

	v->ready_timer = sd_event_source_disable_unref(v->ready_timer);
	if (devices_loading(v))
		log_warning("not every device was found or started in time; they are not waited for");
	ready_check(v);
	return 0;
}

int ready_begin(struct vdpad *v, void (*ready)(struct vdpad *v))
{
	v->ready = ready;
	return sd_event_add_time_relative(v->event, &v->ready_timer, CLOCK_MONOTONIC,
		DEVICES_MS * 1000ULL, 1000, on_timer, v);
}

void ready_check(struct vdpad *v)
{
	const struct nic *nic;

	if (!v->ready)
		return;
	TAILQ_FOREACH(nic, &v->nics, link) {
		if (nic->state == NIC_STARTING)
			return;
	}
	if (!v->ready_timer || !devices_loading(v))
		tell(v);
}

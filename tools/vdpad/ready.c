/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When vdpad begins to serve: after the NICs and devices of before were looked for, so that who asks
 * right after the start sees what is there. Something that hangs delays this for READY_MS at most.
 */
#include "tools/vdpad/device.h"
#include "tools/vdpad/nic.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define READY_MS 8000

static void tell(struct vdpad *v)
{
	v->ready_timer = sd_event_source_disable_unref(v->ready_timer);
	TAKE_PTR(v->ready)(v);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	log_warning("not everything was found or started in time; serving all the same");
	tell(arg);
	return 0;
}

int ready_begin(struct vdpad *v, void (*ready)(struct vdpad *v))
{
	v->ready = ready;
	return sd_event_add_time_relative(v->event, &v->ready_timer, CLOCK_MONOTONIC,
		READY_MS * 1000ULL, 1000, on_timer, v);
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
	if (!devices_loading(v))
		tell(v);
}

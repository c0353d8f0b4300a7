/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring that runs on a device with a doorbell page gets a notifier, if its operator and the front-end
 * want that. It is sent between two messages, and no answer is asked for: a front-end that can't map the
 * page kicks by the eventfd, as ever. The front-end gives a notifier up by itself when it asks for the ring's
 * base, and when the connection ends.
 *
 * Until then the page may be rung, whoever serves the ring. A device that was replaced gets doorbells
 * switched on again, and a relayed ring is polled (device_open_doorbell()).
 *
 * Source: vhost-user specification, VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG.
 */
#include "protocol/notifier.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "protocol/backend.h"
#include "protocol/wire.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

static int give(struct session *s, int channel, uint32_t ring)
{
	_cleanup_close_ int fd = -1;
	uint64_t offset;
	int r = device_open_doorbell(s->device, ring, &fd, &offset);

	if (r < 0)
		return r;
	r = backend_host_notifier(channel, ring, fd, offset, (uint64_t)sysconf(_SC_PAGESIZE));
	if (r < 0)
		session_channel_used(s, r, WIRE_BACKEND_VRING_HOST_NOTIFIER);
	return r;
}

void session_give_notifiers(struct session *s)
{
	int channel = session_channel(s, WIRE_BACKEND_VRING_HOST_NOTIFIER);
	bool tried = false;

	if (channel < 0)
		return;
	for (uint32_t ring = 0; ring < s->device->n_queues; ring++) {
		if (!s->device->state->rings[ring].running || s->state->notifiers[ring] ||
			device_is_away(s->device))
			continue;
		tried = true; /* also in vain: the doorbell may be open then, the channel or the device gone */
		if (give(s, channel, ring) < 0)
			break;
		s->state->notifiers[ring] = 1;
	}
	if (tried && transaction_commit(&s->transaction) < 0)
		log_error("which notifiers the front-end has can't be kept");
}

void notifier_forget(struct session *s)
{
	memset(s->state->notifiers, 0, sizeof(s->state->notifiers));
}

int notifier_ring_stopped(struct session *s, uint32_t ring)
{
	s->state->notifiers[ring] = 0;
	if (memchr(s->state->notifiers, 1, sizeof(s->state->notifiers)))
		return 0;
	return device_close_doorbell(s->device);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Events: for the log, and for who monitors. */
#include <time.h>

#include "tools/vdpad/vdpad.h"
#include "vdpa/base/log.h"

void event_send(struct vdpad *v, const char *kind, const char *what, const char *name,
	const char *text)
{
	struct timespec now;
	json_t *event;

	log_info("%s: %s%s%s", name, kind, *text ? ": " : "", text);
	if (!v->events)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{s:s,s:I,s:s,s:s}", "event", kind, "time_ms",
		(json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, what, name, "text", text);
	if (event)
		v->events(v->events_arg, event, name);
	json_decref(event);
}

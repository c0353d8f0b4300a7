/* SPDX-License-Identifier: BSD-2-Clause */
/* Events: for the log, and for who monitors. */
#include <time.h>

#include "tools/vdpad/vdpad.h"
#include "vdpa/base/log.h"

json_int_t event_time_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void event_send(struct vdpad *v, const char *kind, const char *what, const char *name,
	const char *text)
{
	json_t *event;

	log_info("%s: %s%s%s", name, kind, *text ? ": " : "", text);
	if (!v->events)
		return;
	event = json_pack("{s:s,s:I,s:s,s:s}", "event", kind, "time_ms", event_time_ms(), what, name, "text",
		text);
	if (event)
		v->events(v->events_arg, event, name);
	json_decref(event);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose memory comes after it. The front-end reads the userfaultfd that the device made, and
 * has to know where the device has the guest's memory: while it listens, a memory table is answered
 * with these addresses, which the front-end then acknowledges (see postcopy_take_ack()).
 *
 * Source: vhost-user specification, "Postcopy", VHOST_USER_POSTCOPY_ADVISE, _LISTEN, _END.
 */
#include <errno.h>

#include "protocol/handlers.h"
#include "vdpa/base/clock.h"

int on_postcopy_advise(struct session *s, struct message *m, uint32_t ring)
{
	int fd, r = device_postcopy_advise(s->device, &fd);

	return r < 0 ? r : session_reply_fd(s, m, NULL, 0, fd);
}

int on_postcopy_listen(struct session *s, struct message *m, uint32_t ring)
{
	return device_postcopy_listen(s->device);
}

int on_postcopy_end(struct session *s, struct message *m, uint32_t ring)
{
	return device_postcopy_end(s->device);
}

int postcopy_answer_table(struct session *s, const struct message *m, const struct memory_table *table)
{
	struct wire_memory answer = m->payload.memory;
	uint64_t addresses[WIRE_MAX_REGIONS];
	int r = device_postcopy_set_memory(s->device, table, addresses);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < table->n_regions; i++)
		answer.regions[i].uva = addresses[i];
	session_reply(s, m, &answer, m->header.size);
	return 0;
}

/*
 * It has the request of the message that was answered last; of those that change memory there is only
 * SET_MEM_TABLE.
 */
static bool is_ack(const struct message *m)
{
	return m->header.request == WIRE_SET_MEM_TABLE && m->header.size == sizeof(uint64_t) &&
	       m->payload.u64 == 0 && m->n_fds == 0;
}

int postcopy_take_ack(struct session *s, const struct message *m)
{
	if (!is_ack(m))
		return -EBADMSG;
	return device_postcopy_acknowledged(s->device);
}

uint64_t postcopy_deadline_ns(const struct session *s)
{
	if (!s->state->connected || !device_postcopy_waits(s->device))
		return 0;
	return s->device->state->postcopy_told_ns + SESSION_ACK_MS * NS_PER_MS;
}

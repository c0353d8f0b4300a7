/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose memory comes after it. The front-end reads the userfaultfd that the device made, and
 * has to know where the device has the guest's memory: while it listens, a memory table is answered
 * with these addresses, and so is each region that is added; the front-end acknowledges all of them at
 * once (see postcopy_take_ack()).
 *
 * Source: vhost-user specification, "Postcopy", VHOST_USER_POSTCOPY_ADVISE, _LISTEN, _END.
 */
#include <errno.h>

#include "protocol/handlers.h"
#include "vdpa/base/bits.h"
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
	int r = device_set_memory(s->device, table);

	for (uint32_t i = 0; i < table->n_regions && r == 0; i++)
		r = device_postcopy_tell(s->device, &table->regions[i], &answer.regions[i].uva);
	if (r == 0)
		session_reply(s, m, &answer, m->header.size);
	return r;
}

int postcopy_answer_region(struct session *s, const struct message *m, const struct memory_region *region)
{
	struct wire_single_region answer = m->payload.single;
	int r = device_postcopy_tell(s->device, region, &answer.region.uva);

	if (r == 0)
		session_reply(s, m, &answer, sizeof(answer));
	return r;
}

static bool changes_a_region(const struct message *m)
{
	return m->header.request == WIRE_ADD_MEM_REG || m->header.request == WIRE_REM_MEM_REG;
}

/*
 * It has the request of the last message that changed memory, which of regions may be any, and 0 when
 * none did. Descriptors are looked at later, when it is known whose they are.
 */
static bool looks_like_ack(const struct session *s, const struct message *m)
{
	bool slots = s->state->protocol_features & BIT_ULL(WIRE_PF_CONFIGURE_MEM_SLOTS);

	if (m->header.size != sizeof(uint64_t) || m->payload.u64 != 0)
		return false;
	return m->header.request == WIRE_SET_MEM_TABLE ||
	       (slots && (changes_a_region(m) || m->header.request == WIRE_NONE));
}

bool postcopy_expects_ack(const struct session *s, const struct message *m)
{
	if (device_postcopy_waits(s->device))
		return !changes_a_region(m) || m->header.size == sizeof(uint64_t);
	return device_postcopy_listens(s->device) && looks_like_ack(s, m) &&
	       m->header.request != WIRE_SET_MEM_TABLE;
}

int postcopy_take_ack(struct session *s, const struct message *m)
{
	return looks_like_ack(s, m) && m->n_fds == 0 ? device_postcopy_acknowledged(s->device) : -EBADMSG;
}

uint64_t postcopy_deadline_ns(const struct session *s)
{
	if (!s->state->connected || !device_postcopy_waits(s->device))
		return 0;
	return s->device->state->postcopy_told_ns + SESSION_ACK_MS * NS_PER_MS;
}

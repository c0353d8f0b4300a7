/* SPDX-License-Identifier: BSD-2-Clause */
/* What has to hold after a step, beside what stand_check() looks at. */
#include "tests/fuzz/play_internal.h"

#include <errno.h>
#include <string.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/must.h"
#include "vdpa/base/iotlb.h"

void play_check_remember(struct play *p)
{
	p->before.device = p->stand.device_section;
	p->before.session = p->stand.session_section;
	p->before.failed = p->stand.driver.fail_after > 0;
}

/* What lies beyond the rings and regions that there are means nothing. */
static bool same_device(const struct device_section *a, const struct device_section *b)
{
	struct page_span spans[PAGE_MAX_SPANS];
	size_t n = device_section_spans(a, spans);

	for (size_t i = 0; i < n; i++) {
		if (memcmp((const uint8_t *)a + spans[i].start, (const uint8_t *)b + spans[i].start,
			    spans[i].size) != 0)
			return false;
	}
	return true;
}

void play_check_refused(const struct play *p)
{
	const struct session_section *now = &p->stand.session_section;
	uint64_t n = now->messages - p->before.session.messages,
		 refused = now->refused - p->before.session.refused;
	static struct session_section same;

	if (p->forged || n == 0 || n != refused || device_is_away(&p->stand.device) ||
		p->before.failed)
		return;
	for (uint64_t i = 0; i < n && i < SESSION_TRACE_SIZE; i++) {
		if (now->trace[(now->trace_next - 1 - i) % SESSION_TRACE_SIZE].result == -EIO)
			return; /* that the device failed is news */
	}
	must(same_device(&p->before.device, &p->stand.device_section),
		"a refused message changed the device's state: %s", now->refusal);
	same = p->before.session;
	same.progress = now->progress;
	same.messages = now->messages;
	same.refused = now->refused;
	same.features_refused = now->features_refused;
	memcpy(same.refusal, now->refusal, sizeof(same.refusal));
	same.reply_size = now->reply_size;
	same.reply_slot = now->reply_slot; /* the one before was forgotten */
	memcpy(same.reply, now->reply, sizeof(same.reply));
	same.trace_next = now->trace_next;
	memcpy(same.trace, now->trace, sizeof(same.trace));
	must(memcmp(&same, now, sizeof(same)) == 0,
		"a refused message changed the session's state: %s", now->refusal);
}

void play_check_taken_back(const struct play *p, const struct step_message *m)
{
	const struct session_section *now = &p->stand.session_section;
	const struct session_trace *last = &now->trace[(now->trace_next - 1) % SESSION_TRACE_SIZE];
	const struct wire_iotlb *iotlb = &m->payload.iotlb;

	if (p->forged || p->died || now->messages != p->before.session.messages + 1 ||
		last->request != WIRE_IOTLB_MSG || last->result != 0 ||
		m->header.request != WIRE_IOTLB_MSG || iotlb->type != WIRE_IOTLB_INVALIDATE ||
		device_is_away(&p->stand.device))
		return;
	must(!fuzz_driver_translates(
		     &p->stand.driver, iotlb->iova, iotlb_last(iotlb->iova, iotlb->size)),
		"%#lx is translated although it was taken back", iotlb->iova);
}

void play_check_fds(const struct play *p)
{
	size_t want = p->n_base + stand_count_fds(&p->stand) + (size_t)(p->peer >= 0),
	       have = files_open_fds();

	must(have == want, "%zu descriptors are open, %zu are somebody's", have, want);
}

void play_check_all(const struct play *p)
{
	play_check_fds(p);
	if (!p->forged)
		stand_check_sections(&p->stand);
}

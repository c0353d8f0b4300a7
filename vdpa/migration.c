/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transitions are a table, and migration_step() is the only one who writes the phase. A cell says
 * where an input leads and what the record gets; cells without an entry stay where they are.
 */
#include "vdpa/migration.h"

#include <errno.h>
#include <string.h>

#include "vdpa/base/clock.h"

enum mark {
	MARK_NOTHING,
	MARK_STOP,    /* the stop began */
	MARK_STOPPED, /* and is over */
	MARK_BOTH,    /* there was one ring */
	MARK_END,
};

struct transition {
	bool defined;
	enum migration_phase to;
	enum mark mark;
	enum migration_outcome outcome;
};

#define TO(phase_, mark_, outcome_)                                                                \
	{                                                                                          \
		.defined = true, .to = MIGRATION_##phase_, .mark = MARK_##mark_,                   \
		.outcome = MIGRATION_##outcome_                                                    \
	}

static const struct transition transitions[MIGRATION_N_PHASES][MIGRATION_N_INPUTS] = {
	[MIGRATION_NONE] = {
		[MIGRATION_LOG_ON] = TO(LOGGING, NOTHING, UNKNOWN),
	},
	[MIGRATION_LOGGING] = {
		[MIGRATION_LOG_OFF] = TO(NONE, END, CANCELLED),
		[MIGRATION_RING_STOPPED] = TO(STOPPING, STOP, UNKNOWN),
		[MIGRATION_LAST_RING_STOPPED] = TO(STOPPED, BOTH, UNKNOWN),
		[MIGRATION_LEFT] = TO(NONE, END, BROKEN_OFF),
	},
	[MIGRATION_STOPPING] = {
		[MIGRATION_LOG_OFF] = TO(NONE, END, CANCELLED),
		[MIGRATION_LAST_RING_STOPPED] = TO(STOPPED, STOPPED, UNKNOWN),
		[MIGRATION_RING_STARTED] = TO(LOGGING, NOTHING, UNKNOWN),
		[MIGRATION_LEFT] = TO(NONE, END, BROKEN_OFF),
	},
	[MIGRATION_STOPPED] = {
		[MIGRATION_LOG_OFF] = TO(NONE, END, CANCELLED),
		[MIGRATION_RING_STARTED] = TO(LOGGING, NOTHING, UNKNOWN),
		[MIGRATION_LEFT] = TO(NONE, END, HANDED_OVER),
	},
};

static void mark(struct migration_record *m, enum mark what, uint64_t now_ns)
{
	if (what == MARK_STOP || what == MARK_BOTH) {
		m->stop_ns = now_ns;
		m->stopped_ns = 0;
	}
	if (what == MARK_STOPPED || what == MARK_BOTH)
		m->stopped_ns = now_ns;
	if (what == MARK_END)
		m->ended_ns = now_ns;
}

void migration_step(struct migration_record *m, enum migration_input input, uint64_t now_ns)
{
	const struct transition *t = &transitions[m->phase][input];

	if (!t->defined)
		return;
	m->phase = t->to;
	m->outcome = t->outcome;
	mark(m, t->mark, now_ns);
}

void migration_logged(struct migration_record *m, enum migration_method method, uint64_t asked_ns,
	uint64_t now_ns)
{
	if (m->phase != MIGRATION_NONE)
		return;
	*m = (struct migration_record){
		.method = method,
		.number = m->number + 1,
		.asked_ns = asked_ns,
		.logged_ns = now_ns,
	};
	migration_step(m, MIGRATION_LOG_ON, now_ns);
}

bool migration_span_us(const struct migration_record *m, enum migration_span span, uint64_t *ret)
{
	const struct {
		uint64_t from_ns, to_ns;
	} spans[MIGRATION_N_SPANS] = {
		[MIGRATION_SPAN_SWITCH] = { m->asked_ns, m->logged_ns },
		[MIGRATION_SPAN_LOGGING] = { m->logged_ns, m->stop_ns ? m->stop_ns : m->ended_ns },
		[MIGRATION_SPAN_STOP] = { m->stop_ns, m->stopped_ns },
		[MIGRATION_SPAN_LEAVE] = { m->stopped_ns, m->ended_ns },
	};

	if (spans[span].from_ns == 0 || spans[span].to_ns < spans[span].from_ns)
		return false;
	*ret = (spans[span].to_ns - spans[span].from_ns) / NS_PER_US;
	return true;
}

size_t migration_news(const struct migration_record *told, const struct migration_record *now,
	enum migration_news ret[MIGRATION_N_NEWS])
{
	static const enum migration_news ends[MIGRATION_N_OUTCOMES] = {
		[MIGRATION_HANDED_OVER] = MIGRATION_NEWS_HANDED_OVER,
		[MIGRATION_CANCELLED] = MIGRATION_NEWS_CANCELLED,
		[MIGRATION_BROKEN_OFF] = MIGRATION_NEWS_BROKEN_OFF,
	};
	static const struct migration_record nothing;
	bool began = now->number != told->number, stopped;
	size_t n = 0;

	if (now->number == 0)
		return 0;
	if (began) {
		told = &nothing;
		ret[n++] = MIGRATION_NEWS_LOGGING;
	}
	stopped = now->stopped_ns != 0 && now->stopped_ns != told->stopped_ns;
	if (stopped)
		ret[n++] = MIGRATION_NEWS_STOPPED;
	if (now->phase == MIGRATION_LOGGING && (stopped || told->phase > MIGRATION_LOGGING))
		ret[n++] = MIGRATION_NEWS_RESUMED;
	if (now->outcome != MIGRATION_UNKNOWN && told->outcome == MIGRATION_UNKNOWN)
		ret[n++] = ends[now->outcome];
	return n;
}

int migration_check(const struct migration_record *m)
{
	return m->phase < MIGRATION_N_PHASES && m->method < MIGRATION_N_METHODS &&
			       m->outcome < MIGRATION_N_OUTCOMES
		       ? 0
		       : -EBADMSG;
}

const char *migration_phase_name(enum migration_phase phase)
{
	static const char *const names[MIGRATION_N_PHASES] = {
		[MIGRATION_NONE] = "none",
		[MIGRATION_LOGGING] = "logging",
		[MIGRATION_STOPPING] = "stopping",
		[MIGRATION_STOPPED] = "stopped",
	};

	return names[phase];
}

const char *migration_method_name(enum migration_method method)
{
	static const char *const names[MIGRATION_N_METHODS] = {
		[MIGRATION_BY_NONE] = "none",
		[MIGRATION_BY_DEVICE] = "device",
		[MIGRATION_BY_RELAY] = "relay",
	};

	return names[method];
}

const char *migration_outcome_name(enum migration_outcome outcome)
{
	static const char *const names[MIGRATION_N_OUTCOMES] = {
		[MIGRATION_UNKNOWN] = "none yet",
		[MIGRATION_HANDED_OVER] = "handed over",
		[MIGRATION_CANCELLED] = "cancelled",
		[MIGRATION_BROKEN_OFF] = "broken off",
	};

	return names[outcome];
}

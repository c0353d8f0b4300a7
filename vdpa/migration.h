/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a live migration looks like from the device's side, and a record of the last one: which phase
 * took how long, and what came of it. Plain data, kept in the state page.
 *
 *            LOG_ON               RING_STOPPED              LAST_RING_STOPPED
 *   NONE ------------> LOGGING ------------------> STOPPING -----------------> STOPPED
 *     ^                  | LOG_OFF: cancelled         | RING_STARTED: back to LOGGING
 *     `------------------+----------------------------+--- LEFT: handed over, or broken off
 */
#ifndef VDPA_MIGRATION_H
#define VDPA_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum migration_phase {
	MIGRATION_NONE,
	MIGRATION_LOGGING,  /* every page that is written is marked; rings run */
	MIGRATION_STOPPING, /* some rings were given back */
	MIGRATION_STOPPED,  /* all were: the guest is about to run elsewhere */
	MIGRATION_N_PHASES,
};

enum migration_input {
	MIGRATION_LOG_ON,	     /* logging was switched on */
	MIGRATION_LOG_OFF,
	MIGRATION_RING_STOPPED,	     /* the front-end took a ring back, others run */
	MIGRATION_LAST_RING_STOPPED,
	MIGRATION_RING_STARTED,
	MIGRATION_LEFT,		     /* the front-end disconnected, or forgot the device */
	MIGRATION_N_INPUTS,
};

enum migration_method {
	MIGRATION_BY_NONE,
	MIGRATION_BY_DEVICE, /* the device's own dirty log */
	MIGRATION_BY_RELAY,
	MIGRATION_N_METHODS,
};

enum migration_outcome {
	MIGRATION_UNKNOWN,     /* it is going on, or there was none */
	MIGRATION_HANDED_OVER, /* all rings were given back, and the front-end left */
	MIGRATION_CANCELLED,   /* logging was switched off again */
	MIGRATION_BROKEN_OFF,  /* the front-end left in the middle */
	MIGRATION_N_OUTCOMES,
};

/* Times are CLOCK_MONOTONIC, nanoseconds; 0: not reached. */
struct migration_record {
	uint32_t phase;	    /* enum migration_phase */
	uint32_t method;    /* enum migration_method */
	uint32_t outcome;   /* enum migration_outcome */
	uint32_t number;    /* counts migrations of this device */
	uint64_t asked_ns;  /* logging was asked for */
	uint64_t logged_ns; /* from here on every write is marked */
	uint64_t stop_ns;   /* the first ring was taken back, the last time that happened */
	uint64_t stopped_ns;/* the last one was */
	uint64_t ended_ns;
};

/**
 * migration_step() - something happened.
 * @now_ns: CLOCK_MONOTONIC
 * Inputs that mean nothing in a phase leave all as it is.
 */
void migration_step(struct migration_record *m, enum migration_input input, uint64_t now_ns);

/** migration_logged() - logging is on, by @method; it was asked for at @asked_ns. */
void migration_logged(struct migration_record *m, enum migration_method method, uint64_t asked_ns,
	uint64_t now_ns);

/* What a migration took, one after the other. */
enum migration_span {
	MIGRATION_SPAN_SWITCH,	/* until every write was logged */
	MIGRATION_SPAN_LOGGING, /* until the first ring was taken back, or it ended */
	MIGRATION_SPAN_STOP,	/* until the last one was */
	MIGRATION_SPAN_LEAVE,	/* until the front-end left */
	MIGRATION_N_SPANS,
};

/** migration_span_us() - one of them, in *@ret. Return: false when it was not reached. */
bool migration_span_us(const struct migration_record *m, enum migration_span span, uint64_t *ret);

/* What people are told of a migration, in the order in which it happens. */
enum migration_news {
	MIGRATION_NEWS_LOGGING,	/* it began */
	MIGRATION_NEWS_STOPPED,	/* all rings were taken back */
	MIGRATION_NEWS_RESUMED,	/* and run here again */
	MIGRATION_NEWS_HANDED_OVER,
	MIGRATION_NEWS_CANCELLED,
	MIGRATION_NEWS_BROKEN_OFF,
	MIGRATION_N_NEWS,
};

/**
 * migration_news() - what happened since somebody was told.
 * @told: the record as it was then; of a migration before this one, too
 * @ret:  in the order in which it happened
 * Return: how many.
 */
size_t migration_news(const struct migration_record *told, const struct migration_record *now,
	enum migration_news ret[MIGRATION_N_NEWS]);

/** migration_check() - could the program have written this? Return: 0 or -EBADMSG. */
int migration_check(const struct migration_record *m);

const char *migration_phase_name(enum migration_phase phase);
const char *migration_method_name(enum migration_method method);
const char *migration_outcome_name(enum migration_outcome outcome);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of simnic. */
#ifndef SIMNIC_OPTIONS_H
#define SIMNIC_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vdpa/base/log.h"

enum uplink_kind {
	UPLINK_NONE,
	UPLINK_LOOP,
	UPLINK_TAP,
	UPLINK_AF_PACKET,
	UPLINK_DEV,
};

/* What functions mark in a log of theirs. */
enum log_kind {
	LOG_NONE,    /* they have none */
	LOG_BUFFERS, /* nothing of rings */
	LOG_ALL,
};

struct options {
	const char *name;
	int listen_fd;		 /* -1: bind @listen_path */
	const char *listen_path;
	const char *test_socket; /* NULL: none */
	enum uplink_kind uplink;
	const char *uplink_text;  /* as given */
	const char *uplink_arg;	  /* interface name or devargs */
	unsigned int threads;
	bool poll;
	bool hugepages;
	enum log_kind dirty_log;
	bool shuffled;		  /* chains come back in any order */
	bool start_initial;	  /* queues begin in fresh rings only */
	bool silent_stop;	  /* a stop does not say where queues stand */
	bool together;		  /* all queues start and stop together */
	unsigned int memory_mb;
	uint64_t flood_limit;	  /* frames a second, 0: none */
	uid_t uid;		  /* (uid_t)-1: stay */
	gid_t gid;
	enum log_level log_level;
};

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE,  /* --help or --version was answered */
	OPTIONS_WRONG, /* said on stderr */
};

/** options_parse() - @ret points into @argv. */
enum options_result options_parse(int argc, char **argv, struct options *ret);

#endif

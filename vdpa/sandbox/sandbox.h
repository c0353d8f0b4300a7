/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a process gives up before it looks at anything that others wrote. The order of the stages
 * is sandbox.c's; a role says how far each goes. docs/threat-model.md says what is left.
 */
#ifndef VDPA_SANDBOX_SANDBOX_H
#define VDPA_SANDBOX_SANDBOX_H

#include <stdint.h>

/* Filters of system calls; policy.c has the calls. */
enum sandbox_filter {
	SANDBOX_FILTER_WORKER, /* what a worker does, and nothing else: the end of the process */
	SANDBOX_FILTER_SHIM, /* inherited by workers of any version: refuses what none will need */
	SANDBOX_N_FILTERS,
};

/**
 * struct sandbox_policy - how much a process keeps.
 * @filter:	  of system calls
 * @capabilities: bit CAP_x: keep it if it is there; all others are dropped, for children too
 * @keep_fd:	  the one descriptor above the standard three that stays open
 * @min_files:	  descriptors this process has to be able to hold; it gets what the limit allows
 */
struct sandbox_policy {
	enum sandbox_filter filter;
	uint64_t capabilities;
	int keep_fd;
	uint64_t min_files;
};

/**
 * sandbox_enter() - give up all that @policy does not keep; there is no way back.
 *
 * Call it with one thread. A build with VDPAD_NO_SECCOMP leaves the filter out and says so.
 *
 * Return: 0; a negative errno, logged with the stage that failed: the process must end.
 */
int sandbox_enter(const struct sandbox_policy *policy);

/**
 * sandbox_keep_capabilities() - drop all capabilities but those of @capabilities, bits CAP_x.
 *
 * None is added. Return: 0 or a negative errno.
 */
int sandbox_keep_capabilities(uint64_t capabilities);

#endif

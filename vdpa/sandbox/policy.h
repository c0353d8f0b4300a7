/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls of each filter, for the program that makes the filters while vdpad is built. */
#ifndef VDPA_SANDBOX_POLICY_H
#define VDPA_SANDBOX_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "vdpa/sandbox/sandbox.h"

/* A call for which the row applies only where argument @arg, masked, is @value. */
struct sandbox_condition {
	int call;
	unsigned int arg;
	uint64_t mask, value;
};

/**
 * struct sandbox_rules - one filter.
 * @name:	  of the array in the generated header
 * @otherwise:	  SCMP_ACT_ of a call that no row has
 * @action:	  SCMP_ACT_ of the rows
 * @calls:	  numbers as libseccomp has them, @n_calls
 * @conditions:	  @n_conditions; rows of the same call are alternatives
 */
struct sandbox_rules {
	const char *name;
	uint32_t otherwise, action;
	const int *calls;
	size_t n_calls;
	const struct sandbox_condition *conditions;
	size_t n_conditions;
};

extern const struct sandbox_rules sandbox_rules[SANDBOX_N_FILTERS];

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has devices, and how several of them look like one. A device is asked for at each backend in
 * turn until one has it; lists are put together. A backend that fails hides no other: what the
 * others have is shown, and then the failure.
 */
#include "tools/vdpa/backend.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "tools/vdpa/daemon.h"

const struct backend *const backends[] = {
	&daemon_backend,
	NULL,
};

int fault_set(struct fault *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return error;
}

/* Others may do what failed so. */
static bool goes_on_after(int error)
{
	return error == -ENOENT || error == -EOPNOTSUPP || error == -ENOTCONN;
}

int backends_ask(const struct backend_options *options, enum operation op, json_t *facts,
	json_t **ret, struct fault *why)
{
	int first = 0;

	for (size_t i = 0; backends[i]; i++) {
		json_auto_t *answer = NULL;
		struct fault fault;
		int r = backends[i]->ask(options, op, facts, &answer, &fault);

		if (r == 0) {
			if (ret)
				*ret = json_incref(answer);
			return 0;
		}
		if (first == 0 || !goes_on_after(r)) {
			first = r;
			*why = fault;
		}
		if (!goes_on_after(r))
			break;
	}
	return first;
}

static int show_all(const struct backend_options *options, enum operation op, json_t *facts,
	json_t *list, struct fault *why)
{
	int first = 0;

	for (size_t i = 0; backends[i]; i++) {
		json_auto_t *answer = NULL;
		struct fault fault;
		int r = backends[i]->ask(options, op, facts, &answer, &fault);

		if (r == 0) {
			json_array_extend(list, answer);
		} else if (first == 0) {
			first = r;
			*why = fault;
		}
	}
	return first;
}

int backends_show(const struct backend_options *options, enum operation op, json_t *facts,
	json_t **ret, struct fault *why)
{
	json_t *list = json_array();
	int r;

	if (json_object_size(facts) == 0) {
		r = show_all(options, op, facts, list, why);
	} else {
		json_auto_t *answer = NULL;

		r = backends_ask(options, op, facts, &answer, why);
		if (r == 0)
			json_array_extend(list, answer);
	}
	*ret = list;
	return r;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A command line of simnic with anything in it, an argument a line. What is accepted can be
 * started. */
#include <getopt.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tools/simnic/options.h"

#define MAX_ARGUMENTS 64

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

/* Text ends at a zero byte, as arguments do. */
static int split(char *text, char **argv)
{
	static char name[] = "simnic";
	int argc = 1;

	argv[0] = name;
	for (char *line = strtok(text, "\n"); line && argc < MAX_ARGUMENTS;
		line = strtok(NULL, "\n"))
		argv[argc++] = line;
	argv[argc] = NULL;
	return argc;
}

static void check(const struct options *o)
{
	must(o->name && o->name[0], "no name");
	must(o->listen_fd >= 0 || o->listen_path, "nowhere to listen");
	must(o->uplink <= UPLINK_DEV && o->uplink_text, "uplink %d", (int)o->uplink);
	must(o->threads > 0 && o->memory_mb > 0, "%u threads, %u MiB", o->threads, o->memory_mb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *nowhere;
	char *text = strndup((const char *)data, size), *argv[MAX_ARGUMENTS + 1];
	FILE *said = stderr, *out = stdout;
	struct options options;
	enum options_result r;
	int argc = split(text, argv);

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	optind = 0; /* getopt(3): begin anew */
	stderr = stdout = nowhere;
	r = options_parse(argc, argv, &options);
	stderr = said;
	stdout = out;
	if (r == OPTIONS_RUN)
		check(&options);
	free(text);
	return 0;
}

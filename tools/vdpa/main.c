/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `vdpa`: options, then the command. Options may stand anywhere on the line, as with iproute2, and
 * the exit status knows just success and failure, as there.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vdpa/command.h"
#include "tools/vdpa/text.h"

#define DEFAULT_SOCKET "/run/vdpad/control.sock"

enum {
	OPTION_SOCKET = 256,
};

static const struct option long_options[] = {
	{ "Version", no_argument, NULL, 'V' },
	{ "json", no_argument, NULL, 'j' },
	{ "pretty", no_argument, NULL, 'p' },
	{ "help", no_argument, NULL, 'h' },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ 0 },
};

/* Return: -1 to go on, else the exit status. */
static int read_options(struct context *ctx, int argc, char **argv)
{
	int option;

	/* iproute2 lets getopt know an 's' that it refuses itself. */
	while ((option = getopt_long(argc, argv, "Vjpsh", long_options, NULL)) >= 0) {
		switch (option) {
		case 'V':
			puts("vdpa utility, vdpad-" VDPAD_VERSION);
			return EXIT_SUCCESS;
		case 'j':
			ctx->json = true;
			break;
		case 'p':
			ctx->form = JSON_FORM_PRETTY;
			break;
		case OPTION_SOCKET:
			ctx->options.socket = optarg;
			break;
		case 'h':
			menu_help(&menu_top);
			return EXIT_SUCCESS;
		default:
			complain("Unknown option.");
			menu_help(&menu_top);
			return EXIT_FAILURE;
		}
	}
	return -1;
}

static const char *default_socket(void)
{
	const char *path = getenv("VDPAD_SOCKET");

	return path && *path ? path : DEFAULT_SOCKET;
}

/* Output that got lost, as on a full disk, is a failure. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	complain("can't write the output: %s", strerror(errno));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct context ctx = { .options.socket = default_socket(), .form = JSON_FORM_COMPACT };
	struct words words;
	int status = read_options(&ctx, argc, argv);

	if (status >= 0)
		return finish(status);
	words = (struct words){ .word = argv + optind, .n = argc - optind };
	status = menu_run(&ctx, &menu_top, &words) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (ctx.json && !ctx.printed)
		putchar('\n');
	return finish(status);
}

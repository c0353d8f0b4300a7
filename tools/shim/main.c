/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpa-shim: keeps what must outlive a device's worker, and the worker alive. It is started by
 * vdpad and goes on without it. It reads nothing that a guest or a front-end wrote.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/shim/shim.h"
#include "vdpa/base/acceptor.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/sandbox/sandbox.h"

static const char usage[] =
	"usage: vdpa-shim --name NAME --listen-fd N [--log-level LEVEL]\n"
	"\n"
	"Keeps the descriptors and the state of one vDPA device while its worker is\n"
	"restarted or upgraded. vdpad starts it; it is of no use by itself.\n"
	"\n"
	"  --name NAME        of the device\n"
	"  --listen-fd N      descriptor of a listening socket (SOCK_SEQPACKET) for vdpad\n"
	"  --log-level LEVEL  error, warning, info or debug\n"
	"  --help             this text\n"
	"  --version          the version\n";

/* Slots, a message's descriptors, and the shim's own. */
#define SHIM_MIN_FILES (SHIM_MAX_SLOTS + SHIM_FDS_A_MESSAGE + 64)

static struct shim shim;

static void serve_worker(struct shim *s)
{
	/* A bounded number, so that a worker that talks all the time leaves room for the rest. */
	for (int i = 0; i < 64 && worker_receive(s) > 0; i++)
		;
}

static void refuse_front_end(struct shim *s)
{
	close_keep_errno(acceptor_take(s->poll_fd[SOURCE_REFUSE], 0));
}

static void (*const receivers[N_SOURCES])(struct shim *s) = {
	[SOURCE_LISTEN] = control_accept,
	[SOURCE_CONTROL] = control_receive,
	[SOURCE_WORKER] = serve_worker,
	[SOURCE_EXIT] = worker_exited,
	[SOURCE_WATCH] = client_watch_event,
	[SOURCE_REFUSE] = refuse_front_end,
};

static int timeout_ms(const struct shim *s)
{
	const uint64_t deadlines[] = { s->worker.upgrade_deadline, s->client.retry_at };
	uint64_t now = clock_now_ns(), next = UINT64_MAX;

	for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
		if (deadlines[i] != 0 && deadlines[i] < next)
			next = deadlines[i];
	}
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now) / NS_PER_MS) + 1;
}

static int serve_once(struct shim *s)
{
	struct pollfd polls[N_SOURCES];
	uint64_t now;

	for (int i = 0; i < N_SOURCES; i++)
		polls[i] = (struct pollfd){ .fd = s->poll_fd[i], .events = POLLIN };
	if (poll(polls, N_SOURCES, timeout_ms(s)) < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < N_SOURCES && !s->stopping; i++) {
		/* An earlier receiver may have closed or replaced it. */
		if (polls[i].revents && polls[i].fd == s->poll_fd[i])
			receivers[i](s);
	}
	now = clock_now_ns();
	worker_check_deadline(s, now);
	client_check_deadline(s, now);
	return 0;
}

/* The device was deleted: nobody may go on serving it. */
static void stop(struct shim *s)
{
	s->stopping = true;
	client_stop(s);
	connection_end(s);
	if (s->worker.pid != 0) {
		worker_kill(s, true);
		worker_exited(s);
	}
}

static int run(struct shim *s, int listener)
{
	int r;

	for (int i = 0; i < N_SOURCES; i++)
		s->poll_fd[i] = -1;
	s->poll_fd[SOURCE_LISTEN] = listener;
	slots_init(s);
	r = slots_make_files(s);
	while (r == 0 && !s->stopping)
		r = serve_once(s);
	stop(s);
	return r;
}

static int parse(int argc, char **argv, int *ret_listener, const char **ret_name)
{
	static const struct option options[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "listen-fd", required_argument, NULL, 'f' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	enum log_level level;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			*ret_name = optarg;
			break;
		case 'f':
			*ret_listener = (int)strtol(optarg, &end, 10);
			if (*end != '\0' || *ret_listener < 0)
				return -EINVAL;
			break;
		case 'l':
			if (log_level_parse(optarg, &level) < 0)
				return -EINVAL;
			log_set_level(level);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("vdpa-shim " VDPAD_VERSION);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	return optind == argc && *ret_listener >= 0 && *ret_name ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	int listener = -1, r;
	const char *name = NULL;
	char ident[64];

	if (parse(argc, argv, &listener, &name) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	snprintf(shim.name, sizeof(shim.name), "%s", name);
	snprintf(ident, sizeof(ident), "vdpa-shim[%.40s]", name);
	log_open(ident);
	signal(SIGPIPE, SIG_IGN);
	setsid();
	r = sandbox_enter(&(struct sandbox_policy){
		.filter = SANDBOX_FILTER_SHIM,
		.capabilities = SHIM_CAPABILITIES | SHIM_CAPABILITIES_CLIENT,
		.keep_fd = listener,
		.min_files = SHIM_MIN_FILES,
	});
	if (r == 0)
		r = run(&shim, listener);
	if (r < 0)
		log_error("ends: %s", strerror(-r));
	return r < 0 ? 1 : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpa-worker: vhost-user on one side, one device on the other, for one virtual machine. Started by
 * vdpa-shim only. It sleeps in epoll_wait(2) until one of four has something to say.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "tools/worker/worker.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/sandbox/sandbox.h"

#define TIMER_SLACK_NS 1000 /* of relays' naps, which are shorter than the usual slack */

static const char usage[] =
	"usage: vdpa-worker --fd N --name NAME\n"
	"\n"
	"Serves one vDPA device to vhost-user front-ends. vdpa-shim starts it, with a\n"
	"connected socket as descriptor N; it is of no use by itself.\n"
	"\n"
	"  --fd N       descriptor of the socket to the shim\n"
	"  --name NAME  of the device, for log lines\n"
	"  --help       this text\n"
	"  --version    the version\n";

/* Zero pages until they are used: most of it is room for the largest device. */
static struct worker worker;

int worker_watch(struct worker *w, int fd, uint32_t events, enum worker_source source)
{
	struct epoll_event event = { .events = events, .data.u32 = source };

	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void worker_commit(struct worker *w)
{
	if (transaction_commit(&w->session.transaction) < 0)
		w->stopping = true;
}

static void (*const receivers[WORKER_N_SOURCES])(struct worker *w) = {
	[WORKER_SOURCE_SHIM] = shim_link_receive,
	[WORKER_SOURCE_DRIVER] = driver_link_receive,
	[WORKER_SOURCE_STANDBY] = driver_link_receive_standby,
	[WORKER_SOURCE_CONNECTION] = connection_receive,
	[WORKER_SOURCE_LISTENER] = connection_accept,
	[WORKER_SOURCE_TRANSFER] = connection_transfer,
	[WORKER_SOURCE_INBAND] = connection_notify,
};

/* Milliseconds to sleep at most; -1: until something comes. */
static int timeout_ms(const struct worker *w)
{
	const uint64_t others[] = { w->accept_again_ns, device_failover_deadline_ns(&w->device) };
	int first = session_timeout_ms(&w->session);

	if (w->more_messages || w->relay_polls)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		int ms = others[i] == 0 ? -1 : clock_ms_until(others[i]);

		if (ms >= 0 && (first < 0 || ms < first))
			first = ms;
	}
	return first;
}

static int wait_for_events(const struct worker *w, struct epoll_event ret[WORKER_N_SOURCES])
{
	const struct timespec nap = { .tv_nsec = RELAY_LINK_NAP_NS };
	struct pollfd any = { .fd = w->epoll, .events = POLLIN };
	int ms = timeout_ms(w);

	if (w->relay_naps && ms != 0) { /* a time that epoll_wait() can't tell */
		if (ppoll(&any, 1, &nap, NULL) < 0 && errno != EINTR)
			return -1;
		ms = 0;
	}
	return epoll_wait(w->epoll, ret, WORKER_N_SOURCES, ms);
}

/*
 * One round. The connection goes before the listener: its end may be what makes room. Relays come last,
 * and in each round, since anything before may have begun one.
 */
static int serve_once(struct worker *w)
{
	struct epoll_event events[WORKER_N_SOURCES];
	bool ready[WORKER_N_SOURCES] = { false };
	int n = wait_for_events(w, events);

	if (n < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < n; i++)
		ready[events[i].data.u32 % WORKER_N_SOURCES] = true;
	if (w->more_messages)
		ready[WORKER_SOURCE_CONNECTION] = true;
	for (int source = 0; source < WORKER_N_SOURCES && !w->stopping; source++) {
		if (ready[source] && receivers[source])
			receivers[source](w);
	}
	driver_link_follow(w);
	relay_link_serve(w);
	connection_check_deadline(w);
	connection_resume_accept(w);
	connection_watch_transfer(w);
	connection_watch_inband(w);
	session_give_notifiers(&w->session);
	report_changes(w);
	return 0;
}

static int run(struct worker *w)
{
	int r;

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		return -errno;
	r = worker_start(w);
	if (r == 0)
		r = worker_watch(w, w->shim, EPOLLIN, WORKER_SOURCE_SHIM);
	if (r < 0)
		return r;
	report_changes(w);
	report_health(w);
	relay_link_serve(w); /* a predecessor's: what came meanwhile wakes nobody */
	shim_link_send(w, SHIM_READY);
	connection_watch_inband(w); /* a predecessor's */
	while (r == 0 && !w->stopping)
		r = serve_once(w);
	return r;
}

static int parse(int argc, char **argv, int *ret_fd, const char **ret_name)
{
	static const struct option options[] = {
		{ "fd", required_argument, NULL, 'f' },
		{ "name", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			*ret_fd = (int)strtol(optarg, &end, 10);
			if (*end != '\0' || *ret_fd < 0)
				return -EINVAL;
			break;
		case 'n':
			*ret_name = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("vdpa-worker " VDPAD_VERSION);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	return optind == argc && *ret_fd >= 0 && *ret_name ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	const char *name = NULL;
	char ident[64];
	int r;

	worker.shim = -1;
	if (parse(argc, argv, &worker.shim, &name) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	snprintf(ident, sizeof(ident), "vdpa-worker[%.40s]", name);
	log_open(ident);
	signal(SIGPIPE, SIG_IGN); /* a front-end may close the other end of what it gave us */
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
	/* All that is opened, the shim opened: nothing is needed before, and the page is hostile. */
	r = sandbox_enter(&(struct sandbox_policy){
		.filter = SANDBOX_FILTER_WORKER,
		.keep_fd = worker.shim,
	});
	if (r == 0)
		r = run(&worker);
	if (r < 0)
		log_error("ends: %s", strerror(-r));
	return r < 0 ? 1 : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpad, the supervisor of vDPA devices. See docs/ARCHITECTURE.md.
 *
 * Start: command line and configuration; folders and their locks, so that there is one vdpad for
 * them; the control socket; what STATE knows; then NICs and devices are found or started. The end
 * leaves everything that serves a device running: the next vdpad finds it. A simnic that serves none
 * is ended.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/folders.h"
#include "tools/vdpad/nic.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/strangers.h"
#include "tools/vdpad/uids.h"
#include "tools/vdpad/vdpad.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define EXIT_USAGE 2

static const char usage[] =
	"usage: vdpad [OPTION]...\n"
	"Give virtual machines virtio-net devices that SmartNICs serve. Runs in the foreground.\n"
	"\n"
	"  --config FILE     configuration, see vdpad.conf(5); without one, a software SmartNIC\n"
	"                    called sim/nic0 is started\n"
	"  --run-dir DIR     sockets (default /run/vdpad)\n"
	"  --state-dir DIR   what has to outlive a restart of the host (default /var/lib/vdpad)\n"
	"  --check-config    read the configuration, say what is wrong with it, and end\n"
	"  --log-level LEVEL error, warning, info (default) or debug; goes before the configuration's\n"
	"  --libexec-dir DIR where vdpa-shim, vdpa-worker and simnic are\n"
	"  --help            this text\n"
	"  --version         the version\n"
	"\n"
	"Devices are made with vdpa(8). They, and the virtual machines that use them, go on when\n"
	"vdpad ends or is killed; the next one finds them.\n";

struct options {
	const char *config, *run_dir, *state_dir, *libexec_dir;
	bool check_config, level_given;
	enum log_level level;
};

static struct control *control;

enum parsed { PARSED_RUN, PARSED_DONE, PARSED_WRONG };

static enum parsed parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ "state-dir", required_argument, NULL, 's' },
		{ "check-config", no_argument, NULL, 'k' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "libexec-dir", required_argument, NULL, 'x' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'r':
			o->run_dir = optarg;
			break;
		case 's':
			o->state_dir = optarg;
			break;
		case 'k':
			o->check_config = true;
			break;
		case 'l':
			o->level_given = true;
			if (log_level_parse(optarg, &o->level) == 0)
				break;
			fprintf(stderr, "vdpad: --log-level %s: error, warning, info or debug is possible\n",
				optarg);
			return PARSED_WRONG;
		case 'x':
			o->libexec_dir = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return PARSED_DONE;
		case 'V':
			puts("vdpad " VDPAD_VERSION);
			return PARSED_DONE;
		default:
			fputs("vdpad: see --help\n", stderr);
			return PARSED_WRONG;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vdpad: \"%s\" is not understood; see --help\n", argv[optind]);
		return PARSED_WRONG;
	}
	return PARSED_RUN;
}

/* -------------------------------------------------------------------------- start */

static int find_programs(struct vdpad *v, const struct options *o)
{
	for (int i = 0; i < N_PROGRAMS; i++) {
		int r = program_find((enum program)i, o->libexec_dir, v->programs[i]);

		if (r < 0) {
			log_error("%s is not there or can't be run; --libexec-dir names its folder",
				v->programs[i]);
			return r;
		}
	}
	return 0;
}

static int open_uids(struct vdpad *v)
{
	char path[VDPAD_PATH_SIZE];
	struct failure why;
	int r;

	if (geteuid() != 0) {
		log_warning("not root: workers run as the same user as vdpad, and are not kept apart");
		return 0;
	}
	snprintf(path, sizeof(path), "%s/uids.json", v->state_dir);
	r = uids_open(path, v->config.uid_first, v->config.uid_last, &v->uids, &why);
	if (r < 0)
		log_error("%s", why.text);
	return r;
}

/* It listens from now on, but lets nobody in before vdpad is ready. */
static int open_control(struct vdpad *v)
{
	struct failure why;
	int r = control_open(v, &control, &why);

	if (r < 0) {
		log_error("%s", why.text);
		return r;
	}
	v->events = control_broadcast;
	v->events_arg = control;
	return 0;
}

static void on_ready(struct vdpad *v)
{
	control_serve(control);
	sd_notify(0, "READY=1");
	log_info("ready");
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	struct vdpad *v = arg;

	log_info("ending; devices go on");
	return sd_event_exit(v->event, 0);
}

static int open_event(struct vdpad *v)
{
	static const int ending[] = { SIGTERM, SIGINT };
	sigset_t set;
	int r;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		sigaddset(&set, ending[i]);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
		signal(SIGHUP, SIG_IGN) == SIG_ERR)
		return -errno;
	r = sd_event_default(&v->event);
	for (size_t i = 0; i < ARRAY_SIZE(ending) && r >= 0; i++)
		r = sd_event_add_signal(v->event, NULL, ending[i], on_signal, v);
	if (r >= 0)
		r = sd_event_set_watchdog(v->event, true);
	return r < 0 ? r : 0;
}

static const struct nic_watcher watcher = {
	.up = devices_nic_up,
	.down = devices_nic_down,
};

static int begin_all(struct vdpad *v)
{
	struct device *dev;
	struct nic *nic;
	int r;

	for (unsigned int i = 0; i < v->config.n_nics; i++) {
		r = nic_new(v, &v->config.nics[i], &watcher, &nic);
		if (r < 0)
			return r;
	}
	r = devices_load(v);
	if (r == 0)
		r = ready_begin(v, on_ready);
	if (r < 0)
		return r;
	strangers_remove_shims(v);
	strangers_remove_sockets(v);
	strangers_remove_uids(v);
	pci_return_strangers(v);
	TAILQ_FOREACH(nic, &v->nics, link)
		nic_begin(nic);
	TAILQ_FOREACH(dev, &v->devices, link)
		device_begin(dev);
	ready_check(v);
	return 0;
}

/* Each device costs a few descriptors here, and each shim wants many. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int start(struct vdpad *v, const struct options *o)
{
	int r;

	raise_limits();
	r = find_programs(v, o);
	if (r == 0)
		r = folders_prepare(v, o->run_dir, o->state_dir);
	if (r == 0)
		r = open_uids(v);
	if (r == 0)
		r = open_event(v);
	if (r == 0)
		r = open_control(v);
	if (r == 0)
		r = begin_all(v);
	if (r < 0)
		log_error("can't start: %s", strerror(-r));
	return r;
}

static void end_idle_nics(struct vdpad *v)
{
	struct nic *nic;

	TAILQ_FOREACH(nic, &v->nics, link) {
		if (!devices_use(nic))
			nic_end(nic);
	}
}

/* -------------------------------------------------------------------- configuration */

static int read_config(const struct options *o, struct config *ret)
{
	char why[CONFIG_WHY_SIZE];
	int r;

	config_default(ret);
	if (!o->config)
		return 0;
	r = config_read(o->config, ret, why);
	if (r < 0)
		fprintf(stderr, "vdpad: %s\n", why);
	return r;
}

int main(int argc, char **argv)
{
	static struct vdpad v;
	struct options o = { .run_dir = "/run/vdpad", .state_dir = "/var/lib/vdpad" };
	int r;

	switch (parse(argc, argv, &o)) {
	case PARSED_DONE:
		return EXIT_SUCCESS;
	case PARSED_WRONG:
		return EXIT_USAGE;
	case PARSED_RUN:
		break;
	}
	if (read_config(&o, &v.config) < 0)
		return EXIT_USAGE;
	if (o.check_config) {
		printf("%s is right: %u management device%s\n", o.config ? o.config : "no configuration",
			v.config.n_nics, v.config.n_nics == 1 ? "" : "s");
		return EXIT_SUCCESS;
	}
	log_open("vdpad");
	if (o.level_given)
		v.config.log_level = o.level;
	log_set_level(v.config.log_level);
	v.started_ns = clock_now_ns();
	TAILQ_INIT(&v.nics);
	TAILQ_INIT(&v.devices);
	SLIST_INIT(&v.skipped);
	SLIST_INIT(&v.returning);
	log_info("version " VDPAD_VERSION " starts");
	r = start(&v, &o);
	if (r == 0)
		r = sd_event_loop(v.event);
	sd_notify(0, "STOPPING=1");
	v.events = NULL;
	control_close(control);
	end_idle_nics(&v);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

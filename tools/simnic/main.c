/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simnic, a SmartNIC in software. See docs/simnic.md for what it does and drivers/sim/mailbox.h for
 * its interface.
 *
 * Order of the start: command line; sockets; DPDK and the uplink, which may need privileges; giving
 * these up; data threads; the filter of system calls; then the control loop until a signal ends it.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/simnic/admin.h"
#include "tools/simnic/control.h"
#include "tools/simnic/eal.h"
#include "tools/simnic/function.h"
#include "tools/simnic/mailbox.h"
#include "tools/simnic/memory.h"
#include "tools/simnic/misbehave.h"
#include "tools/simnic/port.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/queues.h"
#include "tools/simnic/sandbox.h"
#include "tools/simnic/thread.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* The queues that data threads gave up since the last look. */
static void report_queues(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		uint64_t bit = BIT_ULL(i % 64);

		if (!(atomic_fetch_and(&f->faulty[i / 64], ~bit) & bit))
			continue;
		nic_pause(f->nic);
		function_rescan(f);
		nic_resume(f->nic);
		if (f->queues[i].fault)
			log_warning("function %s: queue %u stopped: %s", f->identity.name, i,
				f->queues[i].fault);
		mailbox_event(f, SIM_EVENT_QUEUE_ERROR, i);
	}
}

static void report_misses(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		uint64_t bit = BIT_ULL(i % 64);

		if (atomic_fetch_and(&f->waiting_queues[i / 64], ~bit) & bit)
			mailbox_event(f, SIM_EVENT_MISS, i);
	}
}

static void report_memory(struct function *f)
{
	if (!f->memory_lost || f->failed_said)
		return;
	f->failed_said = true;
	log_warning("function %s failed: its memory file became shorter; reset it", f->identity.name);
	f->regs->status = SIM_FUNCTION_FAILED;
	mailbox_event(f, SIM_EVENT_FUNCTION_FAILED, 0);
}

static void on_attention(struct source *source)
{
	struct nic *nic = (struct nic *)((char *)source - offsetof(struct nic, attention));
	uint64_t value;

	if (read(source->fd, &value, sizeof(value)) < 0)
		return;
	for (uint32_t i = 0; i < nic->n_slots; i++) {
		struct function *f = nic->functions[i];

		if (!f || !atomic_exchange(&f->faulty_any, false))
			continue;
		report_queues(f);
		report_misses(f);
		report_memory(f);
	}
}

static void on_signal(struct source *source)
{
	struct nic *nic = (struct nic *)((char *)source - offsetof(struct nic, signals));

	nic->loop.stop = true;
}

static int watch_signals(struct nic *nic)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : loop_add(&nic->loop, &nic->signals, fd, on_signal);
}

static int open_sockets(struct nic *nic)
{
	const struct options *o = &nic->options;
	int fd = o->listen_fd >= 0 ? o->listen_fd : listen_at(o->listen_path);
	int attention, r;

	if (fd < 0) {
		log_error("%s: %s", o->listen_path, strerror(-fd));
		return fd;
	}
	r = admin_open(nic, fd);
	if (r < 0) {
		log_error("admin socket: %s", strerror(-r));
		return r;
	}
	attention = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (attention < 0)
		return -errno;
	r = loop_add(&nic->loop, &nic->attention, attention, on_attention);
	if (r == 0 && o->test_socket)
		r = misbehave_open(nic, o->test_socket);
	return r;
}

static int start_threads(struct nic *nic)
{
	int r;

	r = thread_create(nic, UINT32_MAX, &nic->own);
	for (unsigned int i = 0; i < nic->options.threads && r == 0; i++) {
		r = thread_create(nic, i, &nic->threads[i]);
		if (r == 0)
			nic->n_threads++;
	}
	for (unsigned int i = 0; i < nic->n_threads && r == 0; i++)
		r = thread_start(nic->threads[i]);
	return r;
}

static int open_signaller(struct nic *nic)
{
	int r = signaller_open(&nic->signaller);

	if (r < 0)
		log_error("guests can't be signalled: no asynchronous requests: %s", strerror(-r));
	return r;
}

/* As the user that we are now, who may do less than the one who started us. */
static void find_page_faults(struct nic *nic)
{
	int r = postcopy_possible();

	nic->page_faults = r == 0;
	if (r < 0)
		log_warning("no postcopy: the kernel gives no userfaultfd: %s", strerror(-r));
}

static int start(struct nic *nic)
{
	int r;

	r = loop_init(&nic->loop);
	if (r == 0)
		r = watch_signals(nic);
	if (r == 0)
		r = open_sockets(nic);
	if (r == 0)
		r = eal_start(&nic->options, &nic->pool);
	if (r == 0)
		r = port_open(&nic->options, nic->pool, &nic->uplink);
	if (r == 0)
		r = memory_watch(nic);
	if (r == 0)
		r = sandbox_drop(&nic->options);
	if (r == 0)
		r = open_signaller(nic);
	if (r == 0)
		find_page_faults(nic);
	if (r == 0)
		r = start_threads(nic);
	if (r == 0)
		r = control_open(nic);
	if (r == 0)
		r = sandbox_filter(&nic->options, nic->page_faults);
	return r;
}

static void stop(struct nic *nic)
{
	admin_close();
	for (uint32_t i = 0; i < nic->n_slots; i++) {
		if (nic->functions[i])
			function_free(nic->functions[i]);
	}
	control_close(nic);
	for (unsigned int i = 0; i < nic->n_threads; i++)
		thread_free(nic->threads[i]);
	thread_free(nic->own);
	signaller_close(&nic->signaller);
	port_close(nic->uplink);
}

int main(int argc, char **argv)
{
	static struct nic nic; /* a MAC table is too large for the stack */
	char ident[SIM_NAME_SIZE + 16];
	int r;

	switch (options_parse(argc, argv, &nic.options)) {
	case OPTIONS_DONE:
		return EXIT_SUCCESS;
	case OPTIONS_WRONG:
		return 2;
	case OPTIONS_RUN:
		break;
	}
	snprintf(ident, sizeof(ident), "simnic[%s]", nic.options.name);
	log_open(ident);
	log_set_level(nic.options.log_level);
	nic.owner = getuid();
	nic.attention.fd = nic.test_listener.fd = nic.control_timer.fd = -1;

	r = start(&nic);
	if (r < 0) {
		log_error("can't start: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	log_info("uplink %s, %u data threads", nic.options.uplink_text, nic.n_threads);
	r = loop_run(&nic.loop);
	stop(&nic);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

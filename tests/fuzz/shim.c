/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A shim between vdpad, which asks for what it may, and a worker that says anything with any
 * descriptors, dies, or does not read. No process is started: a worker is a socket and an eventfd,
 * and the linker puts functions of this file in the place of those that would start, end or wait
 * for one (--wrap).
 *
 * What has to hold: a worker reaches its own slots and the connection's, no others; vdpad gets
 * well-formed messages, answers to what it asked, and not too many events; each descriptor is
 * somebody's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/clock.h"
#include "tests/fuzz/files.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tests/fuzz/stand.h"
#include "tools/shim/shim.h"
#include "vdpa/base/acceptor.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

#define MAX_STEPS  150
#define MAX_ASKED  512
#define WORKER_PID 77

enum op {
	OP_SAY, /* the worker says something that it may */
	OP_SAY_TOO,
	OP_SAY_ANY, /* or anything */
	OP_DIE,
	OP_ASK, /* vdpad asks */
	OP_ASK_TOO,
	OP_LEAVE, /* vdpad ends, and another one comes */
	OP_TIME,
	OP_DEAF, /* the worker does not read any more, or does again */
	OP_FAIL, /* the next worker can't be started */
	OP_N
};

static struct shim shim;
static int listener = -1, vdpad = -1;
static int worker = -1, worker_exit = -1; /* the worker's ends; -1: there is none */
static bool deaf, start_fails;
static uint32_t asked; /* requests of vdpad so far, which are their numbers */
static uint8_t answered[MAX_ASKED];
static uint32_t n_events;        /* since time passed */
static int mine[SHIM_SLOT_FREE]; /* slots that are none of the worker's */

/* ------------------------------------------------------------------ what the linker puts in */

int __wrap_sandbox_keep_capabilities(uint64_t keep);
int __wrap_kill(pid_t pid, int number);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *ret, int options);

/* This process needs its own for the next input. */
int __wrap_sandbox_keep_capabilities(uint64_t keep)
{
	must(keep == SHIM_CAPABILITIES, "capabilities %#lx are kept", keep);
	return 0;
}

static void end_worker(void)
{
	const uint64_t one = 1;

	worker = close_keep_errno(worker);
	if (worker_exit >= 0)
		(void)!write(worker_exit, &one, sizeof(one));
	worker_exit = close_keep_errno(worker_exit);
}

int __wrap_kill(pid_t pid, int number)
{
	must(pid == WORKER_PID && number == SIGKILL, "signal %d to process %d", number, pid);
	end_worker();
	return 0;
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *ret, int options)
{
	must(type == P_PID && id == WORKER_PID, "process %u is waited for", id);
	must(worker_exit < 0, "a worker that lives is waited for");
	ret->si_code = CLD_KILLED;
	ret->si_status = SIGKILL;
	return 0;
}

/* In the place of tools/shim/spawn.c. */
pid_t spawn_worker(
	const char *path, const char *name, uid_t uid, gid_t gid, int *ret_sock, int *ret_pidfd)
{
	int ends[2];

	must(worker < 0, "a second worker is started");
	if (start_fails) {
		start_fails = false;
		return -ENOENT;
	}
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
		"socketpair: %s", strerror(errno));
	*ret_sock = ends[0];
	worker = ends[1];
	*ret_pidfd = eventfd(0, EFD_CLOEXEC);
	worker_exit = dup(*ret_pidfd);
	deaf = false;
	return WORKER_PID;
}

/* --------------------------------------------------------------------------------- checks */

static void check_slots(void)
{
	for (uint32_t i = 0; i < SHIM_SLOT_FREE; i++) {
		if (i != SHIM_SLOT_CONN)
			must(shim.slots[i] == mine[i], "the worker changed slot %u", i);
	}
}

static void note_slots(void)
{
	memcpy(mine, shim.slots, sizeof(mine));
}

static void check_fds(size_t n_base)
{
	size_t n = n_base, have = files_open_fds();

	for (uint32_t i = 0; i < SHIM_MAX_SLOTS; i++)
		n += shim.slots[i] >= 0;
	for (int i = 0; i < N_SOURCES; i++)
		n += i != SOURCE_REFUSE && shim.poll_fd[i] >= 0; /* that one is in a slot */
	n += (size_t)(shim.health_readonly >= 0) + (size_t)(vdpad >= 0) + (size_t)(worker >= 0) +
	     (size_t)(worker_exit >= 0);
	must(have == n, "%zu descriptors are open, %zu are somebody's", have, n);
}

static void check_message(const struct shim_message *m, size_t n)
{
	const struct shim_header *h = &m->header;

	must(n == sizeof(*h) + h->size, "vdpad gets a message of %zu bytes that says %u", n,
		h->size);
	must(h->kind == SHIM_REPLY || h->kind == SHIM_EVENT, "vdpad gets a message of kind %u",
		h->kind);
	if (h->kind == SHIM_EVENT) {
		const struct shim_event *e = &m->payload.event;

		must(h->seq == 0 && h->size == sizeof(*e) && memchr(e->text, '\0', sizeof(e->text)),
			"vdpad gets an event that has no form");
		n_events += e->kind < SHIM_EVENT_WORKER_DIED;
		must(n_events <= 2 * SHIM_MAX_EVENTS, "vdpad gets %u events in a second", n_events);
		return;
	}
	must(h->seq > 0 && h->seq <= asked, "vdpad gets an answer to request %u of %u", h->seq,
		asked);
	must(h->status <= 0, "vdpad gets an answer of %d", h->status);
	must(!answered[h->seq % MAX_ASKED], "request %u is answered twice", h->seq);
	answered[h->seq % MAX_ASKED] = 1;
}

static void read_all(int fd, bool is_vdpad)
{
	struct shim_message m;
	int fds[SHIM_FDS_A_MESSAGE];
	size_t n_fds;
	ssize_t n;

	while (fd >= 0 && (n = fdmsg_recv(fd, &m, sizeof(m), fds, ARRAY_SIZE(fds), &n_fds,
				   MSG_DONTWAIT)) > 0) {
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		if (is_vdpad)
			check_message(&m, (size_t)n);
	}
}

/* ---------------------------------------------------------------------------------- loop */

/* As tools/shim/main.c serves, until nothing happens any more. */
static void serve(void)
{
	for (int i = 0; i < 40; i++) {
		int source, taken = 0;

		for (source = 0; source < N_SOURCES && !shim.stopping; source++) {
			struct timeval none = { 0 };
			fd_set set;
			int fd = shim.poll_fd[source];

			if (fd < 0 || fd >= FD_SETSIZE)
				continue;
			FD_ZERO(&set);
			FD_SET(fd, &set);
			if (select(fd + 1, &set, NULL, NULL, &none) <= 0)
				continue;
			taken++;
			switch (source) {
			case SOURCE_LISTEN:
				control_accept(&shim);
				break;
			case SOURCE_CONTROL:
				control_receive(&shim);
				note_slots();
				break;
			case SOURCE_WORKER:
				for (int k = 0; k < 64 && worker_receive(&shim) > 0; k++)
					;
				check_slots();
				break;
			case SOURCE_EXIT:
				worker_exited(&shim);
				check_slots();
				break;
			case SOURCE_WATCH:
				client_watch_event(&shim);
				break;
			default:
				close_keep_errno(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
			}
		}
		worker_check_deadline(&shim, clock_now_ns());
		client_check_deadline(&shim, clock_now_ns());
		read_all(vdpad, true);
		if (!deaf)
			read_all(worker, false);
		if (taken == 0)
			break;
	}
}

/* --------------------------------------------------------------------------------- worker */

static void say(struct input *in, bool any)
{
	static const uint32_t kinds[] = { SHIM_STORE, SHIM_DROP, SHIM_READY, SHIM_DISCONNECTED,
		SHIM_WORKER_EVENT, SHIM_REPLY };
	static const uint32_t sizes[] = { sizeof(struct shim_slots), sizeof(struct shim_slots), 0,
		0, sizeof(struct shim_event), 0 };
	uint8_t which = input_byte(in) % ARRAY_SIZE(kinds), n = input_byte(in),
		first = input_byte(in);
	struct shim_message m = { .header = { .kind = kinds[which], .size = sizes[which] } };
	int fds[SHIM_FDS_A_MESSAGE];
	size_t n_fds = which == 0 ? n % (SHIM_FDS_A_MESSAGE + 1) : 0, size;

	if (worker < 0)
		return;
	if (sizes[which] == sizeof(struct shim_slots)) {
		m.payload.slots.n = n % (SHIM_FDS_A_MESSAGE + 1);
		for (uint32_t i = 0; i < SHIM_FDS_A_MESSAGE; i++)
			m.payload.slots.slot[i] = first < 200   ? SHIM_SLOT_FREE + first + i
						  : first < 250 ? first % 12U
								: SHIM_SLOT_CONN;
	} else if (sizes[which] > 0) {
		m.payload.event.kind = SHIM_EVENT_CONNECTED + n % 13;
	} else {
		m.header.seq = n;
		m.header.status = -(int)(first % 2);
	}
	if (any) {
		uint8_t *bytes = (uint8_t *)&m;

		for (int i = input_byte(in) % 8; i > 0; i--)
			bytes[input_word(in, 2) % sizeof(m)] = input_byte(in);
		n_fds = input_byte(in) % (SHIM_FDS_A_MESSAGE + 1);
	}
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = files_fd((enum file_kind)((first + i) % FILE_N_KINDS));
	size = sizeof(m.header) + sizes[which] + (any ? (size_t)(int8_t)input_byte(in) : 0);
	for (int i = kinds[which] == SHIM_WORKER_EVENT && first > 128 ? 60 : 1; i > 0; i--)
		fdmsg_send(
			worker, &m, size > 0 && size <= sizeof(m) ? size : sizeof(m), fds, n_fds);
}

/* ---------------------------------------------------------------------------------- vdpad */

static void connect_vdpad(void)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);

	vdpad = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	must(getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
			connect(vdpad, (struct sockaddr *)&address, size) == 0,
		"the shim's socket: %s", strerror(errno));
	serve();
}

static void fill_spec(struct shim_spec *spec, uint8_t how)
{
	*spec = (struct shim_spec){ .name = "a",
		.driver = "sim",
		.socket_path = "/nowhere/a.sock",
		.worker_path = "/worker",
		.flags = how & 1 ? SHIM_SPEC_CLIENT : 0,
		.log_level = (uint32_t)log_get_level(),
		.features = UINT64_MAX };
	if (how & 2)
		spec->worker_path[1] = 'x';
}

static void ask(struct input *in)
{
	static const uint32_t kinds[] = { SHIM_HELLO, SHIM_CONFIGURE, SHIM_DEVICE_FDS, SHIM_STANDBY_FDS,
		SHIM_SET_SPEC, SHIM_UPGRADE, SHIM_REFRESH, SHIM_DUMP };
	uint8_t which = input_byte(in) % ARRAY_SIZE(kinds), how = input_byte(in);
	struct shim_message m = { .header = { .kind = kinds[which], .seq = asked + 1 } };
	const int fds[] = { files_fd(FILE_SOCKET), files_fd(FILE_EVENT), files_fd(FILE_REGULAR) };
	size_t n_fds = 0;

	if (asked + 1 == MAX_ASKED)
		return;
	asked++;
	if (which == 1 || which == 3 || which == 4) {
		fill_spec(&m.payload.spec, how);
		m.header.size = which == 4 ? 0 : sizeof(m.payload.spec);
		n_fds = which != 1 ? 0 : how & 1 ? 1 : 2;
	} else if (which == 2 || which == 6) {
		n_fds = 1;
	}
	fdmsg_send(vdpad, &m, sizeof(m.header) + m.header.size, fds, how > 240 ? how % 4 : n_fds);
}

/* --------------------------------------------------------------------------------- inputs */

static void do_step(struct input *in)
{
	switch (input_byte(in) % OP_N) {
	case OP_SAY:
	case OP_SAY_TOO:
		say(in, false);
		break;
	case OP_SAY_ANY:
		say(in, true);
		break;
	case OP_DIE:
		end_worker();
		break;
	case OP_ASK:
	case OP_ASK_TOO:
		ask(in);
		break;
	case OP_LEAVE:
		vdpad = close_keep_errno(vdpad);
		serve();
		connect_vdpad();
		break;
	case OP_TIME:
		fuzz_clock_advance(input_byte(in) * 100 * NS_PER_MS);
		n_events = 0;
		break;
	case OP_DEAF:
		deaf = !deaf;
		break;
	default:
		start_fails = true;
	}
}

static void begin(void)
{
	memset(&shim, 0, sizeof(shim));
	memset(answered, 0, sizeof(answered));
	asked = n_events = 0;
	deaf = start_fails = false;
	shim.health_readonly = -1;
	snprintf(shim.name, sizeof(shim.name), "a");
	for (int i = 0; i < N_SOURCES; i++)
		shim.poll_fd[i] = -1;
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(bind(listener, &(struct sockaddr){ .sa_family = AF_UNIX }, sizeof(sa_family_t)) == 0 &&
			listen(listener, 4) == 0,
		"a socket: %s", strerror(errno));
	shim.poll_fd[SOURCE_LISTEN] = listener;
	slots_init(&shim);
	must(slots_make_files(&shim) == 0, "no page");
	note_slots();
	connect_vdpad();
}

static void end(void)
{
	shim.stopping = true;
	client_stop(&shim);
	connection_end(&shim);
	if (shim.worker.pid != 0) {
		worker_kill(&shim, true);
		worker_exited(&shim);
	}
	check_slots();
	shim.poll_fd[SOURCE_REFUSE] = -1;
	for (int i = 0; i < N_SOURCES; i++)
		shim.poll_fd[i] = close_keep_errno(shim.poll_fd[i]);
	for (uint32_t i = 0; i < SHIM_MAX_SLOTS; i++)
		slot_drop(&shim, i);
	shim.health_readonly = close_keep_errno(shim.health_readonly);
	vdpad = close_keep_errno(vdpad);
	end_worker();
}

/* The one that acceptor_take() keeps for the process's life. */
static void open_reserve(void)
{
	_cleanup_close_ int any = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	must(acceptor_take(any, 0) < 0, "somebody came to a socket that does not listen");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	signal(SIGPIPE, SIG_IGN);
	open_reserve();
	log_set_level(getenv("FUZZ_SHOW") ? LOG_LEVEL_DEBUG : (enum log_level)0);
	files_open();
	files_open_fds(); /* opens one itself */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t n_base = files_open_fds();

	fuzz_clock_begin();
	files_begin();
	begin();
	for (int i = 0; i < MAX_STEPS && in.size > 0 && !shim.stopping; i++) {
		do_step(&in);
		serve();
		if (i % 8 == 7)
			check_fds(n_base);
	}
	check_fds(n_base);
	end();
	check_fds(n_base);
	fuzz_clock_end();
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpad's control socket, with the real table of methods behind it, a simnic and shims whose ends
 * of their channels are played here. An input is text: a line is what a client sends, and one that
 * begins with a control character is something else that happens (see enum op). A peer that nothing
 * was said of answers every request as it should.
 *
 * No process is started and none is ended, and no socket is made outside of a folder of our own:
 * the linker puts functions of this file in the place of those that would (--wrap).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/folders.h"
#include "tools/vdpad/listener.h"
#include "tools/vdpad/nic.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"
#include "vdpa/base/memfile.h"

#define MAX_SHIMS  4
#define MAX_LINES  64
#define MAX_ROUNDS 60

enum op {
	OP_PART = 1,    /* the rest of the line without its end */
	OP_READER,      /* the next client may only look */
	OP_CLOSE,       /* the client leaves */
	OP_NO_MORE,     /* it sends nothing more */
	OP_ANSWER,      /* simnic, or a shim, answers the next request badly: bytes say how */
	OP_SILENT,      /* the next request is not answered */
	OP_EVENT,       /* a shim says something by itself: the rest of the line */
	OP_HANG_UP,     /* a shim, or simnic, closes its channel */
	OP_HEALTH = 11, /* bytes of the health block */
	OP_SHIM_FAILS,  /* the next shim can't be started */
};

struct peer {
	int listener, fd; /* -1: none */
};

static struct vdpad vdpad;
static struct control *control;
static struct peer nic_peer, shims[MAX_SHIMS];
static int client = -1, health = -1;
static uint8_t *health_bytes;
static char folder[64];    /* in memory: STATE is written again and again */
static const uint8_t *bad; /* how the next answer is to be bad; NULL: it is not */
static size_t bad_size;
static bool silent, shim_fails;

/* ------------------------------------------------------------------ what the linker puts in */

int __wrap_process_start(char *const argv[], int fd);
int __wrap_sd_event_add_child(sd_event *e, sd_event_source **ret, pid_t pid, int options,
	sd_event_child_handler_t handler, void *arg);
int __wrap_pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned int flags);
int __wrap_kill(pid_t pid, int number);
int __real_listener_make(const char *path, int type, mode_t mode, gid_t gid, struct failure *why);
int __wrap_listener_make(const char *path, int type, mode_t mode, gid_t gid, struct failure *why);
void __real_listener_remove(const char *path);
void __wrap_listener_remove(const char *path);

/* A shim: who holds its listening socket is played below. Its process is this one. */
int __wrap_process_start(char *const argv[], int fd)
{
	if (strcmp(argv[0], vdpad.programs[PROGRAM_SHIM]) != 0)
		return -ENOENT; /* one simnic is enough */
	for (int i = 0; i < MAX_SHIMS && !shim_fails; i++) {
		if (shims[i].listener >= 0 || shims[i].fd >= 0)
			continue;
		shims[i].listener = dup(fd);
		return getpid();
	}
	shim_fails = false;
	return -ENOENT;
}

int __wrap_sd_event_add_child(sd_event *e, sd_event_source **ret, pid_t pid, int options,
	sd_event_child_handler_t handler, void *arg)
{
	return -ECHILD;
}

int __wrap_pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned int flags)
{
	return 0;
}

int __wrap_kill(pid_t pid, int number)
{
	return 0;
}

static bool is_ours(const char *path)
{
	return strncmp(path, folder, strlen(folder)) == 0 && !strstr(path, "..");
}

int __wrap_listener_make(const char *path, int type, mode_t mode, gid_t gid, struct failure *why)
{
	if (!is_ours(path))
		return failure_set(why, FAILURE_UNAVAILABLE, "%s: not in a test", path);
	return __real_listener_make(path, type, mode, gid, why);
}

void __wrap_listener_remove(const char *path)
{
	if (is_ours(path))
		__real_listener_remove(path);
}

/* --------------------------------------------------------------------------------- peers */

static void drop_peer(struct peer *p)
{
	p->fd = close_keep_errno(p->fd);
	p->listener = close_keep_errno(p->listener);
}

static size_t fill_nic_answer(
	uint32_t command, union sim_payload *ret, int *ret_status, int *ret_fd)
{
	switch (command) {
	case SIM_ADMIN_INFO:
		ret->info = (struct sim_nic_info){ .version = SIM_INTERFACE_VERSION,
			.max_pairs = 64,
			.max_queue_size = 1024,
			.features = 0x130fffffffULL,
			.pid = (uint32_t)getpid(),
			.uplink_name = "none" };
		return sizeof(ret->info);
	case SIM_ADMIN_LIST:
		*ret_status = -ENOENT;
		return 0;
	case SIM_ADMIN_ADD:
	case SIM_ADMIN_ATTACH:
		*ret_fd = eventfd(0, EFD_CLOEXEC);
		return 0;
	default:
		return 0;
	}
}

static size_t fill_shim_answer(uint32_t kind, union shim_payload *ret, int *ret_fd)
{
	static struct shim_spec spec; /* as the last one was told */

	if (kind == SHIM_CONFIGURE || kind == SHIM_SET_SPEC)
		spec = ret->spec;
	if (kind != SHIM_HELLO)
		return 0;
	ret->status = (struct shim_status){ .version = SHIM_WIRE_VERSION,
		.state = SHIM_WORKING,
		.pid = getpid(),
		.worker_pid = 1,
		.spec = spec };
	*ret_fd = dup(health);
	return sizeof(ret->status);
}

/* Bytes of the input over the answer: where, and what; the first says whether a descriptor comes.
 */
static void spoil(uint8_t *message, size_t *size, int *fd)
{
	if (bad_size > 0 && bad[0] & 1) {
		close_keep_errno(*fd);
		*fd = bad[0] & 2 ? eventfd(0, EFD_CLOEXEC) : -1;
	}
	if (bad_size > 1 && bad[0] & 4)
		*size = *size * bad[1] / 64;
	for (size_t i = 2; i + 1 < bad_size; i += 2)
		message[bad[i]] = bad[i + 1];
	bad = NULL;
}

/* Return: whether there was a request. */
static bool answer_one(struct peer *p, bool is_nic)
{
	union {
		struct channel_header header;
		struct sim_message sim;
		struct shim_message shim;
		uint8_t bytes[4096];
	} m = { 0 };
	int fds[4], fd = -1;
	size_t n_fds = 0, size;
	bool ends;
	ssize_t n;

	if (p->fd < 0 && p->listener >= 0)
		p->fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (p->fd < 0)
		return false;
	n = fdmsg_recv(p->fd, &m, sizeof(m), fds, ARRAY_SIZE(fds), &n_fds, MSG_DONTWAIT);
	if (n == 0)
		p->fd = close_keep_errno(p->fd);
	if (n <= 0)
		return false;
	must(m.header.seq != 0 && m.header.status == 0 &&
			n == (ssize_t)(sizeof(m.header) + m.header.size),
		"a request of kind %u has no form", m.header.kind);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	size = is_nic ? fill_nic_answer(m.header.kind, &m.sim.payload, &m.header.status, &fd)
		      : fill_shim_answer(m.header.kind, &m.shim.payload, &fd);
	ends = !is_nic && m.header.kind == SHIM_STOP && !silent && !bad;
	if (!is_nic)
		m.header.kind = SHIM_REPLY;
	m.header.size = (uint32_t)size;
	size += sizeof(m.header);
	if (bad)
		spoil(m.bytes, &size, &fd);
	if (!silent && size > 0)
		fdmsg_send(p->fd, &m, size < 2048 ? size : 2048, &fd, fd >= 0);
	silent = false;
	close_keep_errno(fd);
	if (ends)
		drop_peer(p);
	return true;
}

/* ---------------------------------------------------------------------------------- loop */

/* All that can happen happens, but what waits for time to pass. */
static void run(void)
{
	static char sink[64 * 1024];
	bool moved = true;
	ssize_t n;

	for (int i = 0; i < MAX_ROUNDS && moved; i++) {
		moved = sd_event_run(vdpad.event, 0) > 0;
		moved = answer_one(&nic_peer, true) || moved;
		for (int k = 0; k < MAX_SHIMS; k++)
			moved = answer_one(&shims[k], false) || moved;
		while (client >= 0 && (n = recv(client, sink, sizeof(sink), MSG_DONTWAIT)) > 0) {
			log_debug("answered: %.*s", (int)n, sink);
			moved = true;
		}
	}
}

static void connect_client(enum role role)
{
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
		"socketpair: %s", strerror(errno));
	must(client_new(control, ends[0], role, 0, 1) == 0, "a client is not taken");
	client = ends[1];
}

static void say(const void *bytes, size_t size)
{
	if (client < 0)
		connect_client(ROLE_ADMIN);
	(void)!send(client, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void shim_event(const uint8_t *bytes, size_t size)
{
	struct shim_message m = { .header = {
					  .kind = SHIM_EVENT, .size = sizeof(m.payload.event) } };

	memcpy(&m.payload.event, bytes,
		size < sizeof(m.payload.event) ? size : sizeof(m.payload.event));
	for (int i = 0; i < MAX_SHIMS; i++) {
		if (shims[i].fd >= 0)
			fdmsg_send(shims[i].fd, &m, sizeof(m.header) + m.header.size, NULL, 0);
	}
}

static void do_line(const uint8_t *line, size_t size)
{
	uint8_t how = size > 1 ? line[1] : 0;

	switch (size > 0 ? line[0] : 0) {
	case OP_PART:
		say(line + 1, size - 1);
		break;
	case OP_READER:
		client = close_keep_errno(client);
		connect_client(ROLE_READER);
		break;
	case OP_CLOSE:
		client = close_keep_errno(client);
		break;
	case OP_NO_MORE:
		if (client >= 0)
			shutdown(client, SHUT_WR);
		break;
	case OP_ANSWER:
		bad = line + 1;
		bad_size = size - 1;
		return; /* of the next line's */
	case OP_SILENT:
		silent = true;
		return;
	case OP_EVENT:
		shim_event(line + 1, size - 1);
		break;
	case OP_HANG_UP:
		if (how % 4 == 3)
			nic_peer.fd = close_keep_errno(nic_peer.fd);
		else
			drop_peer(&shims[how % MAX_SHIMS]);
		break;
	case OP_HEALTH:
		for (size_t i = 1; i + 2 < size; i += 3)
			health_bytes[(line[i] | line[i + 1] << 8) % HEALTH_SIZE] = line[i + 2];
		break;
	case OP_SHIM_FAILS:
		shim_fails = true;
		return;
	default:
		say(line, size);
		say("\n", 1);
	}
	run();
}

/* --------------------------------------------------------------------------------- inputs */

static const struct nic_watcher watcher = {
	.up = devices_nic_up,
	.down = devices_nic_down,
};

static void begin(void)
{
	static const struct config_nic config = { .name = "nic0", .uplink = "none" };
	char path[VDPAD_PATH_SIZE];
	struct failure why;
	struct nic *nic;

	bad = NULL;
	silent = shim_fails = false;
	memset(health_bytes, 0, HEALTH_SIZE);
	must(sd_event_new(&vdpad.event) >= 0, "no loop");
	snprintf(path, sizeof(path), "%s/sim/nic0.sock", vdpad.run_dir);
	nic_peer.listener = listener_make(path, SOCK_SEQPACKET, 0600, (gid_t)-1, &why);
	must(nic_peer.listener >= 0, "%s", why.text);
	must(control_open(&vdpad, &control, &why) == 0, "%s", why.text);
	vdpad.events = control_broadcast;
	vdpad.events_arg = control;
	must(nic_new(&vdpad, &config, &watcher, &nic) == 0, "no memory");
	nic_begin(nic);
	run();
	must(nic->state == NIC_UP, "the simnic that is played does not come up");
}

static void free_nic(struct nic *nic)
{
	TAILQ_REMOVE(&vdpad.nics, nic, link);
	channel_free(nic->channel);
	sd_event_source_disable_unref(nic->timer);
	sd_event_source_disable_unref(nic->gone);
	free(nic->functions);
	free(nic);
}

static void forget_device(struct device *dev)
{
	char path[VDPAD_PATH_SIZE];

	device_shim_path(dev, path);
	listener_remove(path);
	listener_remove(dev->spec.socket);
	device_unstore(dev);
	device_free(dev);
}

static void drop_peers(void)
{
	drop_peer(&nic_peer);
	for (int i = 0; i < MAX_SHIMS; i++)
		drop_peer(&shims[i]);
}

static void end(void)
{
	client = close_keep_errno(client);
	drop_peers();
	vdpad.events = NULL;
	/* Requests that wait get their answers as channels end; devices that begin go with them. */
	control_close(control);
	for (int i = 0; i < 4; i++)
		run();
	drop_peers(); /* those that came meanwhile */
	while (!TAILQ_EMPTY(&vdpad.devices))
		forget_device(TAILQ_FIRST(&vdpad.devices));
	while (!TAILQ_EMPTY(&vdpad.nics))
		free_nic(TAILQ_FIRST(&vdpad.nics));
	vdpad.event = sd_event_unref(vdpad.event);
}

static void remove_folder(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	(void)!system(command);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	signal(SIGPIPE, SIG_IGN);
	log_set_level(getenv("FUZZ_SHOW") ? LOG_LEVEL_DEBUG : (enum log_level)0);
	snprintf(folder, sizeof(folder), "/dev/shm/fuzz-control-%d", (int)getpid());
	must(mkdir(folder, 0700) == 0, "%s: %s", folder, strerror(errno));
	atexit(remove_folder);
	config_default(&vdpad.config);
	TAILQ_INIT(&vdpad.nics);
	TAILQ_INIT(&vdpad.devices);
	SLIST_INIT(&vdpad.skipped);
	snprintf(vdpad.programs[PROGRAM_SHIM], PROGRAM_PATH_SIZE, "/shim");
	snprintf(vdpad.programs[PROGRAM_WORKER], PROGRAM_PATH_SIZE, "/worker");
	snprintf(vdpad.programs[PROGRAM_SIMNIC], PROGRAM_PATH_SIZE, "/simnic");
	must(folders_prepare(&vdpad, folder, folder) == 0, "no folders");
	health = memfile_create("health", HEALTH_SIZE);
	health_bytes = mmap(NULL, HEALTH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, health, 0);
	must(health_bytes != MAP_FAILED, "mmap: %s", strerror(errno));
	nic_peer = (struct peer){ -1, -1 };
	for (int i = 0; i < MAX_SHIMS; i++)
		shims[i] = nic_peer;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	for (int i = 0; i < MAX_LINES && size > 0; i++) {
		const uint8_t *line_end = memchr(data, '\n', size);
		size_t line = line_end ? (size_t)(line_end - data) : size;

		do_line(data, line);
		line += line_end != NULL;
		data += line;
		size -= line;
	}
	end();
	return 0;
}

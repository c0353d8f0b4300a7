/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A simnic goes on when vdpad ends. So a NIC begins with a look for it at its socket; only when
 * nobody answers there a new one is started, with a listening socket made here.
 *
 *   STARTING --answers--> UP --ends--> RESTARTING --timer--> STARTING
 *                                         `--too often--> FAILED
 *
 * When it is up, devices are told (nic_watcher): they compare or add their functions. It does
 * not matter which simnic that is: one that was found has the functions, a new one has none.
 */
#include "tools/vdpad/nic.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tools/vdpad/listener.h"
#include "tools/vdpad/uids.h"
#include "vdpa/base/cleanup.h"

#define START_MS    30000 /* DPDK starts, and the machine may be busy */
#define FIND_MS	    5000
#define COMMAND_MS  2000
#define END_MS	    3000
#define MAX_FOUND   65536

static void attempt(struct nic *nic);
static void list_next(struct nic *nic);

static const char *const state_names[] = {
	[NIC_STARTING] = "starting",
	[NIC_UP] = "up",
	[NIC_RESTARTING] = "restarting",
	[NIC_FAILED] = "failed",
};

const char *nic_state_name(enum nic_state state)
{
	return state_names[state];
}

static void socket_path(const struct nic *nic, char ret[VDPAD_PATH_SIZE])
{
	snprintf(ret, VDPAD_PATH_SIZE, "%s/sim/%s.sock", nic->vdpad->run_dir, nic->config->name);
}

static void give_up(struct nic *nic, const char *reason)
{
	nic->state = NIC_FAILED;
	snprintf(nic->reason, sizeof(nic->reason), "%s", reason);
	log_error("%s: %s", nic->handle, reason);
	event_send(nic->vdpad, "nic-died", "mgmtdev", nic->handle, reason);
	nic->watcher->down(nic);
	ready_check(nic->vdpad);
}

static int on_restart_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct nic *nic = arg;

	nic->timer = sd_event_source_disable_unref(nic->timer);
	attempt(nic);
	return 0;
}

static void forget_process(struct nic *nic)
{
	channel_free(TAKE_PTR(nic->channel));
	nic->gone = sd_event_source_disable_unref(nic->gone);
	nic->pid = 0;
}

/* The process is gone, or is of no use. */
static void died(struct nic *nic, const char *reason)
{
	uint64_t wait_ms;
	char text[200];

	forget_process(nic);
	if (nic->timer || nic->state == NIC_FAILED)
		return;
	if (!restart_after(&nic->restart, &wait_ms)) {
		snprintf(text, sizeof(text), "given up after %d ends within a minute: %s; see the log, "
			"then restart vdpad", RESTART_MAX, reason);
		give_up(nic, text);
		return;
	}
	nic->state = NIC_RESTARTING;
	snprintf(nic->reason, sizeof(nic->reason), "%s", reason);
	log_warning("%s: %s; it is started again in %llu ms", nic->handle, reason,
		(unsigned long long)wait_ms);
	event_send(nic->vdpad, "nic-died", "mgmtdev", nic->handle, reason);
	nic->watcher->down(nic);
	ready_check(nic->vdpad);
	if (sd_event_add_time_relative(nic->vdpad->event, &nic->timer, CLOCK_MONOTONIC,
		    wait_ms * 1000, 1000, on_restart_timer, nic) < 0)
		give_up(nic, "no timer can be made");
}

static void say_end(const siginfo_t *info, char *ret, size_t size)
{
	if (info->si_code == CLD_EXITED)
		snprintf(ret, size, "simnic ended with status %d", info->si_status);
	else
		snprintf(ret, size, "simnic was ended by signal %d", info->si_status);
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	struct nic *nic = arg;
	char text[64];

	nic->child = sd_event_source_disable_unref(nic->child);
	say_end(info, text, sizeof(text));
	if (nic->state == NIC_FAILED)
		return 0;
	if (nic->timer)
		snprintf(nic->reason, sizeof(nic->reason), "%s", text);
	else
		died(nic, text);
	return 0;
}

static int on_gone(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	died(arg, "simnic ended");
	return 0;
}

static void on_lost(void *arg)
{
	struct nic *nic = arg;

	if (!nic->child) {
		died(nic, "simnic closed its socket");
		return;
	}
	/* Its end, with the reason, is told by on_child(); one that only hung up has to end, too. */
	channel_free(TAKE_PTR(nic->channel));
	kill(nic->pid, SIGKILL);
}

static void is_up(struct nic *nic)
{
	nic->state = NIC_UP;
	nic->reason[0] = '\0';
	log_info("%s is up: process %u, uplink %s", nic->handle, nic->info.pid, nic->info.uplink_name);
	event_send(nic->vdpad, "nic-up", "mgmtdev", nic->handle, "");
	nic->watcher->up(nic);
	free(TAKE_PTR(nic->functions));
	nic->n_functions = 0;
	ready_check(nic->vdpad);
}

static void on_listed(void *arg, struct channel_answer *answer)
{
	struct nic *nic = arg;
	struct sim_function *more;

	if (answer->status == -ECANCELED)
		return;
	if (answer->status == -ENOENT) {
		is_up(nic);
		return;
	}
	if (answer->status < 0 || nic->n_functions == MAX_FOUND) {
		died(nic, "simnic does not say what functions it has");
		return;
	}
	more = reallocarray(nic->functions, nic->n_functions + 1, sizeof(*more));
	if (!more) {
		died(nic, "there is not enough memory");
		return;
	}
	nic->functions = more;
	memcpy(&nic->functions[nic->n_functions], answer->payload, sizeof(*more));
	nic->functions[nic->n_functions++].name[SIM_NAME_SIZE - 1] = '\0';
	list_next(nic);
}

static void list_next(struct nic *nic)
{
	struct sim_u64 index = { .value = nic->n_functions };

	if (channel_call(nic->channel, &(struct channel_request){
		    .kind = SIM_ADMIN_LIST, .payload = &index, .size = sizeof(index),
		    .answer_size = sizeof(struct sim_function), .deadline_ms = COMMAND_MS,
		    .done = on_listed, .arg = nic }) < 0)
		died(nic, "simnic takes no command");
}

static void watch_found(struct nic *nic)
{
	_cleanup_close_ int fd = -1;

	if (nic->child)
		return;
	fd = pidfd_open(nic->pid, 0);
	if (fd < 0 || sd_event_add_io(nic->vdpad->event, &nic->gone, fd, EPOLLIN, on_gone, nic) < 0)
		return; /* the socket's end tells it, too */
	sd_event_source_set_io_fd_own(nic->gone, 1);
	fd = -1;
}

static void on_info(void *arg, struct channel_answer *answer)
{
	struct nic *nic = arg;

	if (answer->status == -ECANCELED || answer->status == -ECONNRESET)
		return; /* somebody else deals with its end */
	if (answer->status < 0) {
		if (nic->child)
			kill(nic->pid, SIGKILL);
		died(nic, "simnic does not answer");
		return;
	}
	memcpy(&nic->info, answer->payload, sizeof(nic->info));
	nic->info.uplink_name[SIM_NAME_SIZE - 1] = '\0';
	if (nic->info.version != SIM_INTERFACE_VERSION) {
		give_up(nic, "the simnic that runs is of another version; end it, then restart vdpad");
		return;
	}
	if (strncmp(nic->info.uplink_name, nic->config->uplink, SIM_NAME_SIZE - 1) != 0)
		log_warning("%s runs with uplink %s, the configuration says %s; end process %u for that",
			nic->handle, nic->info.uplink_name, nic->config->uplink, nic->info.pid);
	nic->pid = (pid_t)nic->info.pid;
	watch_found(nic);
	nic->n_functions = 0;
	list_next(nic);
}

static int ask_info(struct nic *nic, uint64_t deadline_ms)
{
	return channel_call(nic->channel, &(struct channel_request){
		.kind = SIM_ADMIN_INFO, .answer_size = sizeof(struct sim_nic_info),
		.deadline_ms = deadline_ms, .done = on_info, .arg = nic });
}

static int run_simnic(struct nic *nic, int listener, struct failure *why)
{
	const struct config_nic *c = nic->config;
	struct vdpad *v = nic->vdpad;
	char uid_text[16], threads[16], memory[16], flood[16], owner[64];
	const char *argv[32] = { v->programs[PROGRAM_SIMNIC], "--name", c->name, "--listen-fd", "3",
		"--uplink", c->uplink, "--threads", threads, "--memory", memory, "--flood-limit", flood,
		"--log-level", log_level_name(log_get_level()) };
	size_t n = 15;
	uid_t uid;
	int r;

	snprintf(threads, sizeof(threads), "%u", c->threads);
	snprintf(memory, sizeof(memory), "%u", c->memory_mb);
	snprintf(flood, sizeof(flood), "%u", c->flood_limit);
	if (c->poll)
		argv[n++] = "--poll";
	if (c->hugepages)
		argv[n++] = "--hugepages";
	if (c->dirty_log) {
		argv[n++] = "--dirty-log";
		argv[n++] = config_dirty_logs[c->dirty_log];
	}
	if (c->shuffled) {
		argv[n++] = "--completion";
		argv[n++] = "shuffled";
	}
	if (c->start_initial) {
		argv[n++] = "--start-position";
		argv[n++] = "initial";
	}
	if (c->test_socket[0]) {
		argv[n++] = "--test-socket";
		argv[n++] = c->test_socket;
	}
	if (v->uids) {
		snprintf(owner, sizeof(owner), "simnic:%s", c->name);
		r = uids_get(v->uids, owner, &uid, why);
		if (r < 0)
			return r;
		snprintf(uid_text, sizeof(uid_text), "%u", (unsigned int)uid);
		argv[n++] = "--uid";
		argv[n++] = uid_text;
	}
	argv[n] = NULL;
	r = process_start((char *const *)(uintptr_t)argv, listener);
	if (r < 0)
		return failure_set(why, FAILURE_UNAVAILABLE, "%s can't be run: %s", argv[0], strerror(-r));
	nic->pid = r;
	r = sd_event_add_child(v->event, &nic->child, nic->pid, WEXITED, on_child, nic);
	if (r < 0)
		return failure_set(why, FAILURE_INTERNAL, "process %d can't be watched: %s", nic->pid,
			strerror(-r));
	return 0;
}

static int start(struct nic *nic, const struct channel_owner *owner, struct failure *why)
{
	char path[VDPAD_PATH_SIZE];
	int r;

	socket_path(nic, path);
	_cleanup_close_ int listener = listener_make(path, SOCK_SEQPACKET, 0600, (gid_t)-1, why);

	if (listener < 0)
		return listener;
	r = run_simnic(nic, listener, why);
	if (r < 0)
		return r;
	r = channel_open(nic->vdpad->event, path, owner, &nic->channel);
	if (r == 0)
		r = ask_info(nic, START_MS);
	if (r < 0)
		return failure_set(why, FAILURE_INTERNAL, "%s: %s", path, strerror(-r));
	return 0;
}

static void attempt(struct nic *nic)
{
	const struct channel_owner owner = { .on_lost = on_lost, .arg = nic };
	char path[VDPAD_PATH_SIZE];
	struct failure why;
	int r;

	nic->state = NIC_STARTING;
	socket_path(nic, path);
	r = channel_open(nic->vdpad->event, path, &owner, &nic->channel);
	if (r < 0) {
		r = start(nic, &owner, &why);
	} else {
		r = ask_info(nic, FIND_MS);
		if (r < 0)
			failure_set(&why, FAILURE_UNAVAILABLE, "its socket: %s", strerror(-r));
	}
	if (r < 0)
		died(nic, why.text);
}

void nic_begin(struct nic *nic)
{
	attempt(nic);
}

int nic_new(struct vdpad *v, const struct config_nic *config, const struct nic_watcher *watcher,
	struct nic **ret)
{
	struct nic *nic = calloc(1, sizeof(*nic));

	if (!nic)
		return -ENOMEM;
	nic->vdpad = v;
	nic->config = config;
	nic->watcher = watcher;
	snprintf(nic->handle, sizeof(nic->handle), "sim/%s", config->name);
	TAILQ_INSERT_TAIL(&v->nics, nic, link);
	*ret = nic;
	return 0;
}

void nic_end(struct nic *nic)
{
	_cleanup_close_ int process = nic->pid > 0 ? pidfd_open(nic->pid, 0) : -1;
	struct pollfd end = { .fd = process, .events = POLLIN };
	char path[VDPAD_PATH_SIZE];

	if (process < 0)
		return;
	log_info("%s: ended, no device needs it", nic->handle);
	pidfd_send_signal(process, SIGTERM, NULL, 0);
	if (poll(&end, 1, END_MS) <= 0) {
		log_warning("%s: process %d does not end and is killed", nic->handle, nic->pid);
		pidfd_send_signal(process, SIGKILL, NULL, 0);
		poll(&end, 1, END_MS);
	}
	if (nic->child)
		waitpid(nic->pid, NULL, WNOHANG);
	socket_path(nic, path);
	listener_remove(path);
}

struct nic *nic_find(struct vdpad *v, const char *handle)
{
	struct nic *nic;

	TAILQ_FOREACH(nic, &v->nics, link) {
		if (strcmp(handle, nic->handle) == 0 || strcmp(handle, nic->config->name) == 0)
			return nic;
	}
	return NULL;
}

int nic_get(struct vdpad *v, const char *handle, struct nic **ret, struct failure *why)
{
	*ret = nic_find(v, handle);
	if (!*ret)
		return failure_set(why, FAILURE_NOT_FOUND,
			"there is no management device %.80s; vdpa mgmtdev show lists those that there "
			"are", handle);
	return 0;
}

int nic_require(const struct nic *nic, struct failure *why)
{
	if (nic->state == NIC_UP)
		return 0;
	return failure_set(why, FAILURE_UNAVAILABLE, "%s is not up: %s", nic->handle,
		nic->reason[0] ? nic->reason : "it is being started; try again");
}

int nic_call(struct nic *nic, enum sim_command command, const struct sim_function *function,
	channel_done done, void *arg)
{
	return channel_call(nic->channel, &(struct channel_request){
		.kind = command, .payload = function, .size = sizeof(*function),
		.deadline_ms = COMMAND_MS, .done = done, .arg = arg });
}

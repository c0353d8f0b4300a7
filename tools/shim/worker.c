/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker's life: started, watched, replaced, upgraded, given up. A worker that dies is followed
 * by another one with all that it had handed over; one that dies again and again is given up, and
 * the front-end is told by the end of its connection.
 *
 * An upgrade is a wanted death. The new program has to get ready in time; else the last good one
 * takes its place again and vdpad hears why.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tools/shim/shim.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define MAX_LAST_WORDS 4096 /* more than a socket holds */
#define TOO_LATE       "it was not ready in time"

int worker_send(struct shim *s, enum shim_kind kind, const void *payload, size_t size,
	const int *fds, size_t n_fds)
{
	const struct shim_header header = { .kind = kind, .size = (uint32_t)size };
	int r;

	if (s->worker.pid == 0)
		return -EHOSTDOWN;
	r = message_send(s->poll_fd[SOURCE_WORKER], &header, payload, fds, n_fds);
	if (r < 0) {
		log_error("worker %d does not read its messages: %s", s->worker.pid, strerror(-r));
		worker_kill(s, false);
	}
	return r;
}

static int hand_over(struct shim *s)
{
	int r = worker_send(s, SHIM_START, &s->spec, sizeof(s->spec), NULL, 0);

	if (r == 0)
		r = slots_send(s, s->poll_fd[SOURCE_WORKER]);
	if (r == 0)
		r = worker_send(s, SHIM_GO, NULL, 0, NULL, 0);
	return r;
}

int worker_start(struct shim *s)
{
	int sock, pidfd, r;
	pid_t pid;

	pid = spawn_worker(s->spec.worker_path, s->name, s->spec.uid, s->spec.gid, &sock, &pidfd);
	if (pid < 0) {
		log_error("worker %s can't be started: %s", s->spec.worker_path, strerror(-pid));
		return pid;
	}
	s->poll_fd[SOURCE_WORKER] = sock;
	s->poll_fd[SOURCE_EXIT] = pidfd;
	s->worker.pid = pid;
	s->worker.ready = false;
	s->worker.killed = false;
	memcpy(s->worker.path, s->spec.worker_path, sizeof(s->worker.path));
	s->state = SHIM_WORKING;
	if (s->worker.started++ > 0)
		s->restarts++;
	log_info("worker %d started", pid);
	r = hand_over(s);
	if (r < 0) { /* it would wait for the rest; the loop sees its end and decides */
		log_error("worker %d did not take over: %s", pid, strerror(-r));
		worker_kill(s, false);
	}
	return 0;
}

void worker_kill(struct shim *s, bool wanted)
{
	if (s->worker.pid == 0)
		return;
	s->worker.killed = s->worker.killed || wanted;
	kill(s->worker.pid, SIGKILL);
}

static bool is_upgrading(const struct shim *s)
{
	return s->worker.upgrade_deadline != 0;
}

static void end_upgrade(struct shim *s, int status, const char *why)
{
	uint32_t seq = s->worker.upgrade_seq;

	if (seq != 0 && status < 0)
		control_refuse(s, seq, status, why);
	else if (seq != 0)
		control_reply(s, seq, status);
	s->worker.upgrade_seq = 0;
	s->worker.upgrade_deadline = 0;
}

/* Nobody answers any more: connections are refused here. */
static void give_up(struct shim *s, const char *why)
{
	s->state = SHIM_GIVEN_UP;
	snprintf(s->reason, sizeof(s->reason), "%.*s", (int)sizeof(s->reason) - 1, why);
	log_error("giving up: %s", s->reason);
	connection_end(s);
	client_stop(s);
	s->poll_fd[SOURCE_REFUSE] = s->slots[SHIM_SLOT_LISTEN];
	end_upgrade(s, -EHOSTDOWN, s->reason);
	control_fail_pending(s, -EHOSTDOWN);
	control_event(s, SHIM_EVENT_GIVEN_UP, s->reason);
}

/* Return: true when this death is one too many. */
static bool note_death(struct shim *s)
{
	uint64_t now = clock_now_ns();
	uint64_t *oldest = &s->worker.deaths[s->worker.n_deaths % SHIM_MAX_DEATHS];
	bool too_many = s->worker.n_deaths >= SHIM_MAX_DEATHS &&
			now - *oldest < SHIM_DEATH_WINDOW_NS;

	*oldest = now;
	s->worker.n_deaths++;
	return too_many;
}

static void fall_back(struct shim *s, int error, const char *why)
{
	log_error("upgrade: %s does not work: %s; going back to %s", s->spec.worker_path, why,
		s->worker.good_path);
	s->worker.upgrade_error = error;
	snprintf(s->worker.upgrade_reason, sizeof(s->worker.upgrade_reason), "%s", why);
	s->worker.upgrade_deadline = clock_now_ns() + SHIM_UPGRADE_NS;
	memcpy(s->spec.worker_path, s->worker.good_path, sizeof(s->spec.worker_path));
}

static bool can_fall_back(const struct shim *s)
{
	return is_upgrading(s) && s->worker.upgrade_error == 0 && s->worker.good_path[0] != '\0';
}

void worker_start_or_give_up(struct shim *s)
{
	int r = worker_start(s);

	if (r < 0 && can_fall_back(s)) {
		char why[SHIM_REASON_SIZE];

		snprintf(why, sizeof(why), "it can't be run: %s", strerror(-r));
		fall_back(s, r, why);
		r = worker_start(s);
	}
	if (r < 0) {
		char why[sizeof(s->spec.worker_path) + SHIM_REASON_SIZE];

		snprintf(why, sizeof(why), "worker can't be started: %s: %s", strerror(-r),
			s->spec.worker_path);
		give_up(s, why);
		return;
	}
	char text[32];

	snprintf(text, sizeof(text), "pid %d", s->worker.pid);
	control_event(s, SHIM_EVENT_WORKER_STARTED, text);
}

static void describe_end(const siginfo_t *info, char *text, size_t size)
{
	if (info->si_code == CLD_EXITED)
		snprintf(text, size, "ended with status %d", info->si_status);
	else
		snprintf(text, size, "was killed by SIG%s%s",
			sigabbrev_np(info->si_status) ? sigabbrev_np(info->si_status) : "?",
			info->si_status == SIGSYS ? ", a system call that it may not make" : "");
}

static void forget_worker(struct shim *s)
{
	s->poll_fd[SOURCE_WORKER] = close_keep_errno(s->poll_fd[SOURCE_WORKER]);
	s->poll_fd[SOURCE_EXIT] = close_keep_errno(s->poll_fd[SOURCE_EXIT]);
	s->worker.pid = 0;
	s->worker.ready = false;
	s->state = SHIM_RESTARTING;
	control_fail_pending(s, -EHOSTDOWN);
}

void worker_exited(struct shim *s)
{
	bool wanted = s->worker.killed, was_ready = s->worker.ready;
	char end[80], text[SHIM_REASON_SIZE], why[2 * SHIM_REASON_SIZE];
	siginfo_t info = { 0 };

	/* What it said before its end counts; who else has its socket may go on for ever. */
	for (int i = 0; i < MAX_LAST_WORDS && worker_receive(s) != 0; i++)
		;
	waitid(P_PID, (id_t)s->worker.pid, &info, WEXITED);
	describe_end(&info, end, sizeof(end));
	snprintf(text, sizeof(text), "worker %d %s", s->worker.pid, end);
	forget_worker(s);
	if (s->stopping)
		return;
	if (!wanted) {
		log_warning("%s", text);
		control_event(s, SHIM_EVENT_WORKER_DIED, text);
		if (!was_ready && can_fall_back(s)) {
			snprintf(why, sizeof(why), "it %s", end);
			fall_back(s, -ECHILD, why);
		} else if (note_death(s)) {
			snprintf(why, sizeof(why), "crashed %d times in %llu s, last: %s",
				SHIM_MAX_DEATHS + 1,
				(unsigned long long)(SHIM_DEATH_WINDOW_NS / NS_PER_S), text);
			give_up(s, why);
			return;
		}
	}
	worker_start_or_give_up(s);
}

int worker_revive(struct shim *s)
{
	if (s->state != SHIM_GIVEN_UP)
		return 0;
	log_info("trying again");
	s->poll_fd[SOURCE_REFUSE] = -1;
	s->worker.n_deaths = 0;
	s->reason[0] = '\0';
	worker_start_or_give_up(s);
	if (s->state == SHIM_WORKING && s->spec.flags & SHIM_SPEC_CLIENT)
		client_connect(s);
	return s->state == SHIM_GIVEN_UP ? -EHOSTDOWN : 0;
}

void worker_upgrade(struct shim *s, uint32_t seq)
{
	if (is_upgrading(s)) {
		control_refuse(s, seq, -EBUSY, "another upgrade is under way");
		return;
	}
	s->worker.upgrade_seq = seq;
	s->worker.upgrade_error = 0;
	s->worker.upgrade_reason[0] = '\0';
	s->worker.upgrade_deadline = clock_now_ns() + SHIM_UPGRADE_NS;
	if (s->worker.pid != 0)
		worker_kill(s, true); /* the loop sees its end and starts the new one */
	else
		worker_revive(s);
}

void worker_is_ready(struct shim *s)
{
	if (s->worker.killed) /* said before it knew */
		return;
	s->worker.ready = true;
	memcpy(s->worker.good_path, s->worker.path, sizeof(s->worker.good_path));
	if (is_upgrading(s))
		end_upgrade(s, s->worker.upgrade_error, s->worker.upgrade_reason);
}

/* The new program did not get ready in time, or the one that it fell back to: then so be it. */
void worker_check_deadline(struct shim *s, uint64_t now)
{
	if (!is_upgrading(s) || now < s->worker.upgrade_deadline)
		return;
	if (!can_fall_back(s)) {
		if (s->worker.upgrade_error == 0)
			end_upgrade(s, -ETIMEDOUT, TOO_LATE);
		else
			end_upgrade(s, s->worker.upgrade_error, s->worker.upgrade_reason);
		return;
	}
	fall_back(s, -ETIMEDOUT, TOO_LATE);
	worker_kill(s, true);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test interface: a NIC that is slow, silent, failing, or gone, on demand. A stream socket with
 * one JSON object a line, each answered by one; docs/simnic.md has the list.
 *
 * An order about commands stays in force for a number of commands. A delayed command waits with its
 * descriptors; its function's mailbox is not read meanwhile, others are.
 */
#include "tools/simnic/misbehave.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/simnic/admin.h"
#include "tools/simnic/mailbox.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define LINE_SIZE 1024

enum kind {
	DELAY,
	HANG,
	FAIL,
};

struct misbehaviour {
	struct misbehaviour *next;
	enum kind kind;
	char function[SIM_NAME_SIZE]; /* empty: any */
	char command[32];	      /* empty: any */
	unsigned int times;
	unsigned int ms;
	int error;
};

struct waiting {
	struct source timer;
	struct function *function;
	struct sim_message msg;
	int fds[MAILBOX_MAX_FDS];
	size_t n_fds;
};

struct tester {
	struct source source;
	struct nic *nic;
	size_t used;
	char line[LINE_SIZE];
};

/* -------------------------------------------------------------- commands of a driver */

static void on_timer(struct source *source)
{
	struct waiting *w = (struct waiting *)((char *)source - offsetof(struct waiting, timer));
	struct function *f = w->function;

	f->waiting = NULL;
	loop_remove(&f->nic->loop, &w->timer);
	loop_unmute(&f->nic->loop, &f->mailbox);
	mailbox_execute(f, &w->msg, w->fds, w->n_fds);
	free(w);
}

static int delay(struct function *f, const struct sim_message *msg, const int *fds, size_t n_fds,
	unsigned int ms)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 + 1 },
	};
	_cleanup_free_ struct waiting *w = calloc(1, sizeof(*w));
	_cleanup_close_ int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r;

	if (!w || timer < 0 || timerfd_settime(timer, 0, &when, NULL) < 0)
		return -ENOMEM;
	w->function = f;
	w->msg = *msg;
	w->n_fds = n_fds;
	memcpy(w->fds, fds, n_fds * sizeof(*fds));
	r = loop_add(&f->nic->loop, &w->timer, timer, on_timer);
	if (r < 0)
		return r;
	TAKE_FD(timer);
	loop_mute(&f->nic->loop, &f->mailbox);
	f->waiting = TAKE_PTR(w);
	return 0;
}

void misbehave_forget(struct function *f)
{
	struct waiting *w = f->waiting;

	if (!w)
		return;
	f->waiting = NULL;
	loop_remove(&f->nic->loop, &w->timer);
	for (size_t i = 0; i < w->n_fds; i++)
		close_keep_errno(w->fds[i]);
	free(w);
}

static bool is_meant(const struct misbehaviour *m, const struct function *f, uint32_t command)
{
	const char *name = mailbox_command_name(command);

	return (!*m->function || strcmp(m->function, f->identity.name) == 0) &&
	       (!*m->command || (name && strcmp(m->command, name) == 0));
}

/* Takes one of its times from the first order that is meant. Return: false: none. */
static bool take_order(struct function *f, uint32_t command, struct misbehaviour *ret)
{
	struct misbehaviour **at = &f->nic->misbehaviours, *m;

	while (*at && !is_meant(*at, f, command))
		at = &(*at)->next;
	m = *at;
	if (!m)
		return false;
	*ret = *m;
	if (--m->times == 0) {
		*at = m->next;
		free(m);
	}
	return true;
}

bool misbehave_command(struct function *f, const struct sim_message *msg, int *fds, size_t n_fds)
{
	struct misbehaviour m;

	if (!f->nic->misbehaviours || !take_order(f, msg->header.command, &m))
		return false;
	if (m.kind == DELAY)
		return delay(f, msg, fds, n_fds, m.ms) == 0;
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = close_keep_errno(fds[i]);
	if (m.kind == FAIL)
		mailbox_reply(f->mailbox.fd, &msg->header, -m.error, NULL, 0, -1);
	return true;
}

/* ---------------------------------------------------------------------------- orders */

static const char *text(json_t *order, const char *key)
{
	const char *value = json_string_value(json_object_get(order, key));

	return value ? value : "";
}

static uint32_t number(json_t *order, const char *key, uint32_t otherwise)
{
	json_t *value = json_object_get(order, key);

	return json_is_integer(value) ? (uint32_t)json_integer_value(value) : otherwise;
}

static const char *add_order(struct nic *nic, json_t *order, enum kind kind)
{
	struct misbehaviour *m = calloc(1, sizeof(*m)), **end = &nic->misbehaviours;

	if (!m)
		return "no memory";
	m->kind = kind;
	strncpy(m->function, text(order, "function"), sizeof(m->function) - 1);
	strncpy(m->command, text(order, "command"), sizeof(m->command) - 1);
	m->times = number(order, "times", 1);
	m->ms = number(order, "ms", 1000);
	m->error = (int)number(order, "errno", EIO);
	if (m->times == 0 || m->error <= 0) {
		free(m);
		return "\"times\" and \"errno\" are at least 1";
	}
	while (*end)
		end = &(*end)->next;
	*end = m;
	return NULL;
}

static const char *do_delay(struct nic *nic, json_t *order, json_t *answer)
{
	return add_order(nic, order, DELAY);
}

static const char *do_hang(struct nic *nic, json_t *order, json_t *answer)
{
	return add_order(nic, order, HANG);
}

static const char *do_fail(struct nic *nic, json_t *order, json_t *answer)
{
	return add_order(nic, order, FAIL);
}

static const char *do_clear(struct nic *nic, json_t *order, json_t *answer)
{
	while (nic->misbehaviours) {
		struct misbehaviour *m = nic->misbehaviours;

		nic->misbehaviours = m->next;
		free(m);
	}
	return NULL;
}

static const char *do_vanish(struct nic *nic, json_t *order, json_t *answer)
{
	struct function *f = admin_find(nic, text(order, "function"));

	if (!f)
		return "no such function";
	function_free(f);
	return NULL;
}

static const char *do_wrong_index(struct nic *nic, json_t *order, json_t *answer)
{
	struct function *f = admin_find(nic, text(order, "function"));
	uint32_t queue = number(order, "queue", UINT32_MAX);

	if (!f || queue >= f->n_queues)
		return "no such queue";
	nic_pause(nic);
	f->queues[queue].wrong_index = number(order, "by", 1);
	nic_resume(nic);
	return NULL;
}

static const char *do_stats(struct nic *nic, json_t *order, json_t *answer)
{
	json_t *functions = json_object();
	unsigned int orders = 0;

	for (uint32_t i = 0; i < nic->n_slots; i++) {
		const struct function *f = nic->functions[i];

		if (!f)
			continue;
		json_object_set_new(functions, f->identity.name,
			json_pack("{s:I, s:I, s:I, s:b, s:b}", "regions",
				(json_int_t)f->iommu.n_regions, "mapped_bytes",
				(json_int_t)f->iommu.n_bytes, "features", (json_int_t)f->features,
				"waiting", f->waiting != NULL, "failed", (int)f->memory_lost));
	}
	for (const struct misbehaviour *m = nic->misbehaviours; m; m = m->next)
		orders++;
	json_object_set_new(answer, "functions", functions);
	json_object_set_new(answer, "orders", json_integer(orders));
	json_object_set_new(answer, "frames_in_use",
		json_integer(rte_mempool_in_use_count(nic->pool)));
	return NULL;
}

static const struct {
	const char *name;
	const char *(*act)(struct nic *nic, json_t *order, json_t *answer); /* NULL or an error */
} orders[] = {
	{ "delay", do_delay },
	{ "hang", do_hang },
	{ "fail", do_fail },
	{ "clear", do_clear },
	{ "vanish", do_vanish },
	{ "wrong-index", do_wrong_index },
	{ "stats", do_stats },
};

static const char *act(struct nic *nic, json_t *order, json_t *answer)
{
	const char *what = text(order, "do");

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		if (strcmp(orders[i].name, what) == 0)
			return orders[i].act(nic, order, answer);
	}
	return "unknown order";
}

/* ---------------------------------------------------------------------------- socket */

static void execute_line(struct tester *t, const char *line)
{
	json_t *order = json_loads(line, 0, NULL), *answer = json_object();
	const char *error = json_is_object(order) ? act(t->nic, order, answer) :
						    "not a JSON object";
	char *reply;

	json_object_set_new(answer, "ok", json_boolean(!error));
	if (error)
		json_object_set_new(answer, "error", json_string(error));
	reply = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);
	if (!reply || write(t->source.fd, reply, strlen(reply)) < 0 ||
		write(t->source.fd, "\n", 1) < 0)
		log_warning("test interface: an answer was lost");
	free(reply);
	json_decref(order);
	json_decref(answer);
}

static void on_tester(struct source *source)
{
	struct tester *t = (struct tester *)((char *)source - offsetof(struct tester, source));
	ssize_t n = read(source->fd, t->line + t->used, sizeof(t->line) - 1 - t->used);
	char *end;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) { /* gone, or a line that is too long */
		loop_remove(&t->nic->loop, &t->source);
		free(t);
		return;
	}
	t->used += (size_t)n;
	t->line[t->used] = '\0';
	while ((end = strchr(t->line, '\n'))) {
		*end = '\0';
		execute_line(t, t->line);
		t->used -= (size_t)(end + 1 - t->line);
		memmove(t->line, end + 1, t->used + 1);
	}
}

static void on_connection(struct source *source)
{
	struct nic *nic = (struct nic *)((char *)source - offsetof(struct nic, test_listener));
	int sock = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct tester *t = sock < 0 ? NULL : calloc(1, sizeof(*t));

	if (t)
		t->nic = nic;
	if (!t || loop_add(&nic->loop, &t->source, sock, on_tester) < 0) {
		close_keep_errno(sock);
		free(t);
	}
}

int misbehave_open(struct nic *nic, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if ((unlink(path) < 0 && errno != ENOENT) ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		chmod(path, 0600) < 0 || listen(fd, 4) < 0)
		return -errno;
	json_object_seed(0); /* opens a file, which is forbidden later */
	r = loop_add(&nic->loop, &nic->test_listener, fd, on_connection);
	if (r == 0)
		TAKE_FD(fd);
	return r;
}

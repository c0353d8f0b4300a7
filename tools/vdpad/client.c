/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection to the control socket: lines in, lines out, never waiting for the peer. While a
 * request is carried out nothing more is read from its connection. Answers wait in a buffer for a peer
 * that is slow, and its requests wait for that; a monitor that is too slow misses events and is told how many.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/vdpad/control.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define MAX_REQUEST (64 * 1024)
#define MAX_ANSWERS (64 * 1024)	 /* bytes that wait for a peer while its requests are carried out */
#define MAX_EVENTS  (256 * 1024) /* bytes that wait for a monitor */

struct client {
	TAILQ_ENTRY(client) link;
	struct control *control;
	int fd;
	sd_event_source *io;
	enum role role;
	char who[48];

	char in[MAX_REQUEST];
	size_t n_in;
	struct request *request; /* being carried out */

	char *out;
	size_t n_out, out_size;
	bool ending;		 /* when all is written */
	bool peer_is_done;	 /* it sends nothing more, and still reads */
	bool reading;		 /* inside take_lines(), which looks at it again */
	bool gone;		 /* freed while reading */

	bool monitors;
	char filter[NAME_SIZE];	 /* "": all */
	unsigned int n_lost;	 /* events */
};

static void take_lines(struct client *client);

/* A request is there already, and waits for room only. */
static bool has_line(const struct client *client)
{
	return !client->request && !client->ending && memchr(client->in, '\n', client->n_in);
}

static void update_io(struct client *client)
{
	uint32_t events = 0;

	if (!client->request && !client->ending && !client->peer_is_done && client->n_out < MAX_ANSWERS)
		events |= EPOLLIN;
	if (client->n_out > 0 || has_line(client))
		events |= EPOLLOUT;
	sd_event_source_set_io_events(client->io, events);
}

static bool out_append(struct client *client, const char *data, size_t size)
{
	if (client->out_size - client->n_out < size) {
		size_t wanted = (client->n_out + size) * 2;
		char *more = realloc(client->out, wanted);

		if (!more)
			return false;
		client->out = more;
		client->out_size = wanted;
	}
	memcpy(client->out + client->n_out, data, size);
	client->n_out += size;
	return true;
}

/* Return: false when the peer is gone. */
static bool flush(struct client *client)
{
	size_t done = 0;

	while (done < client->n_out) {
		ssize_t n = send(client->fd, client->out + done, client->n_out - done,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	if (done > 0)
		memmove(client->out, client->out + done, client->n_out - done);
	client->n_out -= done;
	return true;
}

static void send_json(struct client *client, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	if (!text || !out_append(client, text, strlen(text)) || !out_append(client, "\n", 1)) {
		log_error("control: an answer was lost: there is not enough memory");
		client->ending = true;
	}
	free(text);
}

void client_free(struct client *client)
{
	if (client->gone)
		return;
	if (client->request)
		client->request->client = NULL;
	TAILQ_REMOVE(&client->control->clients, client, link);
	client->control->n_clients--;
	sd_event_source_disable_unref(client->io);
	close_keep_errno(client->fd);
	free(client->out);
	client->gone = true;
	if (!client->reading)
		free(client);
}

static bool is_over(const struct client *client)
{
	bool nothing_comes = client->peer_is_done && !client->request && !client->monitors &&
			     !has_line(client);

	return client->n_out == 0 && (client->ending || nothing_comes);
}

/* Writes what waits, and goes on reading, or ends the connection. */
static void go_on(struct client *client)
{
	if (!flush(client) || is_over(client))
		client_free(client);
	else
		update_io(client);
}

static void end_request(struct request *q, json_t *answer)
{
	struct client *client = q->client;

	if (client) {
		client->request = NULL;
		if (q->id)
			json_object_set(answer, "id", q->id);
		send_json(client, answer);
	}
	json_decref(answer);
	json_decref(q->id);
	free(q);
	if (client && !client->reading)
		take_lines(client); /* more of them may have come together */
}

void request_answer(struct request *q, json_t *result)
{
	end_request(q, json_pack("{s:o}", "result", result));
}

void request_fail(struct request *q, const struct failure *why)
{
	end_request(q, json_pack("{s:{s:s,s:s}}", "error", "code", failure_code_name(why->code),
			       "message", why->text));
}

static void fail_connection(struct client *client, const char *text)
{
	json_t *line = json_pack("{s:{s:s,s:s}}", "error", "code",
		failure_code_name(FAILURE_INVALID), "message", text);

	send_json(client, line);
	json_decref(line);
	client->ending = true;
}

static void take_line(struct client *client, const char *line, size_t size)
{
	json_error_t error;
	json_t *json = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error), *id, *params;
	const char *method = json_string_value(json_object_get(json, "method"));
	char text[300];
	struct request *q;

	if (!json || !method) {
		snprintf(text, sizeof(text), "not a request: %s",
			json ? "an object with \"method\" is needed" : error.text);
		fail_connection(client, text);
		json_decref(json);
		return;
	}
	id = json_object_get(json, "id");
	params = json_object_get(json, "params");
	q = calloc(1, sizeof(*q));
	if (!q || (id && !json_is_integer(id)) || (params && !json_is_object(params))) {
		fail_connection(client, q ? "\"id\" is an integer, \"params\" is an object" :
					    "there is not enough memory");
		free(q);
	} else {
		*q = (struct request){ .vdpad = client->control->vdpad, .client = client,
			.id = json_incref(id), .role = client->role };
		client->request = q;
		method_call(q, method, params);
	}
	json_decref(json);
}

/* Has the peer read enough of what it asked for? One that is gone is found to be so by go_on(). */
static bool has_room(struct client *client)
{
	return client->n_out < MAX_ANSWERS || (flush(client) && client->n_out < MAX_ANSWERS);
}

/* All lines that are there, until one of them is not answered at once, or answers are not read. */
static void take_lines(struct client *client)
{
	client->reading = true;
	while (!client->gone && !client->request && !client->ending && has_room(client)) {
		char *end = memchr(client->in, '\n', client->n_in);
		size_t size = end ? (size_t)(end - client->in) : 0;

		if (!end) {
			if (client->n_in == sizeof(client->in))
				fail_connection(client, "a request has at most 65536 bytes");
			break;
		}
		if (size > 0)
			take_line(client, client->in, size);
		client->n_in -= size + 1;
		memmove(client->in, client->in + size + 1, client->n_in);
	}
	client->reading = false;
	if (client->gone)
		free(client);
	else
		go_on(client);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct client *client = arg;
	ssize_t n;

	if (revents & EPOLLERR || (revents & EPOLLHUP && !(revents & EPOLLIN))) {
		client_free(client);
		return 0;
	}
	if (revents & EPOLLIN) {
		n = recv(fd, client->in + client->n_in, sizeof(client->in) - client->n_in, MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			client_free(client);
			return 0;
		}
		client->peer_is_done = n == 0;
		client->n_in += n > 0 ? (size_t)n : 0;
	}
	take_lines(client);
	return 0;
}

int client_new(struct control *control, int fd, enum role role, unsigned int uid, int pid)
{
	struct client *client = malloc(sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	memset(client, 0, offsetof(struct client, in));
	memset(&client->n_in, 0, sizeof(*client) - offsetof(struct client, n_in));
	client->control = control;
	client->fd = fd;
	client->role = role;
	snprintf(client->who, sizeof(client->who), "uid %u, process %d", uid, pid);
	r = sd_event_add_io(control->vdpad->event, &client->io, fd, EPOLLIN, on_io, client);
	if (r < 0) {
		free(client);
		return r;
	}
	TAILQ_INSERT_TAIL(&control->clients, client, link);
	control->n_clients++;
	return 0;
}

const char *client_who(const struct client *client)
{
	return client->who;
}

void client_monitor(struct client *client, const char *name)
{
	client->monitors = true;
	snprintf(client->filter, sizeof(client->filter), "%s", name ? name : "");
}

static void tell_lost(struct client *client)
{
	json_t *line = json_pack("{s:s,s:I,s:i}", "event", "lost", "time_ms", event_time_ms(), "count",
		(int)client->n_lost);

	client->n_lost = 0;
	send_json(client, line);
	json_decref(line);
}

void client_event(struct client *client, const char *line, size_t size, const char *name)
{
	if (!client->monitors || client->ending ||
		(client->filter[0] && strcmp(client->filter, name) != 0))
		return;
	if (client->n_out + size > MAX_EVENTS) {
		client->n_lost++;
		return;
	}
	if (client->n_lost > 0)
		tell_lost(client);
	if (!out_append(client, line, size))
		client->n_lost++;
	update_io(client); /* the loop writes: no connection ends under who sends an event */
}

void control_broadcast(void *arg, json_t *event, const char *name)
{
	struct control *control = arg;
	_cleanup_free_ char *text = json_dumps(event, JSON_COMPACT | JSON_ENSURE_ASCII);
	struct client *client;
	size_t size;

	if (!text)
		return;
	size = strlen(text);
	text[size] = '\n'; /* in place of the ending zero */
	TAILQ_FOREACH(client, &control->clients, link)
		client_event(client, text, size + 1, name);
}

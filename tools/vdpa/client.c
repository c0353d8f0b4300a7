/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection, one request at a time. Whoever listens on that path is not trusted: each answer
 * has a deadline as a whole, not one per piece, and a size beyond which nobody reads on. What fails
 * says which socket, why, and what to do; an error that vdpad answers with has all of it already.
 *
 * vdpad may say why it hangs up before it has read a request, so a request that can't be sent is no
 * failure yet: the reason may lie there to be read.
 */
#include "tools/vdpa/client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "tools/vdpa/json.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define REQUEST_ID   1
#define REQUEST_SIZE 65536 /* at most, with its line feed */
#define ANSWER_SIZE  (64 * 1024 * (size_t)1024) /* at most */
#define FIRST_SIZE   16384

struct client {
	int fd;
	const char *path;
	const char *method; /* that was called last */
	unsigned int timeout_s;
	char *data; /* received: [start, end) of size bytes */
	size_t start, end, size;
	size_t scanned; /* no line feed before it */
};

static const struct {
	const char *name;
	int error;
} codes[] = {
	{ "invalid", -EINVAL },
	{ "exists", -EEXIST },
	{ "not-found", -ENOENT },
	{ "busy", -EBUSY },
	{ "denied", -EPERM },
	{ "unavailable", -EHOSTDOWN },
	{ "internal", -EIO },
};

static int connect_failed(const char *path, int error, struct fault *why)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED:
		return fault_set(why, -ENOTCONN, "vdpad is not running: nobody listens at %s "
			"(start vdpad, or name its socket with --socket)", path);
	case EACCES:
	case EPERM:
		return fault_set(why, -EACCES, "%s: permission denied (only root and members of "
			"vdpad's groups may connect: use sudo, or become a member of one)", path);
	case EAGAIN:
		return fault_set(why, -ETIMEDOUT, "vdpad at %s accepts no connection (it hangs or "
			"is overloaded: see its log)", path);
	case EPROTOTYPE:
		return fault_set(why, -error, "%s is a socket, but not vdpad's control socket "
			"(name that with --socket)", path);
	default:
		return fault_set(why, -error, "%s: can't connect: %s (name vdpad's control socket "
			"with --socket)", path, strerror(error));
	}
}

static int connect_to(const char *path, unsigned int timeout_s, struct fault *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval timeout = { .tv_sec = timeout_s };
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return fault_set(why, -ENAMETOOLONG, "the path of a socket has at most %zu bytes, "
			"this one has %zu (name another with --socket): %s",
			sizeof(address.sun_path) - 1, strlen(path), path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fault_set(why, -errno, "can't make a socket: %s", strerror(errno));
	/* Of connect(2), too. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return connect_failed(path, errno, why);
	return TAKE_FD(fd);
}

int client_open(const char *path, unsigned int timeout_s, struct client **ret, struct fault *why)
{
	struct client *c;
	int fd = connect_to(path, timeout_s, why);

	if (fd < 0)
		return fd;
	c = calloc(1, sizeof(*c));
	if (!c) {
		close_keep_errno(fd);
		return fault_set(why, -ENOMEM, "there is not enough memory");
	}
	*c = (struct client){ .fd = fd, .path = path, .method = "", .timeout_s = timeout_s };
	*ret = c;
	return 0;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	close_keep_errno(c->fd);
	free(c->data);
	free(c);
}

int client_fd(const struct client *c)
{
	return c->fd;
}

static int nonsense(const struct client *c, const char *what, struct fault *why)
{
	return fault_set(why, -EBADMSG, "vdpad at %s answers %s with nonsense: %s (is it vdpad, "
		"and of the same version as vdpa?)", c->path, c->method, what);
}

static int make_room(struct client *c, struct fault *why)
{
	size_t size = c->size ? 2 * c->size : FIRST_SIZE;
	char *data;

	if (c->start > 0) {
		memmove(c->data, c->data + c->start, c->end - c->start);
		c->end -= c->start;
		c->scanned -= c->start;
		c->start = 0;
	}
	if (c->end < c->size)
		return 0;
	if (size > ANSWER_SIZE)
		return nonsense(c, "more than 64 MiB without an end", why);
	data = realloc(c->data, size);
	if (!data)
		return fault_set(why, -ENOMEM, "there is not enough memory");
	c->data = data;
	c->size = size;
	return 0;
}

static int hung_up(const struct client *c, struct fault *why)
{
	return fault_set(why, -ECONNRESET, "vdpad at %s hung up %s %s (it may have ended or been "
		"restarted: try again, and see its log)", c->path,
		c->end > c->start ? "in the middle of its answer to" : "without an answer to",
		c->method);
}

/* Return: 0 something came; -EAGAIN; or a negative errno with @why. */
static int receive(struct client *c, struct fault *why)
{
	int r = make_room(c, why);
	ssize_t n;

	if (r < 0)
		return r;
	n = recv(c->fd, c->data + c->end, c->size - c->end, MSG_DONTWAIT);
	if (n > 0) {
		c->end += (size_t)n;
		return 0;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	return hung_up(c, why);
}

/* Return: a line that is there and ends with a zero, or NULL. */
static char *take_line(struct client *c, size_t *ret_size)
{
	char *feed = c->end > c->scanned ?
		memchr(c->data + c->scanned, '\n', c->end - c->scanned) : NULL;
	char *line;

	if (!feed) {
		c->scanned = c->end;
		return NULL;
	}
	line = c->data + c->start;
	*feed = '\0';
	*ret_size = (size_t)(feed - line);
	c->start = c->scanned = (size_t)(feed + 1 - c->data);
	return line;
}

static int parse(const struct client *c, const char *line, size_t size, json_t **ret,
	struct fault *why)
{
	json_error_t error;
	json_auto_t *value = json_loadb(line, size, 0, &error);

	if (!value)
		return nonsense(c, error.text, why);
	if (!json_is_object(value))
		return nonsense(c, "not a JSON object", why);
	*ret = json_incref(value);
	return 0;
}

static int wait_for_data(const struct client *c, uint64_t deadline_ns, struct fault *why)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	uint64_t now = clock_now_ns();

	if (now < deadline_ns &&
		poll(&p, 1, (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS)) != 0)
		return 0;
	return fault_set(why, -ETIMEDOUT, "vdpad at %s did not answer %s within %u s (it hangs or "
		"is overloaded: see its log); what was asked for may still happen", c->path,
		c->method, c->timeout_s);
}

static int wait_for_answer(struct client *c, json_t **ret, struct fault *why)
{
	uint64_t deadline_ns = clock_now_ns() + c->timeout_s * NS_PER_S;
	size_t size;
	char *line;
	int r;

	while (!(line = take_line(c, &size))) {
		r = wait_for_data(c, deadline_ns, why);
		if (r == 0)
			r = receive(c, why);
		if (r < 0 && r != -EAGAIN)
			return r;
	}
	return parse(c, line, size, ret, why);
}

static int send_request(struct client *c, json_t *params, struct fault *why)
{
	json_auto_t *request = json_pack("{s:i, s:s, s:O}", "id", REQUEST_ID, "method", c->method,
		"params", params);
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	size_t size, sent = 0;

	if (!text)
		return fault_set(why, -ENOMEM, "there is not enough memory");
	size = strlen(text) + 1;
	if (size > REQUEST_SIZE)
		return fault_set(why, -E2BIG, "that is too long for a request to vdpad: %zu bytes, "
			"at most %d", size, REQUEST_SIZE);
	text[size - 1] = '\n';
	while (sent < size) {
		ssize_t n = send(c->fd, text + sent, size - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			break;
		sent += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int answered_error(const struct client *c, const json_t *error, struct fault *why)
{
	const char *code = json_text(error, "code"), *message = json_text(error, "message");

	if (!code || !message)
		return nonsense(c, "an error without code or message", why);
	fault_set(why, 0, "Error: %s", message);
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		if (strcmp(codes[i].name, code) == 0)
			return codes[i].error;
	}
	return -EREMOTEIO;
}

int client_call(struct client *c, const char *method, json_t *params, json_t **ret,
	struct fault *why)
{
	json_auto_t *answer = NULL;
	json_t *result;
	int r;

	c->method = method;
	r = send_request(c, params, why);
	if (r == 0)
		r = wait_for_answer(c, &answer, why);
	if (r < 0)
		return r;
	if (json_object_get(answer, "error"))
		return answered_error(c, json_object_get(answer, "error"), why);
	if (json_number(answer, "id", 0) != REQUEST_ID)
		return nonsense(c, "an answer to another request", why);
	result = json_object_get(answer, "result");
	if (!json_is_object(result))
		return nonsense(c, "no result", why);
	*ret = json_incref(result);
	return 0;
}

int client_event(struct client *c, json_t **ret, struct fault *why)
{
	size_t size;
	char *line;
	int r;

	while (!(line = take_line(c, &size))) {
		r = receive(c, why);
		if (r < 0)
			return r;
	}
	return parse(c, line, size, ret, why);
}

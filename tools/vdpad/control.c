/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may connect. The socket's file is open to all, since its readers may be everybody; the kernel
 * says who connects, and the configuration which role that is.
 */
#include "tools/vdpad/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/vdpad/listener.h"
#include "vdpa/base/acceptor.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define MAX_CLIENTS 256
#define MAX_READERS 192 /* connections beyond so many are admins' */
#define MAX_GROUPS  1024

struct peer {
	struct ucred cred;
	gid_t groups[MAX_GROUPS];
	size_t n_groups;
};

static int read_peer(int fd, struct peer *ret)
{
	socklen_t size = sizeof(ret->cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ret->cred, &size) < 0)
		return -errno;
	size = sizeof(ret->groups);
	ret->n_groups = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, ret->groups, &size) == 0)
		ret->n_groups = size / sizeof(ret->groups[0]);
	return 0;
}

static bool in_group(const struct peer *peer, gid_t group)
{
	if (group == CONFIG_NO_GROUP)
		return false;
	if (peer->cred.gid == group)
		return true;
	for (size_t i = 0; i < peer->n_groups; i++) {
		if (peer->groups[i] == group)
			return true;
	}
	return false;
}

static enum role role_of(const struct config *config, const struct peer *peer)
{
	if (peer->cred.uid == 0 || peer->cred.uid == geteuid() || in_group(peer, config->admin_group))
		return ROLE_ADMIN;
	if (config->readonly_all || in_group(peer, config->readonly_group))
		return ROLE_READER;
	return ROLE_NONE;
}

/* One line, if the peer's buffer has room for it: it has just been made. */
static void turn_away(int fd, enum failure_code code, const char *why)
{
	json_t *line = json_pack("{s:{s:s,s:s}}", "error", "code", failure_code_name(code), "message",
		why);
	_cleanup_free_ char *text = line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	json_decref(line);
	if (text && send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static unsigned int most_clients(enum role role)
{
	return role == ROLE_ADMIN ? MAX_CLIENTS : MAX_READERS;
}

static int on_connection(sd_event_source *source, int listener, uint32_t revents, void *arg)
{
	struct control *control = arg;
	_cleanup_close_ int fd = acceptor_take(listener, SOCK_NONBLOCK);
	struct peer peer;
	enum role role;

	if (fd < 0 || read_peer(fd, &peer) < 0)
		return 0;
	role = role_of(&control->vdpad->config, &peer);
	if (role == ROLE_NONE) {
		log_warning("control: uid %u, process %d was turned away", peer.cred.uid, peer.cred.pid);
		turn_away(fd, FAILURE_DENIED,
			"you may not talk to vdpad; admin_group and readonly_group in its "
			"configuration say who may");
	} else if (control->n_clients >= most_clients(role)) {
		turn_away(fd, FAILURE_UNAVAILABLE, "too many are connected to vdpad; try again later");
	} else if (client_new(control, fd, role, peer.cred.uid, peer.cred.pid) == 0) {
		fd = -1;
	}
	return 0;
}

int control_open(struct vdpad *v, struct control **ret, struct failure *why)
{
	struct control *control = calloc(1, sizeof(*control));
	char path[VDPAD_PATH_SIZE];

	if (!control)
		return failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	control->vdpad = v;
	TAILQ_INIT(&control->clients);
	snprintf(path, sizeof(path), "%s/control.sock", v->run_dir);
	control->fd = listener_make(path, SOCK_STREAM, 0666, (gid_t)-1, why);
	if (control->fd < 0) {
		int r = control->fd;

		free(control);
		return r;
	}
	*ret = control;
	return 0;
}

void control_serve(struct control *control)
{
	int r = sd_event_add_io(control->vdpad->event, &control->io, control->fd, EPOLLIN, on_connection,
		control);

	if (r < 0)
		log_error("the control socket can't be served: %s", strerror(-r));
}

void control_close(struct control *control)
{
	char path[VDPAD_PATH_SIZE];

	if (!control)
		return;
	while (!TAILQ_EMPTY(&control->clients))
		client_free(TAILQ_FIRST(&control->clients));
	sd_event_source_disable_unref(control->io);
	close_keep_errno(control->fd);
	snprintf(path, sizeof(path), "%s/control.sock", control->vdpad->run_dir);
	listener_remove(path);
	free(control);
}

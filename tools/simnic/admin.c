/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The admin socket. Only root and the user who started simnic may connect; whoever may is trusted
 * to name functions, but still not to send well-formed messages.
 */
#include "tools/simnic/admin.h"

#include <ctype.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/simnic/control.h"
#include "tools/simnic/function.h"
#include "tools/simnic/macs.h"
#include "tools/simnic/mailbox.h"
#include "tools/simnic/port.h"
#include "vdpa/base/acceptor.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

#define MAX_SESSIONS 64

struct session {
	LIST_ENTRY(session) link;
	struct source source;
	struct nic *nic;
};

struct admin_desc {
	const char *name;
	int (*handle)(struct nic *nic, const union sim_payload *in, union sim_payload *out,
		int *ret_fd);
	uint16_t size;
	uint16_t reply_size;
};

static unsigned int n_sessions;
static LIST_HEAD(, session) sessions = LIST_HEAD_INITIALIZER(sessions);

struct function *admin_find(struct nic *nic, const char *name)
{
	for (uint32_t i = 0; i < nic->n_slots; i++) {
		struct function *f = nic->functions[i];

		if (f && strcmp(f->identity.name, name) == 0)
			return f;
	}
	return NULL;
}

static bool name_ok(const char name[SIM_NAME_SIZE])
{
	size_t n = strnlen(name, SIM_NAME_SIZE);

	if (n == 0 || n == SIM_NAME_SIZE)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isgraph((unsigned char)name[i]) || name[i] == '/')
			return false;
	}
	return true;
}

static bool mac_ok(const uint8_t mac[6])
{
	return macs_word(mac) != 0 && !(mac[0] & 1);
}

static bool function_ok(const struct nic *nic, const struct sim_function *f)
{
	bool control = f->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ);

	return name_ok(f->name) && mac_ok(f->mac) && f->mtu >= 68 && f->max_pairs >= 1 &&
	       f->max_pairs <= (control ? SIM_MAX_CONTROL_PAIRS : SIM_MAX_PAIRS) &&
	       !(f->features & ~function_features(nic)) &&
	       !(f->flags & ~(uint32_t)(SIM_FUNCTION_SPOOF_CHECK | SIM_FUNCTION_LINK_UP));
}

static int find(struct nic *nic, const struct sim_function *named, struct function **ret)
{
	if (!name_ok(named->name))
		return -EINVAL;
	*ret = admin_find(nic, named->name);
	return *ret ? 0 : -ENOENT;
}

static int on_info(struct nic *nic, const union sim_payload *in, union sim_payload *out, int *ret_fd)
{
	out->info = (struct sim_nic_info){
		.version = SIM_INTERFACE_VERSION,
		.max_pairs = SIM_MAX_PAIRS,
		.max_queue_size = SIM_MAX_QUEUE_SIZE,
		.n_functions = nic->n_functions,
		.features = function_features(nic),
		.pid = (uint32_t)getpid(),
	};
	if (nic->uplink)
		out->info.uplink = port_link_up(nic->uplink) ? 1 : 2;
	strncpy(out->info.uplink_name, nic->options.uplink_text,
		sizeof(out->info.uplink_name) - 1);
	return 0;
}

static int on_add(struct nic *nic, const union sim_payload *in, union sim_payload *out, int *ret_fd)
{
	struct function *f;
	int r;

	if (!function_ok(nic, &in->function))
		return -EINVAL;
	if (admin_find(nic, in->function.name))
		return -EEXIST;
	r = function_create(nic, &in->function, &f);
	if (r < 0)
		return r;
	r = mailbox_attach(f, ret_fd);
	if (r < 0) {
		function_free(f);
		return r;
	}
	log_info("function %s added", f->identity.name);
	return 0;
}

static int on_attach(struct nic *nic, const union sim_payload *in, union sim_payload *out,
	int *ret_fd)
{
	struct function *f;
	int r = find(nic, &in->function, &f);

	return r < 0 ? r : mailbox_attach(f, ret_fd);
}

static int on_del(struct nic *nic, const union sim_payload *in, union sim_payload *out, int *ret_fd)
{
	struct function *f;
	int r = find(nic, &in->function, &f);

	if (r < 0)
		return r;
	log_info("function %s removed", f->identity.name);
	function_free(f);
	return 0;
}

/* Is the difference one that a guest is told of? */
static bool is_seen(const struct sim_function *before, const struct sim_function *now)
{
	return memcmp(before->mac, now->mac, sizeof(now->mac)) != 0 || before->mtu != now->mtu ||
	       (before->flags ^ now->flags) & SIM_FUNCTION_LINK_UP;
}

static int on_set(struct nic *nic, const union sim_payload *in, union sim_payload *out, int *ret_fd)
{
	const struct sim_function *new = &in->function;
	struct function *f;
	bool seen;
	int r;

	if (!function_ok(nic, new))
		return -EINVAL;
	r = find(nic, new, &f);
	if (r < 0)
		return r;
	if (new->max_pairs != f->identity.max_pairs || new->features != f->identity.features)
		return -EINVAL;
	seen = is_seen(&f->identity, new);
	nic_pause(nic);
	if (new->mtu != f->identity.mtu)
		f->mtu = new->mtu;
	if (memcmp(f->identity.mac, new->mac, sizeof(new->mac)) != 0)
		control_forget_mac(f); /* the operator spoke last */
	f->identity = *new;
	control_refresh(f);
	nic_resume(nic);
	if (seen)
		mailbox_config_changed(f);
	return 0;
}

static int on_list(struct nic *nic, const union sim_payload *in, union sim_payload *out, int *ret_fd)
{
	uint64_t index = in->u64.value;

	for (uint32_t i = 0; i < nic->n_slots; i++) {
		if (!nic->functions[i] || index-- > 0)
			continue;
		out->function = nic->functions[i]->identity;
		return 0;
	}
	return -ENOENT;
}

static const struct admin_desc commands[] = {
	[SIM_ADMIN_INFO - SIM_ADMIN_INFO] = {
		.name = "INFO",
		.handle = on_info,
		.reply_size = sizeof(struct sim_nic_info),
	},
	[SIM_ADMIN_ADD - SIM_ADMIN_INFO] = {
		.name = "ADD",
		.handle = on_add,
		.size = sizeof(struct sim_function),
	},
	[SIM_ADMIN_ATTACH - SIM_ADMIN_INFO] = {
		.name = "ATTACH",
		.handle = on_attach,
		.size = sizeof(struct sim_function),
	},
	[SIM_ADMIN_DEL - SIM_ADMIN_INFO] = {
		.name = "DEL",
		.handle = on_del,
		.size = sizeof(struct sim_function),
	},
	[SIM_ADMIN_SET - SIM_ADMIN_INFO] = {
		.name = "SET",
		.handle = on_set,
		.size = sizeof(struct sim_function),
	},
	[SIM_ADMIN_LIST - SIM_ADMIN_INFO] = {
		.name = "LIST",
		.handle = on_list,
		.size = sizeof(struct sim_u64),
		.reply_size = sizeof(struct sim_function),
	},
};

static void close_session(struct session *s)
{
	loop_remove(&s->nic->loop, &s->source);
	LIST_REMOVE(s, link);
	free(s);
	n_sessions--;
}

static int execute(struct session *s, const struct sim_message *msg)
{
	uint32_t which = msg->header.command - SIM_ADMIN_INFO;
	const struct admin_desc *d = which < ARRAY_SIZE(commands) ? &commands[which] : NULL;
	union sim_payload out = { 0 };
	_cleanup_close_ int fd = -1;
	int r;

	if (!d)
		r = -EOPNOTSUPP;
	else if (msg->header.size != d->size || msg->header.status != 0 || msg->header.seq == 0)
		r = -EBADMSG;
	else
		r = d->handle(s->nic, &msg->payload, &out, &fd);
	return mailbox_reply(s->source.fd, &msg->header, r, &out, r == 0 ? d->reply_size : 0, fd);
}

static void on_request(struct source *source)
{
	struct session *s = (struct session *)((char *)source - offsetof(struct session, source));
	struct sim_message msg = { 0 };
	ssize_t n = fdmsg_recv(source->fd, &msg, sizeof(msg), NULL, 0, NULL, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return;
	if (n == -EBADMSG || (n >= (ssize_t)sizeof(msg.header) &&
				     msg.header.size != (size_t)n - sizeof(msg.header)))
		msg.header.size = UINT32_MAX;
	else if (n < (ssize_t)sizeof(msg.header)) {
		close_session(s);
		return;
	}
	if (execute(s, &msg) < 0)
		close_session(s);
}

static bool peer_ok(const struct nic *nic, int sock)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	return peer.uid == 0 || peer.uid == nic->owner;
}

static void on_connection(struct source *source)
{
	struct nic *nic = (struct nic *)((char *)source - offsetof(struct nic, listener));
	_cleanup_close_ int sock = acceptor_take(source->fd, SOCK_NONBLOCK);
	struct session *s;

	if (sock < 0)
		return;
	if (!peer_ok(nic, sock) || n_sessions == MAX_SESSIONS) {
		log_warning("admin socket: a peer was turned away: %s",
			n_sessions == MAX_SESSIONS ? "too many are connected" :
						     "neither root nor who started simnic");
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	s->nic = nic;
	if (loop_add(&nic->loop, &s->source, sock, on_request) < 0) {
		free(s);
		return;
	}
	sock = -1;
	LIST_INSERT_HEAD(&sessions, s, link);
	n_sessions++;
}

int admin_open(struct nic *nic, int fd)
{
	return loop_add(&nic->loop, &nic->listener, fd, on_connection);
}

void admin_close(void)
{
	while (!LIST_EMPTY(&sessions))
		close_session(LIST_FIRST(&sessions));
}

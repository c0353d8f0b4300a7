/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mailbox: one table of commands with all that is checked before a handler runs. A request that
 * is refused changes nothing. The driver that sends them is not trusted: it can break its own
 * function, nothing else.
 */
#include "tools/simnic/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "tools/simnic/announce.h"
#include "tools/simnic/control.h"
#include "tools/simnic/misbehave.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/queues.h"
#include "tools/simnic/translation.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

struct request {
	const union sim_payload *in;
	union sim_payload *out;
	int *fds;	/* a handler that keeps one sets it to -1 */
	size_t n_fds;
	size_t size;	/* payload bytes */
	int reply_fd;	/* stays the function's */
};

enum fds_wanted {
	FDS_NONE,
	FDS_ONE,
	FDS_ONE_OR_NONE,
	FDS_OF_SETUPS, /* have_fds of each says how many */
	FDS_OF_CHANGE,
};

struct command_desc {
	const char *name;
	int (*handle)(struct function *f, struct request *request);
	uint16_t size;	     /* payload of the request, bytes */
	uint16_t most;	     /* as many of them may come; 0: one */
	uint16_t reply_size; /* of a successful reply */
	enum fds_wanted fds;
};

static uint32_t hello_flags(const struct nic *nic)
{
	const struct options *o = &nic->options;

	return SIM_HELLO_SETS | SIM_HELLO_IOTLB | SIM_HELLO_DOORBELL | (o->dirty_log ? SIM_HELLO_DIRTY_LOG : 0U) |
	       (o->dirty_log == LOG_BUFFERS ? SIM_HELLO_LOG_BUFFERS : 0U) |
	       (o->shuffled ? SIM_HELLO_SHUFFLED : 0U) |
	       (o->start_initial ? SIM_HELLO_START_INITIAL : 0U) |
	       (o->silent_stop ? SIM_HELLO_SILENT_STOP : 0U) |
	       (o->together ? SIM_HELLO_TOGETHER : 0U) |
	       (nic->page_faults ? SIM_HELLO_PAGE_FAULTS : 0U);
}

static int on_hello(struct function *f, struct request *r)
{
	r->out->hello = (struct sim_hello_reply){
		.version = SIM_INTERFACE_VERSION,
		.n_queues = 2U * f->identity.max_pairs,
		.max_queue_size = SIM_MAX_QUEUE_SIZE,
		.flags = hello_flags(f->nic),
		.features = f->identity.features,
	};
	r->reply_fd = f->bar_fd;
	return 0;
}

static int on_map(struct function *f, struct request *r)
{
	return function_map(f, &r->in->map, r->fds[0]);
}

static int on_unmap(struct function *f, struct request *r)
{
	return function_unmap(f, &r->in->map);
}

static int on_set_log(struct function *f, struct request *r)
{
	return function_set_log(f, &r->in->log, r->n_fds == 1 ? r->fds[0] : -1);
}

static int on_set_features(struct function *f, struct request *r)
{
	return function_set_features(f, r->in->u64.value);
}

static int on_prepare(struct function *f, struct request *r)
{
	return queues_prepare(f, r->in->setups, r->size / sizeof(r->in->setups[0]), r->fds);
}

static int on_start(struct function *f, struct request *r)
{
	return queues_start(f, &r->in->set);
}

static int on_stop(struct function *f, struct request *r)
{
	return queues_stop(f, &r->in->set, &r->out->positions);
}

static int on_set_fds(struct function *f, struct request *r)
{
	return queue_set_fds(f, &r->in->fds, r->fds);
}

static int on_get_config(struct function *f, struct request *r)
{
	r->out->config = (struct sim_config){
		.mtu = f->mtu,
		.max_pairs = f->identity.max_pairs,
		.link_up = (f->identity.flags & SIM_FUNCTION_LINK_UP) != 0,
		.flags = f->control.flags & SIM_CONTROL_ANNOUNCE ? SIM_CONFIG_ANNOUNCE : 0,
	};
	memcpy(r->out->config.mac, &f->mac, sizeof(r->out->config.mac));
	return 0;
}

static int on_set_mtu(struct function *f, struct request *r)
{
	uint64_t mtu = r->in->u64.value;

	if (mtu < 68 || mtu > UINT16_MAX)
		return -EINVAL;
	nic_pause(f->nic);
	f->mtu = (uint16_t)mtu;
	nic_resume(f->nic);
	return 0;
}

static int on_announce(struct function *f, struct request *r)
{
	return announce(f, r->in->u64.value);
}

static int on_doorbell(struct function *f, struct request *r)
{
	if (r->in->u64.value > 1)
		return -EINVAL;
	return function_set_doorbell(f, r->in->u64.value != 0, &r->reply_fd);
}

static int on_reset(struct function *f, struct request *r)
{
	function_reset(f);
	return 0;
}

static int on_postcopy_advise(struct function *f, struct request *r)
{
	return postcopy_advise(f, &r->reply_fd);
}

static int on_postcopy_map(struct function *f, struct request *r)
{
	return postcopy_map(f, &r->in->map, r->fds[0], &r->out->u64.value);
}

static int on_postcopy_register(struct function *f, struct request *r)
{
	return postcopy_register(f);
}

static int on_postcopy_end(struct function *f, struct request *r)
{
	postcopy_end(f);
	return 0;
}

static int on_iotlb_update(struct function *f, struct request *r)
{
	return translation_update(f, &r->in->iotlb);
}

static int on_iotlb_invalidate(struct function *f, struct request *r)
{
	return translation_invalidate(f, r->in->iotlb.iova, r->in->iotlb.size);
}

static int on_set_control(struct function *f, struct request *r)
{
	return control_set(f, &r->in->control);
}

static const struct command_desc commands[] = {
	[SIM_HELLO] = {
		.name = "HELLO",
		.handle = on_hello,
		.reply_size = sizeof(struct sim_hello_reply),
	},
	[SIM_MAP] = {
		.name = "MAP",
		.handle = on_map,
		.size = sizeof(struct sim_map),
		.fds = FDS_ONE,
	},
	[SIM_UNMAP] = {
		.name = "UNMAP",
		.handle = on_unmap,
		.size = sizeof(struct sim_map),
	},
	[SIM_SET_FEATURES] = {
		.name = "SET_FEATURES",
		.handle = on_set_features,
		.size = sizeof(struct sim_u64),
	},
	[SIM_PREPARE] = {
		.name = "PREPARE",
		.handle = on_prepare,
		.size = sizeof(struct sim_queue_setup),
		.most = SIM_PREPARE_MAX,
		.fds = FDS_OF_SETUPS,
	},
	[SIM_START] = {
		.name = "START",
		.handle = on_start,
		.size = sizeof(struct sim_queue_set),
	},
	[SIM_STOP] = {
		.name = "STOP",
		.handle = on_stop,
		.size = sizeof(struct sim_queue_set),
		.reply_size = sizeof(struct sim_positions),
	},
	[SIM_SET_FDS] = {
		.name = "SET_FDS",
		.handle = on_set_fds,
		.size = sizeof(struct sim_queue_fds),
		.fds = FDS_OF_CHANGE,
	},
	[SIM_GET_CONFIG] = {
		.name = "GET_CONFIG",
		.handle = on_get_config,
		.reply_size = sizeof(struct sim_config),
	},
	[SIM_SET_MTU] = {
		.name = "SET_MTU",
		.handle = on_set_mtu,
		.size = sizeof(struct sim_u64),
	},
	[SIM_ANNOUNCE] = {
		.name = "ANNOUNCE",
		.handle = on_announce,
		.size = sizeof(struct sim_u64),
	},
	[SIM_DOORBELL] = {
		.name = "DOORBELL",
		.handle = on_doorbell,
		.size = sizeof(struct sim_u64),
	},
	[SIM_RESET] = {
		.name = "RESET",
		.handle = on_reset,
	},
	[SIM_SET_LOG] = {
		.name = "SET_LOG",
		.handle = on_set_log,
		.size = sizeof(struct sim_log),
		.fds = FDS_ONE_OR_NONE,
	},
	[SIM_POSTCOPY_ADVISE] = {
		.name = "POSTCOPY_ADVISE",
		.handle = on_postcopy_advise,
	},
	[SIM_POSTCOPY_MAP] = {
		.name = "POSTCOPY_MAP",
		.handle = on_postcopy_map,
		.size = sizeof(struct sim_map),
		.reply_size = sizeof(struct sim_u64),
		.fds = FDS_ONE,
	},
	[SIM_POSTCOPY_REGISTER] = {
		.name = "POSTCOPY_REGISTER",
		.handle = on_postcopy_register,
	},
	[SIM_POSTCOPY_END] = {
		.name = "POSTCOPY_END",
		.handle = on_postcopy_end,
	},
	[SIM_IOTLB_UPDATE] = {
		.name = "IOTLB_UPDATE",
		.handle = on_iotlb_update,
		.size = sizeof(struct sim_iotlb),
	},
	[SIM_IOTLB_INVALIDATE] = {
		.name = "IOTLB_INVALIDATE",
		.handle = on_iotlb_invalidate,
		.size = sizeof(struct sim_iotlb),
	},
	[SIM_SET_CONTROL] = {
		.name = "SET_CONTROL",
		.handle = on_set_control,
		.size = sizeof(struct sim_control),
	},
};

const char *mailbox_command_name(uint32_t command)
{
	return command < ARRAY_SIZE(commands) ? commands[command].name : NULL;
}

static bool fds_ok(const struct command_desc *d, const struct sim_message *msg, size_t n_fds)
{
	const uint32_t all = SIM_FD_KICK | SIM_FD_CALL | SIM_FD_ERR;
	size_t n = 0;

	switch (d->fds) {
	case FDS_NONE:
		return n_fds == 0;
	case FDS_ONE:
		return n_fds == 1;
	case FDS_ONE_OR_NONE:
		return n_fds <= 1;
	case FDS_OF_SETUPS:
		for (size_t i = 0; i < msg->header.size / d->size; i++) {
			if (msg->payload.setups[i].have_fds & ~all)
				return false;
			n += (size_t)__builtin_popcount(msg->payload.setups[i].have_fds);
		}
		return n_fds == n;
	case FDS_OF_CHANGE:
		return !(msg->payload.fds.have_fds & ~all) &&
		       n_fds == (size_t)__builtin_popcount(msg->payload.fds.have_fds);
	}
	return false;
}

static bool size_ok(const struct command_desc *d, uint32_t size)
{
	return d->most == 0 ? size == d->size
			    : size > 0 && size % d->size == 0 && size / d->size <= d->most;
}

int mailbox_reply(int sock, const struct sim_header *request, int status, const void *payload,
	size_t size, int fd)
{
	struct sim_message msg = {
		.header = {
			.command = request->command,
			.seq = request->seq,
			.status = status,
			.size = (uint32_t)size,
		},
	};

	if (size > 0)
		memcpy(&msg.payload, payload, size);
	return fdmsg_send(sock, &msg, sizeof(msg.header) + size, &fd, fd >= 0 ? 1 : 0);
}

/* The driver is gone, or does not speak our language: its function starts anew. */
static void detach(struct function *f, const char *reason)
{
	log_info("function %s: %s: reset", f->identity.name, reason);
	loop_remove(&f->nic->loop, &f->mailbox);
	misbehave_forget(f);
	if (function_renew(f) < 0)
		log_warning("function %s: no memory for new registers; no driver gets it before there is some",
			f->identity.name);
}

static int check(const struct command_desc *d, const struct sim_message *msg, size_t n_fds)
{
	if (!d || !d->handle)
		return -EOPNOTSUPP;
	if (!size_ok(d, msg->header.size) || msg->header.status != 0 || msg->header.seq == 0 ||
		!fds_ok(d, msg, n_fds))
		return -EBADMSG;
	return 0;
}

void mailbox_execute(struct function *f, const struct sim_message *msg, int *fds, size_t n_fds)
{
	uint32_t command = msg->header.command;
	const struct command_desc *d = command < ARRAY_SIZE(commands) ? &commands[command] : NULL;
	union sim_payload out = { 0 };
	struct request request = {
		.in = &msg->payload,
		.out = &out,
		.fds = fds,
		.n_fds = n_fds,
		.size = msg->header.size,
		.reply_fd = -1,
	};
	int r = check(d, msg, n_fds);

	if (r == 0)
		r = d->handle(f, &request);
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = close_keep_errno(fds[i]);
	if (r < 0)
		log_debug("function %s: command %u (%s) refused: %s", f->identity.name, command,
			d && d->name ? d->name : "unknown", strerror(-r));
	if (mailbox_reply(f->mailbox.fd, &msg->header, r, &out, r == 0 ? d->reply_size : 0,
		    r == 0 ? request.reply_fd : -1) < 0)
		detach(f, "its driver does not take replies");
}

static void on_mailbox(struct source *source)
{
	struct function *f =
		(struct function *)((char *)source - offsetof(struct function, mailbox));
	struct sim_message msg = { 0 };
	int fds[MAILBOX_MAX_FDS];
	size_t n_fds = 0;
	ssize_t n = fdmsg_recv(source->fd, &msg, sizeof(msg), fds, MAILBOX_MAX_FDS, &n_fds, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return;
	if (n == -EBADMSG) { /* too long, or too many descriptors; its header is there */
		msg.header.size = UINT32_MAX;
		n_fds = 0;
	} else if (n < (ssize_t)sizeof(msg.header)) {
		while (n_fds > 0)
			close_keep_errno(fds[--n_fds]);
		detach(f, n > 0 ? "a message without a header" : "its driver is gone");
		return;
	} else if (msg.header.size != (size_t)n - sizeof(msg.header)) {
		msg.header.size = UINT32_MAX;
	}
	if (!misbehave_command(f, &msg, fds, n_fds))
		mailbox_execute(f, &msg, fds, n_fds);
}

int mailbox_attach(struct function *f, int *ret_fd)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (f->mailbox.fd >= 0)
		detach(f, "a new mailbox");
	r = f->renew_due ? function_renew(f) : 0;
	if (r == 0)
		r = loop_add(&f->nic->loop, &f->mailbox, ours, on_mailbox);
	if (r < 0)
		return r;
	ours = -1;
	*ret_fd = TAKE_FD(theirs);
	return 0;
}

void mailbox_event(struct function *f, enum sim_event_kind kind, uint32_t queue)
{
	const struct {
		struct sim_header header;
		struct sim_event event;
	} msg = {
		.header = { .command = SIM_EVENT, .size = sizeof(struct sim_event) },
		.event = { .kind = kind, .queue = queue },
	};

	if (f->mailbox.fd >= 0 && fdmsg_send(f->mailbox.fd, &msg, sizeof(msg), NULL, 0) < 0)
		log_warning("function %s: its driver missed event %u", f->identity.name,
			(unsigned int)kind);
}

void mailbox_config_changed(struct function *f)
{
	f->regs->link_up = (f->identity.flags & SIM_FUNCTION_LINK_UP) != 0;
	f->regs->config_generation++;
	mailbox_event(f, SIM_EVENT_CONFIG, 0);
}

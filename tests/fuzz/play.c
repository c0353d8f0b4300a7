/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/play.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/backend.h"
#include "protocol/table.h"
#include "tests/fuzz/clock.h"
#include "tests/fuzz/files.h"
#include "tests/fuzz/must.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

static struct stand stand;
static int peer = -1; /* the front-end's end of the connection */
static size_t n_base; /* descriptors that are open when there is nothing */

static bool died;           /* a worker did in a message of this connection: answers are nobody's */
static uint32_t dies_after; /* calls outside; 0: it lives */
static jmp_buf death;
static bool forged; /* nothing that is known of state and device holds any more */

/* Before the messages of a step. */
static struct device_section device_before;
static struct session_section session_before;
static bool failed_before;
static uint32_t n_expected; /* messages that are whole in the socket, and not handled */
static struct wire_header expected[64];

static struct session *session(void)
{
	return &stand.session;
}

static int sock(void)
{
	return fdstore_get(&stand.fds, SHIM_SLOT_CONN);
}

/* What a process that dies leaves behind is no leak. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void on_call(void)
{
	if (dies_after > 0 && --dies_after == 0)
		longjmp(death, 1);
}

/* --------------------------------------------------------------------------- connection */

static void end_connection(void)
{
	shutdown(sock(), SHUT_RDWR);
	session_end(session());
	fdstore_put(&stand.fds, SHIM_SLOT_CONN, -1);
	stand.kept[SHIM_SLOT_CONN] = close_keep_errno(stand.kept[SHIM_SLOT_CONN]);
	peer = close_keep_errno(peer);
	n_expected = 0;
}

static void connect_frontend(void)
{
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
		"socketpair: %s", strerror(errno));
	peer = ends[1];
	fdstore_put(&stand.fds, SHIM_SLOT_CONN, ends[0]);
	stand.kept[SHIM_SLOT_CONN] = dup(ends[0]);
	died = false;
	must(session_begin(session(), ends[0]) == 0, "a connection is of no use: %s",
		session()->reason);
}

/* ------------------------------------------------------------------------------ replies */

/* What the front-end reads: header and body of each reply, whose descriptors are closed. */
static bool read_reply(struct wire_header *ret, uint8_t *body, size_t *ret_fds)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	struct msghdr header = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer) };
	ssize_t n = recvmsg(peer, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return false;
	*ret_fds = 0;
	must(n == (ssize_t)sizeof(*ret) || forged, "half a reply");
	if (n != (ssize_t)sizeof(*ret))
		return true;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		int fd;

		must(c->cmsg_len == CMSG_LEN(sizeof(int)), "a reply with several descriptors");
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
		++*ret_fds;
	}
	if (forged) { /* the reply is in the page */
		while (recv(peer, body, WIRE_MAX_PAYLOAD, MSG_DONTWAIT) > 0)
			;
		return true;
	}
	must(ret->size <= WIRE_MAX_PAYLOAD, "a reply of %u bytes", ret->size);
	must(ret->size == 0 || recv(peer, body, ret->size, MSG_DONTWAIT) == (ssize_t)ret->size,
		"a reply without its end");
	return true;
}

/* Does a message that was accepted have a body of its own? */
static bool has_own_body(const struct message_desc *desc)
{
	return desc->reply == REPLY_OWN || desc->reply == REPLY_OWN_EMPTY ||
	       desc->reply == REPLY_OWN_ZERO || desc->reply == REPLY_ACK_OR_OWN;
}

static void check_reply(const struct wire_header *m, const struct wire_header *reply, size_t n_fds)
{
	const struct message_desc *desc = message_find(m->request);

	must(reply->request == m->request, "message %u is answered as %u", m->request,
		reply->request);
	must(reply->flags == (WIRE_VERSION | WIRE_REPLY), "a reply with flags %#x", reply->flags);
	must(n_fds == 0 || (desc && has_own_body(desc)), "message %u is answered with a descriptor",
		m->request);
	must((desc && has_own_body(desc)) || reply->size == sizeof(uint64_t),
		"message %u is answered with %u bytes", m->request, reply->size);
	must((desc && desc->reply != REPLY_ACK) || m->flags & WIRE_NEED_REPLY,
		"message %u is answered, and nobody asked", m->request);
}

static bool may_be_answered(const struct wire_header *m)
{
	const struct message_desc *desc = message_find(m->request);

	return m->flags & WIRE_NEED_REPLY || (desc && desc->reply != REPLY_ACK);
}

static bool must_be_answered(const struct wire_header *m)
{
	const struct message_desc *desc = message_find(m->request);

	return desc && (desc->reply == REPLY_ACK_ALWAYS || desc->reply == REPLY_ACK_NO_FD ||
			       (has_own_body(desc) && desc->reply != REPLY_ACK_OR_OWN));
}

/*
 * Replies come in the order of the messages; those that have none are passed over.
 * @ends: so does the connection, and a message may have no reply for it
 */
static void read_replies(uint32_t n_handled, bool ends)
{
	uint8_t body[WIRE_MAX_PAYLOAD];
	struct wire_header reply;
	size_t n_fds;
	uint32_t i = 0;

	while (read_reply(&reply, body, &n_fds)) {
		if (forged || died)
			continue;
		while (i < n_handled &&
			(expected[i].request != reply.request || !may_be_answered(&expected[i]))) {
			must(!must_be_answered(&expected[i]), "message %u has no answer",
				expected[i].request);
			i++;
		}
		must(i < n_handled, "a reply to message %u, which nobody sent", reply.request);
		check_reply(&expected[i++], &reply, n_fds);
	}
	for (; i < n_handled && !ends && !forged && !died; i++)
		must(!must_be_answered(&expected[i]), "message %u has no answer",
			expected[i].request);
}

/* ------------------------------------------------------------- requests of the worker's own */

#define FILLER UINT32_MAX /* as a request: it fills the channel */

static bool channel_ended;
static bool channel_waits;		      /* the front-end reads nothing there */
static bool owed[QUEUE_MAX][2]; /* signals that nobody has heard of, since the last other step */

static size_t close_all(struct msghdr *header)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		int fd;

		must(c->cmsg_len == CMSG_LEN(sizeof(int)), "a request with several descriptors");
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
		n++;
	}
	return n;
}

static bool read_request(void)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct wire_header m;
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof(m) };
	struct msghdr header = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer) };
	const int from = files_channel_peer();
	union wire_payload payload = { 0 };
	const struct backend_desc *desc;
	uint32_t ring;
	size_t n_fds;

	if (recvmsg(from, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(m))
		return false;
	n_fds = close_all(&header);
	if (m.request == FILLER)
		return true;
	must(m.request < WIRE_BACKEND_N_REQUESTS, "request %u of the worker's own", m.request);
	desc = backend_find((enum wire_backend_request)m.request);
	must(desc->when && m.size == desc->size && m.flags == WIRE_VERSION,
		"%s with %u bytes, flags %#x", desc->name, m.size, m.flags);
	must(n_fds == (m.request == WIRE_BACKEND_VRING_HOST_NOTIFIER), "%s with %zu descriptors",
		desc->name, n_fds);
	must(m.size == 0 || recv(from, &payload, m.size, MSG_DONTWAIT) == (ssize_t)m.size,
		"%s without its end", desc->name);
	ring = payload.state.index;
	must(m.request == WIRE_BACKEND_CONFIG_CHANGE || m.request == WIRE_BACKEND_IOTLB_MSG ||
			ring < stand.device.n_queues,
		"%s of ring %u", desc->name, ring);
	if (m.request == WIRE_BACKEND_VRING_CALL || m.request == WIRE_BACKEND_VRING_ERR)
		owed[ring][m.request == WIRE_BACKEND_VRING_ERR] = false;
	must(m.request != WIRE_BACKEND_IOTLB_MSG ||
			((payload.iotlb.type == WIRE_IOTLB_MISS ||
				 payload.iotlb.type == WIRE_IOTLB_ACCESS_FAIL) &&
				payload.iotlb.perm != 0 && payload.iotlb.perm <= 3),
		"%s of type %u for %u", desc->name, payload.iotlb.type, payload.iotlb.perm);
	return true;
}

/* What the worker's loop does in each round, whatever came. */
static void do_round(void)
{
	bool fresh;

	session_notify(session());
	(void)session_inband_fd(session(), &fresh);
	session_give_notifiers(session());
	while (!channel_waits && read_request())
		;
}

/* ------------------------------------------------------------------------------- checks */

static void remember(void)
{
	device_before = stand.device_section;
	session_before = stand.session_section;
	failed_before = stand.driver.fail_after > 0;
}

/* What lies beyond the rings and regions that there are means nothing. */
static bool same_device(const struct device_section *a, const struct device_section *b)
{
	struct page_span spans[PAGE_MAX_SPANS];
	size_t n = device_section_spans(a, spans);

	for (size_t i = 0; i < n; i++) {
		if (memcmp((const uint8_t *)a + spans[i].start, (const uint8_t *)b + spans[i].start,
			    spans[i].size) != 0)
			return false;
	}
	return true;
}

/* What the messages of this step did that may change although all were refused. */
static void check_refused(void)
{
	struct session_section *now = &stand.session_section;
	uint64_t n = now->messages - session_before.messages,
		 refused = now->refused - session_before.refused;
	static struct session_section same;

	if (forged || n == 0 || n != refused || device_is_away(&stand.device) || failed_before)
		return;
	for (uint64_t i = 0; i < n && i < SESSION_TRACE_SIZE; i++) {
		if (now->trace[(now->trace_next - 1 - i) % SESSION_TRACE_SIZE].result == -EIO)
			return; /* that the device failed is news */
	}
	must(same_device(&device_before, &stand.device_section),
		"a refused message changed the device's state: %s", now->refusal);
	same = session_before;
	same.progress = now->progress;
	same.messages = now->messages;
	same.refused = now->refused;
	same.features_refused = now->features_refused;
	memcpy(same.refusal, now->refusal, sizeof(same.refusal));
	same.reply_size = now->reply_size;
	same.reply_slot = now->reply_slot; /* the one before was forgotten */
	memcpy(same.reply, now->reply, sizeof(same.reply));
	same.trace_next = now->trace_next;
	memcpy(same.trace, now->trace, sizeof(same.trace));
	must(memcmp(&same, now, sizeof(same)) == 0,
		"a refused message changed the session's state: %s", now->refusal);
}

static void check_fds(void)
{
	size_t want = n_base + stand_count_fds(&stand) + (size_t)(peer >= 0),
	       have = files_open_fds();

	must(have == want, "%zu descriptors are open, %zu are somebody's", have, want);
}

/* What takes a while. */
static void check_all(void)
{
	check_fds();
	if (!forged)
		stand_check_sections(&stand);
}

/* The loop's: what is in the socket is handled, or the connection ends. */
static void receive(void)
{
	uint64_t before = stand.session_section.messages;
	uint32_t n_handled;
	int r;

	do
		r = session_receive(session());
	while (r == 1);
	n_handled = (uint32_t)(stand.session_section.messages - before);
	if (forged || died)
		n_handled = n_expected;
	must(n_handled <= n_expected, "%u messages were handled, %u were sent", n_handled,
		n_expected);
	read_replies(n_handled, r < 0);
	n_expected -= n_handled;
	memmove(expected, expected + n_handled, n_expected * sizeof(expected[0]));
	check_refused();
	if (r < 0) {
		must(session()->reason[0] != '\0', "a connection ends for no reason: %d", r);
		end_connection();
	}
}

/* -------------------------------------------------------------------------------- steps */

static void send_bytes(const void *data, size_t size, const int *fds, size_t n_fds)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * (WIRE_MAX_FDS + 2))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (n_fds > 0) {
		header.msg_control = control.buffer;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	(void)!sendmsg(peer, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* In a socket that has a beginning of a message, what comes next may be the end of it. */
static bool aligned = true;

static void note_message(const struct wire_header *header)
{
	if (!aligned) { /* nobody knows what it will be taken for */
		end_connection();
		aligned = true;
		return;
	}
	if (n_expected < ARRAY_SIZE(expected))
		expected[n_expected++] = *header;
}

/* What was taken back is not used from the answer on. */
static void check_taken_back(const struct step_message *m)
{
	const struct session_section *now = &stand.session_section;
	const struct session_trace *last =
		&now->trace[(now->trace_next - 1) % SESSION_TRACE_SIZE];
	const struct wire_iotlb *iotlb = &m->payload.iotlb;

	if (forged || died || now->messages != session_before.messages + 1 ||
		last->request != WIRE_IOTLB_MSG || last->result != 0 ||
		m->header.request != WIRE_IOTLB_MSG || iotlb->type != WIRE_IOTLB_INVALIDATE ||
		device_is_away(&stand.device))
		return;
	must(!fuzz_driver_translates(
		     &stand.driver, iotlb->iova, iotlb_last(iotlb->iova, iotlb->size)),
		"%#lx is translated although it was taken back", iotlb->iova);
}

static void do_message(const struct step *step)
{
	struct step_message m;
	uint32_t size;

	steps_message(session(), step, &m);
	size = m.header.size < WIRE_MAX_PAYLOAD ? m.header.size : WIRE_MAX_PAYLOAD;
	note_message(&m.header);
	if (peer < 0)
		return;
	if (step->kind == STEP_PARTIAL) {
		uint8_t bytes[sizeof(m.header) + WIRE_MAX_PAYLOAD];
		size_t whole = sizeof(m.header) + size, part = step->more[0];

		part = part < whole ? part : whole;
		memcpy(bytes, &m.header, sizeof(m.header));
		memcpy(bytes + sizeof(m.header), &m.payload, size);
		send_bytes(bytes, part, m.fds, part > 0 ? m.n_fds : 0);
		receive();
		if (peer < 0)
			return;
		if (step->more[1] % 2)
			send_bytes(
				bytes + part, whole - part, m.fds, step->more[1] % 4 == 3 ? 1 : 0);
		else
			aligned = false;
	} else {
		struct {
			struct wire_header header;
			uint8_t payload[WIRE_MAX_PAYLOAD];
		} whole = { .header = m.header };

		memcpy(whole.payload, &m.payload, size);
		send_bytes(&whole, sizeof(m.header) + size, m.fds, m.n_fds);
	}
	if (step->kind == STEP_HOLD)
		return;
	receive();
	check_taken_back(&m);
}

static void do_bytes(const struct step *step)
{
	send_bytes(step, sizeof(*step), NULL, 0);
	aligned = false;
	if (n_expected < ARRAY_SIZE(expected))
		memcpy(&expected[n_expected++], step, sizeof(expected[0]));
	receive();
}

/* As tools/worker/start.c: a page that makes no sense is begun anew. */
static void begin_worker(void)
{
	int r = stand_worker_begin(&stand);

	must(r == 0 || (forged && (r == -EBADMSG || r == -EPROTO)),
		"a worker can't read its predecessor's page: %d", r);
	if (r == 0)
		return;
	stand_wipe(&stand);
	must(stand_worker_begin(&stand) == 0, "a worker can't begin anew");
	device_release(&stand.device);
	stand_commit(&stand);
}

static void take_over(void)
{
	uint64_t before = stand.session_section.messages;
	int r;

	if (sock() < 0) {
		if (stand.session_section.connected)
			session_end(session());
		return;
	}
	r = stand.session_section.connected ? session_resume(session(), sock()) : -EBADMSG;
	must(before == stand.session_section.messages || forged || died,
		"a message was handled while nothing was to be");
	if (r < 0)
		end_connection();
	else
		receive();
}

static void do_restart(void)
{
	stand_worker_end(&stand);
	begin_worker();
	take_over();
}

void play_forge(void (*forge)(void *arg, uint8_t *page), void *arg)
{
	uint8_t *page =
		mmap(NULL, SHIM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, stand.page_fd, 0);

	must(page != MAP_FAILED, "mmap: %s", strerror(errno));
	stand_worker_end(&stand);
	forge(arg, page);
	munmap(page, SHIM_PAGE_SIZE);
	forged = stand.driver.lenient = true;
	begin_worker();
	take_over();
}

/* As tools/worker/driver_link.c. */
static void take_events(void)
{
	struct driver_event event;

	while (!stand.device.lost &&
		stand.driver.device.ops->next_event(&stand.driver.device, &event) == 0) {
		switch (event.kind) {
		case DRIVER_EVENT_CONFIG:
			session_config_changed(session());
			break;
		case DRIVER_EVENT_QUEUE_ERROR:
			device_iotlb_look(&stand.device, event.queue);
			device_ring_failed(&stand.device, event.queue);
			break;
		case DRIVER_EVENT_MISS:
			device_iotlb_look_at_all(&stand.device);
			break;
		case DRIVER_EVENT_FAILED:
			device_fail(&stand.device, "it says so");
			break;
		case DRIVER_EVENT_GONE:
			stand.device.lost = true;
			break;
		}
	}
	stand.driver.n_events = 0;
	stand_commit(&stand);
}

static void do_events(const struct step *step)
{
	fuzz_driver_event(&stand.driver, (enum driver_event_kind)(step->ring % 5), step->more[0]);
	take_events();
}

/* Mostly in the guest's memory as it calls it. */
static void do_miss(const struct step *step)
{
	const struct driver_miss miss = {
		.iova = 0x7f0000000000ULL + step->more[0] * 1024ULL + step->more[3],
		.perm = 1U + step->more[1] % 2U,
		.refused = step->more[2] % 8 == 7,
	};

	if (!fuzz_driver_miss(&stand.driver, step->ring, &miss))
		return;
	fuzz_driver_event(&stand.driver,
		miss.refused ? DRIVER_EVENT_QUEUE_ERROR : DRIVER_EVENT_MISS, step->ring);
	take_events();
}

static bool is_channel(int fd)
{
	struct stat have, want;

	return fd >= 0 && fstat(fd, &have) == 0 && fstat(files_fd(FILE_CHANNEL), &want) == 0 &&
	       have.st_ino == want.st_ino;
}

/* The device signals; what it signals to is the worker's own where the state says so. */
static void do_call(const struct step *step)
{
	uint32_t ring = step->ring % stand.device.n_queues;
	enum driver_queue_fd which = step->more[0] % 2 ? DRIVER_FD_ERR : DRIVER_FD_CALL;
	enum wire_backend_request request = which == DRIVER_FD_ERR ? WIRE_BACKEND_VRING_ERR
								   : WIRE_BACKEND_VRING_CALL;
	const struct ring_state *state = &stand.device_section.rings[ring];
	int fd = fdstore_get(
		&stand.fds, which == DRIVER_FD_ERR ? state->err_slot : state->call_slot);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	const uint64_t one = 1;

	if (fd < 0 || !(stand.session_section.inband[ring] & BIT(which)) || poll(&p, 1, 0) != 1 ||
		write(fd, &one, sizeof(one)) < 0)
		return;
	owed[ring][which == DRIVER_FD_ERR] = true;
	do_round();
	must(forged || channel_waits || channel_ended || !is_channel(session_channel(session(), request)) ||
			!owed[ring][which == DRIVER_FD_ERR],
		"the front-end does not hear of ring %u", ring);
}

static bool is_signalled(int32_t slot)
{
	struct pollfd p = { .fd = fdstore_get(&stand.fds, slot), .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

/* There is room again: nothing that was signalled meanwhile stays. */
static void check_signals(void)
{
	const struct session_section *now = &stand.session_section;

	for (int i = 0; i < 4; i++)
		do_round();
	if (forged || channel_ended ||
		!is_channel(session_channel(session(), WIRE_BACKEND_VRING_CALL)))
		return;
	for (uint32_t i = 0; i < stand.device.n_queues; i++) {
		const struct ring_state *ring = &stand.device_section.rings[i];

		must(!(now->inband[i] & BIT(DRIVER_FD_CALL)) || !is_signalled(ring->call_slot),
			"ring %u: a call is held back", i);
		must(!(now->inband[i] & BIT(DRIVER_FD_ERR)) || !is_signalled(ring->err_slot),
			"ring %u: an error is held back", i);
		must(!owed[i][0] && !owed[i][1], "ring %u: a signal was lost", i);
	}
}

static void do_channel(const struct step *step)
{
	static const struct wire_header filler = { .request = FILLER };

	switch (step->ring % 4) {
	case 0:
		channel_waits = true;
		files_fill_channel(&filler, sizeof(filler));
		break;
	case 1:
		channel_waits = false;
		check_signals();
		break;
	case 2:
		channel_ended = true;
		files_end_channel(false);
		break;
	default:
		channel_ended = channel_waits = false;
		files_end_channel(true);
	}
}

static void do_fail(const struct step *step)
{
	static const int errors[] = { -EINVAL, -ENOSPC, -ENODEV, -ETIMEDOUT, -EIO, -EPROTO, -EBUSY,
		-ENOMEM };

	stand.driver.fail_after = 1 + step->more[0] % 16;
	stand.driver.fail_more = step->more[1] % 4;
	stand.driver.fail_with = errors[step->ring % ARRAY_SIZE(errors)];
}

static void do_return(void)
{
	const int none = -1;

	stand.driver.gone = true;
	device_returned(&stand.device, &none, 1);
	stand_commit(&stand);
}

static void do_time(const struct step *step)
{
	fuzz_clock_advance(step->more[0] * 100 * NS_PER_MS);
	if (session_check_deadline(session()) < 0)
		end_connection();
}

static void do_relay(const struct step *step)
{
	struct queue_set failed;

	for (int i = 0; i < 3 && device_relay_run(&stand.device, &failed); i++)
		;
	if (step->ring % 2)
		device_relay_sleep(&stand.device);
	stand_commit(&stand);
}

/* One buffer more in a ring where steps.c puts it, or any bytes. */
static void do_guest(const struct step *step)
{
	uint8_t *ring = files_memory() + (step->ring % 16) * 0x4000;
	struct vring_desc desc = { .addr = 0x40000000ULL + step->value[0] * 64U,
		.len = step->value[1] * 4U,
		.flags = (uint16_t)(step->value[2] & 7) };
	uint16_t *avail = (uint16_t *)(void *)(ring + 0x2000);

	if (step->value[3] > 240) {
		memcpy(ring + step->value[4] * 64U, step->more, sizeof(step->more));
		return;
	}
	for (uint8_t i = 0; i < step->more[0] % 17; i++) {
		if (stand.device_section.features & BIT_ULL(VIRTIO_F_RING_PACKED)) {
			struct vring_packed_desc *p =
				(void *)(ring + 16 * ((step->more[1] + i) % 16));

			*p = (struct vring_packed_desc){ .addr = desc.addr,
				.len = desc.len,
				.id = i,
				.flags = (uint16_t)(desc.flags |
						    (step->more[2] & 1 ? 1 << 15 : 1 << 7)) };
			continue;
		}
		desc.next = (uint16_t)((avail[1] + 1) % 16);
		((struct vring_desc *)(void *)ring)[avail[1] % 16] = desc;
		avail[2 + avail[1] % 16] = avail[1] % 16;
		avail[1]++;
	}
}

static void do_cut(const struct step *step)
{
	static const enum file_kind kinds[] = { FILE_MORE_RAM, FILE_LOG };

	files_cut(kinds[step->ring % 2], step->more[0] * 1024U);
}

static uint8_t saved[64 * 1024];
static uint64_t saved_size;

static void do_pipe(const struct step *step)
{
	switch (step->ring % 4) {
	case 0:
		transfer_run(session());
		saved_size = files_drain(saved, sizeof(saved));
		break;
	case 1:
		saved[step->value[0]] ^= step->value[1];
		files_feed(saved, saved_size < sizeof(saved) ? saved_size : sizeof(saved));
		break;
	case 2:
		files_end_pipe();
		break;
	default:
		files_feed(step, sizeof(*step));
	}
	if (session()->transfer.fd >= 0)
		transfer_run(session());
}

/* For people who repeat an input. */
static bool shows;

static void show(const struct step *step)
{
	static const char *const kinds[STEP_N_KINDS] = {
		[STEP_MESSAGE... STEP_MESSAGE_ALSO] = "",
		[STEP_HOLD] = "together with the next: ",
		[STEP_PARTIAL] = "a part of ",
		[STEP_BYTES] = "bytes",
		[STEP_CLOSE] = "the front-end leaves",
		[STEP_RESTART] = "the worker dies",
		[STEP_EVENT] = "event",
		[STEP_FAIL] = "a call will fail",
		[STEP_RETURN] = "the device is replaced",
		[STEP_TIME] = "time passes",
		[STEP_RELAY] = "relays run",
		[STEP_GUEST] = "the guest offers",
		[STEP_WORK] = "the device works",
		[STEP_CUT] = "a file is cut",
		[STEP_PIPE] = "pipe",
		[STEP_DIE] = "the worker will die",
		[STEP_MISS] = "an address is missing",
		[STEP_CALL] = "the device signals",
		[STEP_CHANNEL] = "the channel",
		[STEP_CONTROL] = "the driver sets something",
	};
	enum step_kind kind = step->kind % STEP_N_KINDS;

	fprintf(stderr,
		"step: %s%s (flags %u size %u n_fds %u file %u ring %u value %u %u %u %u %u more "
		"%u %u %u %u)\n",
		kinds[kind], kind <= STEP_PARTIAL ? message_name(step->request) : "", step->flags,
		step->size, step->n_fds, step->file, step->ring, step->value[0], step->value[1],
		step->value[2], step->value[3], step->value[4], step->more[0], step->more[1],
		step->more[2], step->more[3]);
}

static void do_step(const struct step *step)
{
	switch (step->kind % STEP_N_KINDS) {
	case STEP_BYTES:
		do_bytes(step);
		break;
	case STEP_CLOSE:
		end_connection();
		break;
	case STEP_RESTART:
		do_restart();
		break;
	case STEP_EVENT:
		do_events(step);
		break;
	case STEP_FAIL:
		do_fail(step);
		break;
	case STEP_RETURN:
		do_return();
		break;
	case STEP_TIME:
		do_time(step);
		break;
	case STEP_RELAY:
		do_relay(step);
		break;
	case STEP_GUEST:
		do_guest(step);
		break;
	case STEP_WORK:
		fuzz_driver_work(
			&stand.driver, step->ring, step->more[0], (uint32_t)step->value[0] * 16);
		break;
	case STEP_CUT:
		do_cut(step);
		break;
	case STEP_PIPE:
		do_pipe(step);
		break;
	case STEP_DIE:
		dies_after = 1 + step->more[0] % 12;
		break;
	case STEP_MISS:
		do_miss(step);
		break;
	case STEP_CALL:
		do_call(step);
		break;
	case STEP_CHANNEL:
		do_channel(step);
		break;
	case STEP_CONTROL:
		fuzz_driver_control(&stand.driver, step->more);
		break;
	default:
		do_message(step);
	}
}

/* ------------------------------------------------------------------------------- inputs */

void play_begin(const uint8_t head[STEPS_HEAD_SIZE])
{
	struct driver_caps caps = {
		.features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_PACKED) |
			    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			    BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_NET_F_MQ) |
			    BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_MAC),
		.n_queues = 2 + 2 * (head[0] % 4U),
		.max_queue_size = head[1] % 2 ? 256 : 1024,
		.start_position = head[2] % 4 == 1 ? DRIVER_START_INITIAL : DRIVER_START_ANY,
		.in_order = head[3] % 2 == 0,
		.page_faults = head[4] % 2,
		.dirty_log = head[5] % 3,
		.iotlb = head[7] & 1,
		.doorbell = head[7] & 2,
		.control_queue = head[7] & 8,
		.announces = true,
		.together = head[7] & 32,
		.forgets_fds = head[7] & 64,
		.ring_positions = head[7] & 128 && !(head[7] & 8), /* whose ring may be packed, and is asked for its position */
	};

	n_base = files_open_fds(); /* libFuzzer has some as well */
	fuzz_clock_begin();
	files_begin();
	if (caps.iotlb && !(head[7] & 16)) { /* of any use only then */
		caps.start_position = DRIVER_START_ANY;
		caps.in_order = true;
		caps.dirty_log = DRIVER_LOG_ALL;
	}
	if (caps.iotlb)
		caps.features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	if (caps.control_queue)
		caps.features |= BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX);
	if (caps.in_order)
		caps.features |= BIT_ULL(VIRTIO_F_IN_ORDER);
	stand_begin(&stand, &caps, head[6] % 4);
	stand.doorbell_allowed = !(head[7] & 4);
	channel_waits = channel_ended = false;
	memset(owed, 0, sizeof(owed));
	must(stand_worker_begin(&stand) == 0, "an empty page is refused");
	aligned = true;
	forged = died = false;
	dies_after = 0;
	n_expected = 0;
	saved_size = 0;
}

struct stand *play_stand(void)
{
	return &stand;
}

void play_init(void)
{
	shows = getenv("FUZZ_SHOW") != NULL;
	log_set_level(shows ? LOG_LEVEL_DEBUG : (enum log_level)0);
	signal(SIGPIPE, SIG_IGN);
	files_open();
	stand_init(&stand);
	files_open_fds(); /* opens one itself */
}

/* A message during which the worker may die; another one goes on then. */
static void do_mortal_step(const struct step *step)
{
	bool armed = dies_after > 0;

	if (armed && __lsan_disable)
		__lsan_disable();
	stand.driver.on_call = on_call;
	if (setjmp(death) == 0) {
		do_step(step);
	} else {
		stand.driver.on_call = NULL;
		died = failed_before = true;
		do_restart();
	}
	stand.driver.on_call = NULL;
	dies_after = 0;
	if (armed && __lsan_enable)
		__lsan_enable();
}

static bool is_message(const struct step *step)
{
	enum step_kind kind = step->kind % STEP_N_KINDS;

	return kind <= STEP_MESSAGE_ALSO || kind == STEP_HOLD;
}

/* Others may give up a ring, or the channel. */
static bool keeps_signals(const struct step *step)
{
	enum step_kind kind = step->kind % STEP_N_KINDS;

	return kind == STEP_CALL || kind == STEP_RESTART || (kind == STEP_CHANNEL && step->ring % 4 < 2);
}

void play_step(const struct step *step)
{
	static unsigned int n;

	if (shows)
		show(step);
	if (peer < 0)
		connect_frontend();
	remember();
	if (!keeps_signals(step))
		memset(owed, 0, sizeof(owed));
	if (is_message(step))
		do_mortal_step(step);
	else
		do_step(step);
	do_round();
	if (!forged)
		stand_check(&stand);
	if (shows || ++n % 8 == 0)
		check_all();
}

void play_end(void)
{
	if (peer >= 0)
		end_connection();
	if (!forged)
		stand_check(&stand);
	check_all();
	stand_end(&stand);
	check_fds();
	fuzz_clock_end();
}

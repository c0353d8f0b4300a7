/* SPDX-License-Identifier: BSD-2-Clause */
/* The function's driver: what it asks of simnic, and what it is answered. */
#include "tests/fuzz/simnic_mailbox_internal.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/must.h"
#include "tools/simnic/mailbox.h"
#include "tools/simnic/queues.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/fdmsg.h"

/* ------------------------------------------------------------------------------ requests */

static bool ask(struct simnic_stand *s, int sock, uint32_t command,
	const union sim_payload *payload, size_t size, const int *fds, size_t n_fds)
{
	struct sim_message m = {
		.header = { .command = command, .seq = ++s->seq, .size = (uint32_t)size }
	};

	memcpy(&m.payload, payload, size < sizeof(m.payload) ? size : sizeof(m.payload));
	if (size > sizeof(m.payload))
		size = sizeof(m.payload);
	return fdmsg_send(sock, &m, sizeof(m.header) + size, fds, n_fds) == 0;
}

/* Return: whether there was one; events are passed over. */
static bool take_answer(const struct simnic_stand *s, int sock, uint32_t command, int *ret_status)
{
	struct sim_message m;
	int fds[4];
	size_t n_fds = 0;
	ssize_t n;

	while ((n = fdmsg_recv(sock, &m, sizeof(m), fds, ARRAY_SIZE(fds), &n_fds, MSG_DONTWAIT)) >
		0) {
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		must(n == (ssize_t)(sizeof(m.header) + m.header.size),
			"an answer of %zd bytes says %u", n, m.header.size);
		if (m.header.command == SIM_EVENT && m.header.seq == 0)
			continue;
		must(m.header.seq == s->seq && m.header.command == command,
			"request %u is answered as %u", s->seq, m.header.seq);
		must(m.header.status <= 0 && (m.header.status == 0 || m.header.size == 0),
			"an answer of %d with %u bytes", m.header.status, m.header.size);
		*ret_status = m.header.status;
		return true;
	}
	return false;
}

static struct sim_queue_setup setup(uint32_t queue, uint8_t how)
{
	uint64_t at = SIMNIC_IOVA + queue % 8 * SIMNIC_RING_STEP;

	return (struct sim_queue_setup){
		.queue = queue,
		.size = SIMNIC_RING_SIZE,
		.desc = at,
		.driver = at + 0x2000,
		.device = at + 0x3000,
		.position = how & 1 ? 0x80008000 : 0,
		.have_fds = how & 2 ? SIM_FD_KICK | SIM_FD_CALL : SIM_FD_KICK,
	};
}

/* What each command takes; the numbers are near what is right. Return: bytes. */
static size_t fill(const struct simnic_stand *s, struct input *in, uint32_t command,
	union sim_payload *p, int *fds, size_t *n_fds)
{
	uint8_t how = input_byte(in), which = input_byte(in);

	*n_fds = 0;
	switch (command) {
	case SIM_MAP:
	case SIM_UNMAP:
	case SIM_POSTCOPY_MAP:
		p->map = (struct sim_map){ .iova = SIMNIC_IOVA + (how & 3) * FILES_RAM_SIZE,
			.size = FILES_RAM_SIZE >> (how >> 6),
			.offset = how & 4 ? 4096 : 0,
			.perm = how & 8 ? SIM_PERM_READ : SIM_PERM_READ | SIM_PERM_WRITE };
		fds[0] = files_fd(which < 200 ? (which & 1 ? FILE_MORE_RAM : FILE_RAM)
					      : which % FILE_N_KINDS);
		*n_fds = command != SIM_UNMAP;
		return sizeof(p->map);
	case SIM_SET_LOG:
		p->log = (struct sim_log){ .offset = how & 2 ? 64 : 0 };
		if (how & 1) /* all, or up to the end of the first region */
			p->log.size = how & 4 ? (SIMNIC_IOVA + FILES_RAM_SIZE) / SIM_LOG_PAGE / 8
					      : FILES_LOG_SIZE - 64;
		fds[0] = files_fd(which < 200 ? FILE_LOG : which % FILE_N_KINDS);
		*n_fds = how & 1;
		return sizeof(p->log);
	case SIM_PREPARE:
		for (uint32_t i = 0; i <= (how >> 6); i++) {
			p->setups[i] = setup(i + (how & 3), which);
			for (int k = __builtin_popcount(p->setups[i].have_fds); k > 0; k--)
				fds[(*n_fds)++] =
					files_fd(which < 240 ? FILE_EVENT : which % FILE_N_KINDS);
		}
		return ((how >> 6) + 1U) * sizeof(p->setups[0]);
	case SIM_START:
	case SIM_STOP:
		p->set.bits[0] = how;
		p->set.bits[1] = which > 250;
		return sizeof(p->set);
	case SIM_SET_FDS:
		p->fds = (struct sim_queue_fds){
			.queue = how & 7, .change = which & 7, .have_fds = which >> 3 & 7
		};
		for (int k = __builtin_popcount(p->fds.have_fds); k > 0; k--)
			fds[(*n_fds)++] = files_fd(how & 8 ? FILE_EVENT : FILE_OTHER_EVENT);
		return sizeof(p->fds);
	case SIM_IOTLB_UPDATE:
	case SIM_IOTLB_INVALIDATE:
		p->iotlb = (struct sim_iotlb){ .iova = SIMNIC_IOVA + (how & 15) * SIMNIC_RING_STEP,
			.size = which & 16 ? FILES_RAM_SIZE : SIMNIC_RING_STEP,
			.address = SIMNIC_IOVA + (which & 15) * SIMNIC_RING_STEP,
			.perm = 3U ^ how >> 6 };
		if (command == SIM_IOTLB_INVALIDATE && which > 240)
			p->iotlb.size = UINT64_MAX;
		return sizeof(p->iotlb);
	case SIM_SET_CONTROL:
		p->control = (struct sim_control){ .flags = (uint32_t)input_word(in, 2),
			.pairs = how & 3,
			.n_unicast = which % (SIM_CONTROL_MACS + 2),
			.n_multicast = (how >> 2) % (SIM_CONTROL_MACS + 2),
			.mac = { 2, 0, 0, 0, 0, which },
			.offloads = input_word(in, 2) };
		memset(p->control.unicast, how, sizeof(p->control.unicast));
		p->control.vlans[how % ARRAY_SIZE(p->control.vlans)] = BIT_ULL(which % 64);
		return sizeof(p->control);
	case SIM_SET_FEATURES:
		p->u64.value = s->function->identity.features &
			       ~(how & 8 ? 0 : BIT_ULL(VIRTIO_F_ACCESS_PLATFORM)) &
			       ~(how & 16 ? BIT_ULL(VIRTIO_NET_F_MQ) : 0) &
			       ~(how & 32 ? BIT_ULL(VIRTIO_NET_F_CTRL_VQ) : 0) &
			       ~(how & 1 ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0) &
			       ~(how & 2 ? BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) : 0) &
			       ~(how & 4 ? BIT_ULL(FUNCTION_F_IN_ORDER) : 0) &
			       ~(uint64_t)(which > 128 ? which : 0);
		return sizeof(p->u64);
	case SIM_SET_MTU:
	case SIM_DOORBELL:
		p->u64.value = which > 240 ? how : how & 1;
		return sizeof(p->u64);
	case SIM_ANNOUNCE:
		p->u64.value = which > 128 ? how * 256U : how;
		return sizeof(p->u64);
	default:
		return 0;
	}
}

void simnic_ask(struct simnic_stand *s, struct input *in, bool any)
{
	static const uint8_t others[] = { SIM_IOTLB_UPDATE, SIM_IOTLB_UPDATE, SIM_IOTLB_UPDATE,
		SIM_IOTLB_INVALIDATE, SIM_IOTLB_INVALIDATE, SIM_SET_CONTROL, SIM_SET_CONTROL };
	uint32_t command = input_byte(in) % (SIM_IOTLB_INVALIDATE + 2 + ARRAY_SIZE(others));
	union sim_payload p = { 0 };
	int fds[MAILBOX_MAX_FDS + 4], status;
	size_t n_fds, size;

	if (command > SIM_IOTLB_INVALIDATE + 1)
		command = others[command - SIM_IOTLB_INVALIDATE - 2];
	size = fill(s, in, command, &p, fds, &n_fds);

	for (int i = any ? input_byte(in) % 4 : 0; i > 0; i--) {
		size_t at = input_byte(in);

		((uint8_t *)&p)[at] ^= input_byte(in);
	}
	if (any) {
		size = (size_t)((ssize_t)size + (int8_t)input_byte(in));
		n_fds = input_byte(in) % ARRAY_SIZE(fds);
		for (size_t i = 0; i < n_fds; i++)
			fds[i] = files_fd((enum file_kind)((i + input_byte(in)) % FILE_N_KINDS));
	}
	/* A guest that migrates on one NIC brings what it chose; where it was has it, too. */
	s->address_was_brought = s->address_was_brought || command == SIM_SET_CONTROL;
	if (!ask(s, s->mailbox, command, &p, size < 4096 ? size : 0, fds, n_fds))
		return;
	simnic_run_loop(s);
	must(take_answer(s, s->mailbox, command, &status),
		"request %u of command %u is not answered", s->seq, command);
}

/* ----------------------------------------------------------------------- queues that run */

void simnic_request(struct simnic_stand *s, int sock, uint32_t command, const void *payload,
	size_t size, const int *fds, size_t n_fds, bool demanded)
{
	union sim_payload p = { 0 };
	int status;

	if (size > 0)
		memcpy(&p, payload, size);
	must(ask(s, sock, command, &p, size, fds, n_fds), "a request is not taken");
	simnic_run_loop(s);
	must(take_answer(s, sock, command, &status), "command %u is not answered", command);
	must(!demanded || status == 0, "command %u is refused: %s", command, strerror(-status));
}

static struct sim_u64 features_for(const struct simnic_stand *s, uint8_t how)
{
	uint64_t without = (how & SIMNIC_OPEN_PACKED ? 0 : BIT_ULL(VIRTIO_F_RING_PACKED)) |
			   (how & SIMNIC_OPEN_TRANSLATED ? 0 : BIT_ULL(VIRTIO_F_ACCESS_PLATFORM));

	return (struct sim_u64){ .value = s->function->identity.features & ~without };
}

void simnic_translate(struct simnic_stand *s, int sock, uint64_t iova, uint64_t address,
	uint64_t size, bool demanded)
{
	const struct sim_iotlb entry = { .iova = iova,
		.size = size,
		.address = address,
		.perm = SIM_PERM_READ | SIM_PERM_WRITE };

	simnic_request(s, sock, SIM_IOTLB_UPDATE, &entry, sizeof(entry), NULL, 0, demanded);
}

void simnic_open_queues(struct simnic_stand *s, int sock, uint8_t how, bool demanded)
{
	bool packed = how & SIMNIC_OPEN_PACKED;
	uint32_t n = how & SIMNIC_OPEN_CONTROL ? 3 : 2;
	const struct sim_map map = {
		.iova = SIMNIC_IOVA, .size = FILES_RAM_SIZE, .perm = SIM_PERM_READ | SIM_PERM_WRITE
	};
	const struct sim_u64 features = features_for(s, how);
	struct sim_queue_setup setups[3] = { setup(0, packed), setup(1, packed), setup(4, packed) };
	const struct sim_queue_set set = { .bits = { how & SIMNIC_OPEN_CONTROL ? 0x13 : 3 } };
	const int ram = files_fd(sock == s->mailbox ? FILE_RAM : FILE_MORE_RAM),
		  kick = files_fd(FILE_EVENT), kicks[] = { kick, kick, kick };

	if (sock != s->mailbox) /* an eventfd is watched once */
		setups[0].have_fds = setups[1].have_fds = 0;
	simnic_request(s, sock, SIM_SET_FEATURES, &features, sizeof(features), NULL, 0, demanded);
	simnic_request(s, sock, SIM_MAP, &map, sizeof(map), &ram, 1, demanded);
	if (how & SIMNIC_OPEN_TRANSLATED)
		simnic_translate(s, sock, SIMNIC_IOVA, SIMNIC_IOVA,
			how & SIMNIC_OPEN_ALL ? FILES_RAM_SIZE : 8 * SIMNIC_RING_STEP, demanded);
	simnic_request(s, sock, SIM_PREPARE, setups, n * sizeof(setups[0]), kicks,
		sock == s->mailbox ? n : 0, demanded);
	simnic_request(s, sock, SIM_START, &set, sizeof(set), NULL, 0, demanded);
}

void simnic_log_pages(struct simnic_stand *s)
{
	const struct sim_log log = { .size = (SIMNIC_IOVA + FILES_RAM_SIZE) / SIM_LOG_PAGE / 8 };
	const int fd = files_fd(FILE_LOG);

	simnic_request(s, s->mailbox, SIM_SET_LOG, &log, sizeof(log), &fd, 1, false);
}

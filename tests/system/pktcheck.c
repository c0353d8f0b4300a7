/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks every packet between pairs of ethdevs: port 0 and 1 send to each other, 2 and 3, and so
 * on. What a frame holds follows from its flow and its number in the flow, so a frame that was
 * changed, lost, repeated, moved, or delivered to another port shows.
 *
 * A flow is a UDP source port. It is sent on the queue of its number, and whoever spreads flows
 * over receive queues must keep each flow in order. No more frames are under way than the
 * smallest ring holds, so nothing on the way has a reason to drop one; --lossy forgives gaps (not
 * changes, repeats or disorder; what was given up after 3 s of silence may still come) for tests that kill a
 * part of the way.
 *
 * Progress is told once a second, and at the end, in one line a port:
 *   port 0: sent 1000 right 1000 lost 0 bad 0 queues 250 250 250 250
 * The exit status is 0 when all was right. SIGTERM and SIGINT end it as if the number of packets
 * was reached.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#define MAX_PORTS  8
#define MAX_QUEUES 16
#define N_FLOWS	   16
#define RING_SIZE  256
#define WINDOW	   128 /* frames of a port under way */
#define BURST	   16
#define MAGIC	   0x76706164U
#define PROBE	   0x70726f62U /* magic of a frame that only asks whether the way is open */
#define MIN_FRAME  64
#define MAX_FRAME  1514
#define FIRST_PORT 20000
#define ANY_SOCKET ((unsigned int)SOCKET_ID_ANY)

struct stamp {
	uint32_t magic;
	uint32_t flow;
	uint64_t number; /* in its flow, from 0 */
	uint16_t from;	 /* port */
	uint16_t size;	 /* of the frame, bytes */
} __rte_packed;

#define HEADERS (sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr))

struct port {
	struct rte_ether_addr mac;
	uint64_t next[N_FLOWS];	    /* number to send */
	uint64_t expected[N_FLOWS]; /* number to receive, of the peer's flows */
	uint64_t late[N_FLOWS], given_up[N_FLOWS]; /* from the one to the other they may come still, in order */
	uint64_t sent, right, lost, bad;
	uint64_t per_queue[MAX_QUEUES];
	uint64_t quiet_since;	    /* TSC of the last frame received */
	uint32_t probed;	    /* bits of the peer's flows whose probe arrived */
};

static struct {
	uint16_t n_ports, n_queues;
	uint64_t packets; /* each port sends; 0: without end */
	bool lossy;
	struct rte_mempool *pool;
	struct port ports[MAX_PORTS];
} run = { .n_queues = 1, .packets = 100000 };

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static uint64_t mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15ULL;
	x ^= x >> 31;
	x *= 0xbf58476d1ce4e5b9ULL;
	return x ^ (x >> 29);
}

static uint16_t frame_size(uint32_t flow, uint64_t number)
{
	return (uint16_t)(MIN_FRAME + mix(number * N_FLOWS + flow) % (MAX_FRAME - MIN_FRAME + 1));
}

/* The bytes behind the stamp. */
static uint8_t filler(const struct stamp *stamp, uint32_t index)
{
	return (uint8_t)(mix(stamp->number * N_FLOWS + stamp->flow) + index * 7U + stamp->from);
}

static void write_frame(uint8_t *to, const struct stamp *stamp)
{
	struct rte_ether_hdr *ether = (struct rte_ether_hdr *)to;
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(ether + 1);
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);
	uint32_t i;

	memset(to, 0, HEADERS);
	ether->src_addr = run.ports[stamp->from].mac;
	ether->dst_addr = run.ports[stamp->from ^ 1].mac;
	ether->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	ip->version_ihl = RTE_IPV4_VHL_DEF;
	ip->total_length = rte_cpu_to_be_16((uint16_t)(stamp->size - sizeof(*ether)));
	ip->time_to_live = 64;
	ip->next_proto_id = IPPROTO_UDP;
	ip->src_addr = rte_cpu_to_be_32(RTE_IPV4(10, 9, 0, stamp->from + 1U));
	ip->dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 9, 0, (stamp->from ^ 1U) + 1U));
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	udp->src_port = rte_cpu_to_be_16((uint16_t)(FIRST_PORT + stamp->flow));
	udp->dst_port = rte_cpu_to_be_16(FIRST_PORT);
	udp->dgram_len = rte_cpu_to_be_16((uint16_t)(stamp->size - sizeof(*ether) - sizeof(*ip)));
	memcpy(to + HEADERS, stamp, sizeof(*stamp));
	for (i = HEADERS + sizeof(*stamp); i < stamp->size; i++)
		to[i] = filler(stamp, i);
}

static struct rte_mbuf *make_frame(uint32_t magic, uint16_t from, uint32_t flow, uint64_t number)
{
	struct stamp stamp = { magic, flow, number, from, frame_size(flow, number) };
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(run.pool);
	char *to;

	if (!mbuf)
		return NULL;
	to = rte_pktmbuf_append(mbuf, stamp.size);
	if (!to) {
		rte_pktmbuf_free(mbuf);
		return NULL;
	}
	write_frame((uint8_t *)to, &stamp);
	return mbuf;
}

static void complain(struct port *port, uint16_t id, const char *what)
{
	if (port->bad++ < 10)
		fprintf(stderr, "port %u: %s\n", id, what);
}

/* Frames that are not ours (a guest's neighbour discovery, say) are nobody's business. */
static bool is_ours(struct port *port, const uint8_t *frame, uint32_t size, struct stamp *ret_stamp)
{
	if (size < HEADERS + sizeof(*ret_stamp))
		return false;
	memcpy(ret_stamp, frame + HEADERS, sizeof(*ret_stamp));
	if (ret_stamp->magic == PROBE && ret_stamp->flow < N_FLOWS)
		port->probed |= 1U << ret_stamp->flow;
	return ret_stamp->magic == MAGIC;
}

static void check_frame(uint16_t id, const uint8_t *frame, uint32_t size)
{
	struct port *port = &run.ports[id];
	uint8_t wanted[MAX_FRAME];
	struct stamp stamp;

	if (!is_ours(port, frame, size, &stamp))
		return;
	if (stamp.from != (id ^ 1) || stamp.flow >= N_FLOWS || stamp.size != size ||
			size != frame_size(stamp.flow, stamp.number)) {
		complain(port, id, "a frame's stamp is wrong");
		return;
	}
	write_frame(wanted, &stamp);
	if (memcmp(frame, wanted, size) != 0) {
		complain(port, id, "a frame was changed");
		return;
	}
	if (stamp.number >= port->late[stamp.flow] && stamp.number < port->given_up[stamp.flow]) {
		port->late[stamp.flow] = stamp.number + 1;
		return;
	}
	if (stamp.number < port->expected[stamp.flow]) {
		complain(port, id, "a frame came twice or late");
		return;
	}
	port->lost += stamp.number - port->expected[stamp.flow];
	port->expected[stamp.flow] = stamp.number + 1;
	port->right++;
}

static bool receive(uint16_t id)
{
	struct port *port = &run.ports[id];
	struct rte_mbuf *burst[BURST];
	uint8_t frame[MAX_FRAME];
	uint16_t queue, n, i;
	bool any = false;

	for (queue = 0; queue < run.n_queues; queue++) {
		n = rte_eth_rx_burst(id, queue, burst, BURST);
		for (i = 0; i < n; i++) {
			uint32_t size = burst[i]->pkt_len;

			if (size <= MAX_FRAME) {
				const void *at = rte_pktmbuf_read(burst[i], 0, size, frame);

				check_frame(id, at, size);
			} else {
				complain(port, id, "a frame is too long");
			}
			rte_pktmbuf_free(burst[i]);
		}
		port->per_queue[queue] += n;
		any |= n > 0;
	}
	return any;
}

static uint64_t under_way(uint16_t id)
{
	const struct port *peer = &run.ports[id ^ 1];

	return run.ports[id].sent - peer->right - peer->lost;
}

static bool finished(const struct port *port)
{
	return stopping || (run.packets != 0 && port->sent >= run.packets);
}

static void send_some(uint16_t id)
{
	struct port *port = &run.ports[id];
	uint32_t flow = (uint32_t)(port->sent % N_FLOWS);
	uint16_t i;

	for (i = 0; i < BURST && !finished(port) && under_way(id) < WINDOW; i++) {
		struct rte_mbuf *mbuf = make_frame(MAGIC, id, flow, port->next[flow]);

		if (!mbuf)
			return;
		if (rte_eth_tx_burst(id, (uint16_t)(flow % run.n_queues), &mbuf, 1) != 1) {
			rte_pktmbuf_free(mbuf);
			return;
		}
		port->next[flow]++;
		port->sent++;
		flow = (flow + 1) % N_FLOWS;
	}
}

/* What is under way and doesn't come for this long is lost, or late. */
static void give_up(uint16_t id, uint64_t now, uint64_t patience)
{
	struct port *port = &run.ports[id], *peer = &run.ports[id ^ 1];
	uint32_t flow;

	if (under_way(id ^ 1) == 0 || now - port->quiet_since < patience)
		return;
	for (flow = 0; flow < N_FLOWS; flow++) {
		if (port->late[flow] == port->given_up[flow])
			port->late[flow] = port->expected[flow];
		port->given_up[flow] = peer->next[flow];
		port->lost += peer->next[flow] - port->expected[flow];
		port->expected[flow] = peer->next[flow];
	}
	port->quiet_since = now;
}

static void tell(void)
{
	uint16_t id, queue;

	for (id = 0; id < run.n_ports; id++) {
		const struct port *port = &run.ports[id];

		printf("port %u: sent %" PRIu64 " right %" PRIu64 " lost %" PRIu64 " bad %" PRIu64 " queues",
				id, port->sent, port->right, port->lost, port->bad);
		for (queue = 0; queue < run.n_queues; queue++)
			printf(" %" PRIu64, port->per_queue[queue]);
		printf("\n");
	}
	fflush(stdout);
}

static bool all_done(void)
{
	uint16_t id;

	for (id = 0; id < run.n_ports; id++)
		if (!finished(&run.ports[id]) || under_way(id) != 0)
			return false;
	return true;
}

static void exchange(void)
{
	uint64_t second = rte_get_tsc_hz(), told = rte_rdtsc(), now;
	uint64_t patience = (run.lossy ? 3 : 20) * second;
	uint16_t id;

	for (id = 0; id < run.n_ports; id++)
		run.ports[id].quiet_since = told;
	while (!all_done()) {
		now = rte_rdtsc();
		for (id = 0; id < run.n_ports; id++) {
			send_some(id);
			if (receive(id) || under_way(id ^ 1) == 0)
				run.ports[id].quiet_since = now;
			else
				give_up(id, now, patience);
		}
		if (now - told > second) {
			told = now;
			tell();
		}
	}
}

static void probe(uint16_t id)
{
	struct rte_mbuf *mbuf;
	uint32_t flow;

	for (flow = 0; flow < N_FLOWS; flow++) {
		if (run.ports[id ^ 1].probed & (1U << flow))
			continue;
		mbuf = make_frame(PROBE, id, flow, 0);
		if (mbuf && rte_eth_tx_burst(id, (uint16_t)(flow % run.n_queues), &mbuf, 1) != 1)
			rte_pktmbuf_free(mbuf);
	}
}

/* Ask until each flow has come through once, both ways: only then is a lost frame a fault. */
static void open_ways(void)
{
	uint64_t pause = rte_get_tsc_hz() / 50, last = 0;
	uint16_t id, n_open = 0;

	while (!stopping && n_open < run.n_ports) {
		bool ask = rte_rdtsc() - last > pause;

		if (ask)
			last = rte_rdtsc();
		for (id = 0, n_open = 0; id < run.n_ports; id++) {
			if (ask)
				probe(id);
			receive(id);
			if (run.ports[id].probed == (1U << N_FLOWS) - 1)
				n_open++;
		}
	}
}

static int open_port(uint16_t id)
{
	struct rte_eth_conf conf = { 0 };
	uint16_t queue;
	int r;

	r = rte_eth_dev_configure(id, run.n_queues, run.n_queues, &conf);
	for (queue = 0; queue < run.n_queues && r == 0; queue++)
		r = rte_eth_rx_queue_setup(id, queue, RING_SIZE, ANY_SOCKET, NULL, run.pool);
	for (queue = 0; queue < run.n_queues && r == 0; queue++)
		r = rte_eth_tx_queue_setup(id, queue, RING_SIZE, ANY_SOCKET, NULL);
	if (r == 0)
		r = rte_eth_dev_start(id);
	if (r == 0)
		r = rte_eth_macaddr_get(id, &run.ports[id].mac);
	if (r < 0)
		fprintf(stderr, "port %u: %s\n", id, rte_strerror(-r));
	return r;
}

static int read_options(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--lossy"))
			run.lossy = true;
		else if (!strcmp(argv[i], "--queues") && i + 1 < argc)
			run.n_queues = (uint16_t)atoi(argv[++i]);
		else if (!strcmp(argv[i], "--packets") && i + 1 < argc)
			run.packets = strtoull(argv[++i], NULL, 0);
		else
			return -1;
	}
	return run.n_queues >= 1 && run.n_queues <= MAX_QUEUES ? 0 : -1;
}

int main(int argc, char **argv)
{
	int n = rte_eal_init(argc, argv);
	bool right = true;
	uint16_t id;

	if (n < 0)
		return 2;
	if (read_options(argc - n, argv + n) < 0) {
		fprintf(stderr, "usage: pktcheck EAL-OPTIONS -- [--queues N] [--packets N] [--lossy]\n");
		return 2;
	}
	run.n_ports = rte_eth_dev_count_avail();
	if (run.n_ports == 0 || run.n_ports % 2 != 0 || run.n_ports > MAX_PORTS) {
		fprintf(stderr, "pktcheck: %u ports, pairs are needed\n", run.n_ports);
		return 2;
	}
	run.pool = rte_pktmbuf_pool_create("frames",
			(unsigned int)(run.n_ports * run.n_queues * RING_SIZE * 2 + 512), 0, 0,
			RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!run.pool) {
		fprintf(stderr, "pktcheck: no memory for frames\n");
		return 2;
	}
	for (id = 0; id < run.n_ports; id++)
		if (open_port(id) < 0)
			return 2;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	open_ways();
	printf("started\n");
	fflush(stdout);
	exchange();
	tell();
	for (id = 0; id < run.n_ports; id++) {
		const struct port *port = &run.ports[id];

		right &= port->bad == 0 && port->right > 0 && (run.lossy || port->lost == 0);
		rte_eth_dev_stop(id);
		rte_eth_dev_close(id);
	}
	rte_eal_cleanup();
	return right ? 0 : 1;
}

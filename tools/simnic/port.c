/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink: one receive and one transmit queue of a DPDK port, or the loop, which stands for a
 * neighbour that answers every frame.
 *
 * Frames to a port ask for the offloads that their sender asked for, where the port has them; the
 * others are done here. A port is opened before privileges are given up, and polled by the first
 * data thread; all threads send, one at a time. What the port can't take now is dropped, as on any
 * wire.
 *
 * Before that thread sleeps it asks for an interrupt, and then looks once more: a frame that came
 * in between raises none. A port without interrupts is looked at about once a millisecond.
 */
#include "tools/simnic/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>

#include "tools/simnic/frame.h"
#include "tools/simnic/net.h"
#include "tools/simnic/offload.h"
#include "tools/simnic/port_offload.h"
#include "tools/simnic/switch.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define RING_SIZE 512

#define WANTED_TX                                                                                  \
	(RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO | \
		RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
#define WANTED_RX (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM)

/*
 * Offloads that a port claims and that are better not asked for. TAP: cuts IPv4 only, into 64 parts
 * at most, and loses what is more; and checks sums in software, which the guest does as well.
 */
static const struct {
	const char *driver;
	uint64_t tx, rx;
} unwanted[] = {
	{ "net_tap", RTE_ETH_TX_OFFLOAD_TCP_TSO, WANTED_RX },
};

static int configure(struct port *port, bool interrupts)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf = { 0 };
	int r = rte_eth_dev_info_get(port->id, &info);

	if (r < 0)
		return r;
	conf.txmode.offloads = WANTED_TX & info.tx_offload_capa;
	conf.rxmode.offloads = WANTED_RX & info.rx_offload_capa;
	for (size_t i = 0; i < ARRAY_SIZE(unwanted); i++) {
		if (strcmp(unwanted[i].driver, info.driver_name) != 0)
			continue;
		conf.txmode.offloads &= ~unwanted[i].tx;
		conf.rxmode.offloads &= ~unwanted[i].rx;
	}
	port->tx_offloads = conf.txmode.offloads;
	conf.intr_conf.rxq = interrupts;
	return rte_eth_dev_configure(port->id, 1, 1, &conf);
}

static int open_queues(struct port *port, struct rte_mempool *pool)
{
	uint16_t n_rx = RING_SIZE, n_tx = RING_SIZE, mtu;
	int socket = rte_eth_dev_socket_id(port->id), r;

	r = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &n_rx, &n_tx);
	if (r == 0)
		r = rte_eth_rx_queue_setup(port->id, 0, n_rx, (unsigned int)socket, NULL, pool);
	if (r == 0)
		r = rte_eth_tx_queue_setup(port->id, 0, n_tx, (unsigned int)socket, NULL);
	if (r == 0)
		r = rte_eth_dev_get_mtu(port->id, &mtu);
	if (r == 0) {
		netif_let_all_be_sent();
		port->max_size = mtu + 18U; /* addresses, a VLAN tag, type */
		r = rte_eth_dev_start(port->id);
	}
	return r;
}

static bool is_eventfd(int fd)
{
	char path[32], target[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* How the port will wake us. A TAP is readable itself, others signal a counter when asked to. */
static void find_interrupt(struct port *port)
{
	int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port->id, 0);

	if (fd < 0)
		return;
	port->rx_counts = is_eventfd(fd);
	if (!port->rx_counts || rte_eth_dev_rx_intr_enable(port->id, 0) == 0)
		port->rx_fd = fd;
}

/* Frames for all addresses; an interface of the kernel must not stay so when we are gone. */
static int receive_all(struct port *port)
{
	struct rte_eth_dev_info info;
	int r = rte_eth_dev_info_get(port->id, &info);

	if (r == 0)
		r = netif_open(&port->netif, info.if_index);
	if (r == 0 && port->netif.sock < 0 && rte_eth_promiscuous_enable(port->id) < 0)
		log_warning("the uplink does not pass frames for other addresses than its own");
	return r;
}

/* A port that can wake us is asked to; one that can't is configured again without that. */
static int start_port(struct port *port, struct rte_mempool *pool)
{
	int r = configure(port, true);

	if (r == 0)
		r = open_queues(port, pool);
	if (r == 0) {
		find_interrupt(port);
	} else {
		r = configure(port, false);
		if (r == 0)
			r = open_queues(port, pool);
	}
	return r == 0 ? receive_all(port) : r;
}

int port_open(const struct options *o, struct rte_mempool *pool, struct port **ret)
{
	struct port *port;
	int r = 0;

	*ret = NULL;
	if (o->uplink == UPLINK_NONE)
		return 0;
	port = calloc(1, sizeof(*port));
	if (!port)
		return -ENOMEM;
	port->kind = o->uplink;
	port->rx_fd = port->netif.sock = -1;
	rte_spinlock_init(&port->tx_lock);
	if (o->uplink != UPLINK_LOOP) {
		port->id = (uint16_t)rte_eth_find_next(0);
		r = port->id < RTE_MAX_ETHPORTS ? start_port(port, pool) : -ENODEV;
	}
	if (r < 0) {
		log_error("uplink %s: %s", o->uplink_text,
			r == -ENODEV ? "DPDK has no such port; does the interface or device exist?" :
				       strerror(-r));
		netif_close(&port->netif);
		free(port);
		return r;
	}
	*ret = port;
	return 0;
}

void port_close(struct port *port)
{
	if (port && port->kind != UPLINK_LOOP) {
		rte_eth_dev_stop(port->id);
		rte_eth_dev_close(port->id);
		netif_close(&port->netif);
	}
	free(port);
}

/* ------------------------------------------------------------------------------- loop */

typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* Source and destination change places: one load and one store, which the copy that follows likes. */
static void swap_addresses(uint8_t *frame)
{
	bytes16 head;

	memcpy(&head, frame, sizeof(head));
	head = __builtin_shufflevector(head, head, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14,
		15);
	memcpy(frame, &head, sizeof(head));
}

/* Frames to all are not sent back: their senders would get their own address as destination. */
static void reflect(struct data_thread *t, struct function *from, struct rte_mbuf **frames,
	uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *frame = rte_pktmbuf_mtod(frames[i], uint8_t *);

		if (frame[0] & 1)
			return;
		swap_addresses(frame);
	}
	net_receive(t, from, frames, n);
}

/* --------------------------------------------------------------------------- transmit */

static bool fits(const struct port *port, const struct rte_mbuf *m)
{
	uint32_t size = m->pkt_len;

	if (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG)
		size = (uint32_t)(m->l2_len + m->l3_len + m->l4_len + m->tso_segsz);
	return size <= port->max_size &&
	       (m->nb_segs == 1 || port->tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
}

/* How many frames from the first one on the port can take. */
static uint16_t count_fit(const struct port *port, struct rte_mbuf **frames, uint32_t n)
{
	uint16_t fit = 0;

	while (fit < n && fits(port, frames[fit]))
		fit++;
	return rte_eth_tx_prepare(port->id, 0, frames, fit);
}

/* Gives frames to the port until it is full; passes over those it can never take. */
static uint32_t burst(struct port *port, struct rte_mbuf **frames, uint32_t n)
{
	uint32_t done = 0;

	while (done < n) {
		uint16_t fit = count_fit(port, frames + done, n - done);
		uint16_t sent = rte_eth_tx_burst(port->id, 0, frames + done, fit);

		done += sent;
		if (sent < fit)
			break; /* full */
		if (done < n)
			rte_pktmbuf_free(frames[done++]);
	}
	return done;
}

/* The port frees what it sends; the frames are the caller's, so each gets one more reference. */
static void send_frames(struct port *port, struct rte_mbuf **frames, uint32_t n)
{
	uint32_t done;

	for (uint32_t i = 0; i < n; i++) {
		for (struct rte_mbuf *m = frames[i]; m; m = m->next)
			rte_mbuf_refcnt_update(m, 1);
	}
	rte_spinlock_lock(&port->tx_lock);
	done = burst(port, frames, n);
	rte_spinlock_unlock(&port->tx_lock);
	rte_pktmbuf_free_bulk(frames + done, n - done);
}

static void send_software(struct data_thread *t, struct port *port, struct rte_mbuf *m)
{
	struct rte_mbuf *segments[OFFLOAD_MAX_SEGMENTS];
	uint32_t n;

	if (frame_offload(m)->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		offload_checksum(m);
		send_frames(port, &m, 1);
		return;
	}
	n = offload_segment(m, t->nic->pool, segments);
	send_frames(port, segments, n);
	rte_pktmbuf_free_bulk(segments, n);
}

void port_send(struct data_thread *t, struct port *port, struct function *from,
	struct rte_mbuf **frames, uint32_t n)
{
	uint32_t first = 0;

	if (port->kind == UPLINK_LOOP) {
		reflect(t, from, frames, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!frame_has_offload(frames[i]) || port_offload_ask(port->tx_offloads, frames[i]))
			continue;
		send_frames(port, frames + first, i - first);
		send_software(t, port, frames[i]);
		first = i + 1;
	}
	send_frames(port, frames + first, n - first);
}

/* ---------------------------------------------------------------------------- receive */

/* Makes a frame of the switch from one of the port. Return: false: it is none. */
static bool accept_frame(struct rte_mbuf **m)
{
	if ((*m)->data_len < FRAME_MIN_SIZE)
		return false;
	if ((*m)->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED && rte_vlan_insert(m) < 0)
		return false;
	if (rte_pktmbuf_headroom(*m) < sizeof(*frame_header(*m)))
		return false;
	port_offload_told(*m);
	return true;
}

bool port_receive(struct data_thread *t, struct port *port)
{
	struct rte_mbuf *frames[NIC_BURST];
	uint32_t n, kept = 0;

	if (port->kind == UPLINK_LOOP)
		return false;
	n = rte_eth_rx_burst(port->id, 0, frames, NIC_BURST);
	for (uint32_t i = 0; i < n; i++) {
		if (accept_frame(&frames[i]))
			frames[kept++] = frames[i];
		else
			rte_pktmbuf_free(frames[i]);
	}
	if (kept > 0)
		switch_input(t, NULL, frames, kept);
	return n > 0;
}

/* ------------------------------------------------------------------------------ sleep */

int port_sleep_begin(struct data_thread *t, struct port *port, int poll_ms)
{
	if (!port || port->kind == UPLINK_LOOP)
		return -1;
	if (port->rx_fd < 0)
		return poll_ms;
	if (!port->rx_counts)
		return -1;
	if (rte_eth_dev_rx_intr_enable(port->id, 0) < 0)
		return poll_ms;
	return port_receive(t, port) ? 0 : -1;
}

void port_sleep_end(struct port *port)
{
	uint64_t count;

	if (!port || port->rx_fd < 0 || !port->rx_counts)
		return;
	rte_eth_dev_rx_intr_disable(port->id, 0);
	if (read(port->rx_fd, &count, sizeof(count)) < 0)
		return; /* it was not the port that woke us */
}

void port_lost(struct port *port)
{
	log_error("the uplink's interface is gone; restart simnic once it is there again");
	port->rx_fd = -1;
}

bool port_link_up(const struct port *port)
{
	struct rte_eth_link link;

	if (port->kind == UPLINK_LOOP)
		return true;
	if (port->netif.sock >= 0)
		return netif_running(&port->netif);
	return rte_eth_link_get_nowait(port->id, &link) == 0 && link.link_status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drives a virtio-net function by VFIO, with what drivers/virtio has for it, on a kernel that has
 * both: see that they understand each other. It runs in a guest, as the only one that uses the
 * function.
 *
 *     vfio_check /dev/vfio/GROUP 0000:01:00.0
 *
 * Each step prints `ok STEP`, or `FAILED STEP: why`, which is the end. What it sends is an ARP
 * request that the host's end of the wire answers, and frames of a type for experiments, which the
 * host looks for: one from memory that the device may reach, and one from the same memory when it
 * may not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "drivers/virtio/dma.h"
#include "drivers/virtio/net.h"
#include "drivers/virtio/queue.h"
#include "drivers/virtio/vfio_pci.h"

#define PAGE        4096u
#define QUEUE_SIZE  16
#define DEADLINE_MS 60000
#define FRAME_SIZE  60
#define BUFFER_SIZE 2048
#define RINGS_IOVA  0x100000u
#define EXTRA_IOVA  0x800000u
#define FEATURES                                                                                   \
	(BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |                         \
		BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_NET_F_MTU))

enum { RX, TX, N_QUEUES };

/* A page each, and at last one that is a range of its own. */
enum page {
	DESC,
	AVAIL = DESC + N_QUEUES,
	USED = AVAIL + N_QUEUES,
	BUFFER = USED + N_QUEUES,
	EXTRA = BUFFER + N_QUEUES,
	N_PAGES
};

struct frame {
	struct virtio_net_hdr_v1 header;
	uint8_t bytes[FRAME_SIZE];
};

static struct lab {
	int container, group, device;
	const char *name;
	struct vfio_pci vfio;
	struct virtio_function function;
	struct dma dma;
	struct dma_table table;
	int memory_fd; /* -1 until there is some */
	uint8_t *memory;
	int eventfds[N_QUEUES];
	struct virtio_doorbell bells[N_QUEUES];
	uint16_t avail[N_QUEUES];
} lab = { .memory_fd = -1 };

static char why[256];

/* Where it went wrong first is what is told, not who called that. */
static int failed(const char *what, int r)
{
	if (why[0] == 0)
		snprintf(why, sizeof(why), "%s: %d %s", what, r, r < 0 ? strerror(-r) : "");
	return -1;
}

/* For steps: what has to be is 0, or a system call's success; a certain result; a condition. */
#define WORKS(call)                                                                                \
	do {                                                                                       \
		int r_ = (call);                                                                   \
		if (r_ < 0)                                                                        \
			return failed(#call, r_);                                                  \
	} while (0)
#define GIVES(result, call)                                                                        \
	do {                                                                                       \
		int r_ = (call);                                                                   \
		if (r_ != (result))                                                                \
			return failed(#call " is not " #result, r_);                               \
	} while (0)
#define HOLDS(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return failed("not so: " #condition, 0);                                   \
	} while (0)

static uint8_t *page(unsigned int index)
{
	return lab.memory + index * PAGE;
}

static uint64_t page_iova(unsigned int index)
{
	return index == EXTRA ? EXTRA_IOVA : RINGS_IOVA + index * PAGE;
}

static int attach(void)
{
	struct vfio_iommu_facts facts;

	WORKS(vfio_container_check(lab.container));
	WORKS(vfio_group_attach(lab.group, lab.container));
	WORKS(vfio_group_attach(lab.group, lab.container));
	WORKS(vfio_group_device(lab.group, lab.name, &lab.device));
	WORKS(vfio_iommu_read(lab.container, &facts));
	HOLDS(facts.pages & PAGE);
	HOLDS(facts.last > RINGS_IOVA);
	return 0;
}

static int read_layout(void)
{
	struct vfio_pci_regions regions;

	WORKS(vfio_pci_regions_read(lab.device, &regions));
	WORKS(vfio_pci_open(lab.device, &regions, &lab.vfio));
	WORKS(pci_dma_allow(&lab.vfio.pci));
	WORKS(virtio_function_open(&lab.vfio.pci, &lab.function));
	HOLDS(lab.function.msix.n_vectors >= N_QUEUES);
	HOLDS(lab.function.n_queues >= N_QUEUES);
	HOLDS((lab.function.offered & FEATURES) == FEATURES);
	return 0;
}

/* The host says which address and MTU it gave to the device; see the test. */
static int map_registers(void)
{
	static const uint8_t mac[] = { 0x52, 0x54, 0x00, 0xaa, 0xbb, 0x01 };
	struct virtio_net_facts facts;

	HOLDS(lab.vfio.n_maps > 0);
	WORKS(virtio_net_read(&lab.function, &facts));
	HOLDS(facts.has_mac && memcmp(facts.mac, mac, sizeof(mac)) == 0);
	HOLDS(facts.mtu == 1400);
	return 0;
}

static int negotiate(void)
{
	struct virtio_function again;

	WORKS(virtio_function_reset(&lab.function, DEADLINE_MS));
	WORKS(virtio_function_negotiate(&lab.function, FEATURES));
	WORKS(virtio_function_open(&lab.vfio.pci, &again));
	HOLDS(again.features == FEATURES);
	HOLDS(again.status == lab.function.status);
	return 0;
}

static struct driver_map map_of(unsigned int first, unsigned int n_pages)
{
	return (struct driver_map){ .iova = page_iova(first),
		.size = n_pages * PAGE,
		.fd = lab.memory_fd,
		.offset = first * PAGE,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE };
}

static int make_memory(void)
{
	lab.memory_fd = memfd_create("rings", MFD_CLOEXEC);
	WORKS(lab.memory_fd);
	WORKS(ftruncate(lab.memory_fd, N_PAGES * PAGE));
	lab.memory =
		mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, lab.memory_fd, 0);
	HOLDS(lab.memory != MAP_FAILED);
	lab.dma = (struct dma){
		.ops = &vfio_dma_ops, .arg = &lab.container, .page_size = PAGE, .table = &lab.table
	};
	return 0;
}

/* What the IOMMU has is told by what it refuses. */
static int map_memory(void)
{
	struct driver_map map;

	WORKS(make_memory());
	map = map_of(DESC, EXTRA);
	WORKS(dma_open(&lab.dma));
	WORKS(dma_map(&lab.dma, &map));
	WORKS(dma_map(&lab.dma, &map));
	GIVES(-EEXIST, vfio_dma_ops.map(&lab.container, lab.memory, map.iova, PAGE, map.perm));
	GIVES(-EINVAL, vfio_dma_ops.unmap(&lab.container, map.iova + PAGE, PAGE));
	return 0;
}

static int unmap_memory(void)
{
	struct driver_map map = map_of(DESC, EXTRA);

	WORKS(dma_unmap(&lab.dma, map.iova, map.size));
	WORKS(vfio_dma_ops.map(&lab.container, lab.memory, map.iova, PAGE, map.perm));
	WORKS(vfio_dma_ops.unmap(&lab.container, map.iova, PAGE));
	WORKS(dma_map(&lab.dma, &map));
	return 0;
}

static int start_queue(uint16_t index)
{
	struct virtio_queue_setup setup = { .index = index,
		.size = QUEUE_SIZE,
		.vector = index,
		.desc = page_iova(DESC + index),
		.driver = page_iova(AVAIL + index),
		.device = page_iova(USED + index) };
	struct virtio_queue_facts facts;

	WORKS(virtio_queue_enable(&lab.function, &setup));
	WORKS(virtio_queue_read(&lab.function, index, &facts));
	HOLDS(facts.enabled && facts.size == QUEUE_SIZE && facts.vector == index);
	WORKS(virtio_queue_doorbell(&lab.function, index, &lab.bells[index]));
	return 0;
}

static int start_queues(void)
{
	for (uint16_t i = 0; i < N_QUEUES; i++) {
		lab.eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		WORKS(lab.eventfds[i]);
	}
	WORKS(vfio_irqs_begin(lab.device, lab.eventfds, N_QUEUES));
	for (uint16_t i = 0; i < N_QUEUES; i++)
		WORKS(start_queue(i));
	WORKS(virtio_function_run(&lab.function));
	return 0;
}

/* One buffer: the page @buffer. */
static void offer(uint16_t queue, unsigned int buffer, uint32_t size)
{
	struct vring_desc *desc = (void *)page(DESC + queue);
	struct vring_avail *avail = (void *)page(AVAIL + queue);

	*desc = (struct vring_desc){ .addr = page_iova(buffer),
		.len = size,
		.flags = queue == RX ? VRING_DESC_F_WRITE : 0 };
	avail->ring[lab.avail[queue] % QUEUE_SIZE] = 0;
	lab.avail[queue]++;
	__atomic_store_n(&avail->idx, lab.avail[queue], __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	virtio_doorbell_ring(&lab.function, &lab.bells[queue],
		(struct queue_position){ .avail = lab.avail[queue] });
}

static bool is_used(uint16_t queue)
{
	struct vring_used *used = (void *)page(USED + queue);

	return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == lab.avail[queue];
}

/* Until the device is done with what was offered. Return: 0; the error of a function that broke. */
static int wait_used(uint16_t queue)
{
	for (int ms = 0; ms < DEADLINE_MS; ms++) {
		int r = virtio_function_check(&lab.function);

		if (is_used(queue) || r < 0)
			return r;
		usleep(1000);
	}
	return -ETIMEDOUT;
}

/* From the device's own address to all; @type as on the wire, then @n bytes of @payload. */
static void write_frame(unsigned int where, uint16_t type, const void *payload, size_t n)
{
	static const uint8_t addresses[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00,
		0xaa, 0xbb, 0x01 };
	struct frame *frame = (void *)page(where);

	memset(frame, 0, sizeof(*frame));
	memcpy(frame->bytes, addresses, sizeof(addresses));
	frame->bytes[12] = (uint8_t)(type >> 8);
	frame->bytes[13] = (uint8_t)type;
	memcpy(frame->bytes + 14, payload, n);
}

static int wait_interrupt(uint16_t queue)
{
	struct pollfd poll_fd = { .fd = lab.eventfds[queue], .events = POLLIN };
	uint64_t count;

	GIVES(1, poll(&poll_fd, 1, DEADLINE_MS));
	GIVES(8, (int)read(lab.eventfds[queue], &count, sizeof(count)));
	return 0;
}

/* Who has 10.0.2.2, the address of the host in QEMU's user network? Tell 10.0.2.15. */
static int send_frame(void)
{
	static const uint8_t request[] = { 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0x00, 0xaa, 0xbb,
		0x01, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2 };

	offer(RX, BUFFER + RX, BUFFER_SIZE);
	write_frame(BUFFER + TX, 0x0806, request, sizeof(request));
	offer(TX, BUFFER + TX, sizeof(struct frame));
	WORKS(wait_used(TX));
	WORKS(wait_interrupt(TX));
	return 0;
}

static int receive_frame(void)
{
	static const uint8_t reply[] = { 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2 };
	struct frame *frame = (void *)page(BUFFER + RX);

	WORKS(wait_interrupt(RX));
	WORKS(wait_used(RX));
	HOLDS(memcmp(frame->bytes + 12, reply, sizeof(reply)) == 0);
	return 0;
}

/* Of a frame that nobody answers only one queue tells, by its own eventfd. */
static int see_interrupt(void)
{
	uint64_t count;

	write_frame(BUFFER + TX, 0x88b5, "no answer", 9);
	offer(TX, BUFFER + TX, sizeof(struct frame));
	WORKS(wait_used(TX));
	WORKS(wait_interrupt(TX));
	HOLDS(read(lab.eventfds[RX], &count, sizeof(count)) < 0 && errno == EAGAIN);
	return 0;
}

static int send_extra(const char *text)
{
	write_frame(EXTRA, 0x88b5, text, strlen(text));
	offer(TX, EXTRA, sizeof(struct frame));
	return wait_used(TX);
}

/*
 * A device may take what it can't read for a broken queue, or go on: both are right. The host sees
 * that the second frame never comes out.
 */
static int block_what_is_unmapped(void)
{
	struct driver_map map = map_of(EXTRA, 1);
	int r;

	WORKS(dma_map(&lab.dma, &map));
	WORKS(send_extra("may be reached"));
	WORKS(dma_unmap(&lab.dma, map.iova, map.size));
	r = send_extra("must not be reached");
	HOLDS(r == 0 || r == -EIO);
	return 0;
}

static int see_function_reset(void)
{
	WORKS(virtio_function_reset(&lab.function, DEADLINE_MS));
	WORKS(vfio_irqs_end(lab.device));
	WORKS(virtio_function_negotiate(&lab.function, FEATURES));
	WORKS(virtio_function_check(&lab.function));
	WORKS(vfio_device_reset(lab.device));
	GIVES(-ENODEV, virtio_function_check(&lab.function));
	WORKS(virtio_function_reset(&lab.function, DEADLINE_MS));
	WORKS(virtio_function_check(&lab.function));
	WORKS(dma_unmap_all(&lab.dma));
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} steps[] = {
	{ "attach", attach },
	{ "layout", read_layout },
	{ "registers", map_registers },
	{ "negotiate", negotiate },
	{ "map", map_memory },
	{ "unmap", unmap_memory },
	{ "queues", start_queues },
	{ "send", send_frame },
	{ "receive", receive_frame },
	{ "interrupt", see_interrupt },
	{ "blocked", block_what_is_unmapped },
	{ "reset", see_function_reset },
};

int main(int argc, char **argv)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	if (argc != 3)
		return 2;
	/* What a device reaches is pinned, and counted. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	lab.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	lab.group = open(argv[1], O_RDWR | O_CLOEXEC);
	lab.name = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].run() < 0) {
			printf("FAILED %s: %s\n", steps[i].name, why);
			return 1;
		}
		printf("ok %s\n", steps[i].name);
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's control queue, which the driver keeps to itself: a device with several pairs uses one
 * until it is told, here or by a register of its maker's. (The guest's own commands end at its
 * front-end.) One command at a time, in a ring of our own at the end of what the IOMMU translates, where
 * no guest has memory; it lies in the kept file, so that a successor goes on in it. What the device
 * writes there is believed only as an answer.
 *
 * Source: virtio 1.2, 5.1.6.5 and 5.1.6.5.6.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <time.h>

#include "drivers/virtio/device_internal.h"
#include "drivers/virtio/net.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define RING_SIZE	 16U
#define DRIVER_AREA	 1024U
#define DEVICE_AREA	 1280U
#define COMMAND		 2048U
#define N_DESCS		 2U /* of a command: what is asked, the answer */
#define NO_ANSWER	 0xff
#define DEADLINE_MS	 500U
#define PAUSE_NS	 (NS_PER_MS / 10)

struct command {
	struct virtio_net_ctrl_hdr head;
	uint16_t pairs; /* little-endian */
	uint8_t answer;
} __attribute__((packed));

static bool is_used(const struct virtio_device *v)
{
	return !v->variant && virtio_function_has(&v->function, VIRTIO_NET_F_MQ);
}

/* Behind all pairs that the device has, though a guest may have fewer. Source: virtio 1.2, 5.1.2. */
static int control_index(struct virtio_device *v, uint16_t *ret)
{
	struct virtio_net_facts facts;
	int r = virtio_net_read(&v->function, &facts);

	if (r == 0 && 2U * facts.max_pairs > UINT16_MAX)
		r = -EPROTO;
	if (r == 0)
		*ret = (uint16_t)(2 * facts.max_pairs);
	return r;
}

static uint64_t control_iova(const struct virtio_device *v)
{
	return ((v->transport->last_iova + 1) & ~(v->control_size - 1)) - v->control_size;
}

static bool is_packed(const struct virtio_device *v)
{
	return virtio_function_has(&v->function, VIRTIO_F_RING_PACKED);
}

int virtio_control_enable(struct virtio_device *v)
{
	const struct driver_map map = {
		.iova = control_iova(v),
		.size = v->control_size,
		.fd = v->kept_fd,
		.offset = v->control_offset,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE,
	};
	struct virtio_queue_setup setup = {
		.size = RING_SIZE,
		.vector = VIRTIO_MSI_NO_VECTOR,
		.desc = map.iova,
		.driver = map.iova + DRIVER_AREA,
		.device = map.iova + DEVICE_AREA,
	};
	int r;

	v->kept->pairs = 1;
	v->kept->control_next = 0;
	if (!is_used(v))
		return 0;
	memset(v->control, 0, v->control_size);
	r = control_index(v, &setup.index);
	if (r == 0)
		r = dma_map(&v->dma, &map);
	return r < 0 ? r : virtio_queue_enable(&v->function, &setup);
}

/* ------------------------------------------------------------------------------- one command */

static uint64_t command_iova(const struct virtio_device *v, size_t offset)
{
	return control_iova(v) + COMMAND + offset;
}

static void offer_split(struct virtio_device *v)
{
	struct vring_desc *descs = (void *)v->control;
	struct vring_avail *avail = (void *)(v->control + DRIVER_AREA);
	uint16_t at = v->kept->control_next;

	descs[0] = (struct vring_desc){
		.addr = htole64(command_iova(v, 0)),
		.len = htole32(offsetof(struct command, answer)),
		.flags = htole16(VRING_DESC_F_NEXT),
		.next = htole16(1),
	};
	descs[1] = (struct vring_desc){
		.addr = htole64(command_iova(v, offsetof(struct command, answer))),
		.len = htole32(1),
		.flags = htole16(VRING_DESC_F_WRITE),
	};
	avail->ring[at % RING_SIZE] = 0;
	__atomic_store_n(&avail->idx, htole16((uint16_t)(at + 1)), __ATOMIC_RELEASE);
}

static struct vring_packed_desc *packed_at(const struct virtio_device *v, uint16_t command)
{
	struct vring_packed_desc *ring = (void *)v->control;

	return &ring[command * N_DESCS % RING_SIZE];
}

static bool wrap_of(uint16_t command)
{
	return command * N_DESCS / RING_SIZE % 2 == 0;
}

static void offer_packed(struct virtio_device *v)
{
	uint16_t at = v->kept->control_next;
	struct vring_packed_desc *descs = packed_at(v, at);
	uint16_t flags = wrap_of(at) ? BIT(VRING_PACKED_DESC_F_AVAIL) : BIT(VRING_PACKED_DESC_F_USED);

	descs[0].addr = htole64(command_iova(v, 0));
	descs[0].len = htole32(offsetof(struct command, answer));
	descs[1].addr = htole64(command_iova(v, offsetof(struct command, answer)));
	descs[1].len = htole32(1);
	descs[0].id = descs[1].id = 0;
	descs[1].flags = htole16(flags | VRING_DESC_F_WRITE);
	__atomic_store_n(&descs[0].flags, htole16(flags | VRING_DESC_F_NEXT), __ATOMIC_RELEASE);
}

/* The command @at was given back. */
static bool is_back(const struct virtio_device *v, uint16_t at)
{
	const struct vring_used *used = (const void *)(v->control + DEVICE_AREA);
	uint16_t flags;

	if (!is_packed(v))
		return le16toh(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE)) == (uint16_t)(at + 1);
	flags = le16toh(__atomic_load_n(&packed_at(v, at)->flags, __ATOMIC_ACQUIRE));
	return !!(flags & BIT(VRING_PACKED_DESC_F_AVAIL)) == wrap_of(at) &&
	       !!(flags & BIT(VRING_PACKED_DESC_F_USED)) == wrap_of(at);
}

static int wait_back(struct virtio_device *v, uint16_t at)
{
	const struct timespec pause = { .tv_nsec = (long)PAUSE_NS };
	uint64_t end = clock_now_ns() + DEADLINE_MS * NS_PER_MS;

	while (!is_back(v, at)) {
		int r = virtio_function_check(&v->function);

		if (r < 0)
			return r;
		if (clock_now_ns() >= end)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Behind the command @at, for a device that hears it. */
static struct queue_position next_after(const struct virtio_device *v, uint16_t at)
{
	uint16_t next = (uint16_t)(at + 1);

	if (!is_packed(v))
		return (struct queue_position){ .avail = next };
	return (struct queue_position){ .avail = next * N_DESCS % RING_SIZE, .avail_wrap = wrap_of(next) };
}

static int run_command(struct virtio_device *v, const struct command *command, uint8_t *ret_answer)
{
	struct command *at = (void *)(v->control + COMMAND);
	struct virtio_doorbell bell;
	uint16_t index;
	int r = control_index(v, &index);

	if (r == 0)
		r = virtio_queue_doorbell(&v->function, index, &bell);
	if (r < 0)
		return r;
	*at = *command;
	if (is_packed(v))
		offer_packed(v);
	else
		offer_split(v);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	virtio_doorbell_ring(&v->function, &bell, next_after(v, v->kept->control_next));
	r = wait_back(v, v->kept->control_next);
	v->kept->control_next++;
	*ret_answer = *(volatile uint8_t *)&at->answer;
	return r;
}

int virtio_control_set_pairs(struct virtio_device *v, uint16_t pairs)
{
	const struct command command = {
		.head = { .class = VIRTIO_NET_CTRL_MQ, .cmd = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET },
		.pairs = htole16(pairs),
		.answer = NO_ANSWER,
	};
	uint8_t answer;
	int r;

	if (!is_used(v) || pairs == v->kept->pairs)
		return 0;
	r = run_command(v, &command, &answer);
	if (r < 0)
		return r;
	if (answer != VIRTIO_NET_OK) {
		log_error("virtio: the device refuses to use %u pairs", pairs);
		return -EIO;
	}
	v->kept->pairs = pairs;
	return 0;
}

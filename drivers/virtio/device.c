/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver of a virtio-net function as virtio 1.2 describes it. What it can't do, capabilities say: it
 * begins in fresh rings, and says nothing of where it stopped. What a maker added to that is in a table,
 * see variant.h.
 *
 * A process that opens the function anew finds what it has to know in kept memory, and the rest in
 * registers, which go on being what they were. Only a function that nobody drove yet is reset at open:
 * the sizes of its queues can be read no other way.
 *
 * Between the device and us more is negotiated than the guest hears of: that addresses go through the
 * IOMMU, that single queues can be reset, that kicks say where a ring stands, and a control queue where there
 * are several pairs.
 */
#include "drivers/virtio/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/virtio/device_internal.h"
#include "drivers/virtio/net.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"
#include "vdpa/base/memfile.h"

#define STANDARD_MTU   1500 /* of a device that does not say */
#define CONTROL_MEMORY 65536U /* what any IOMMU can map */
#define MIN_VECTORS    1U

/* Of a guest's features, those that need nothing but the rings and the device's offloads. */
#define GUEST_FEATURES                                                                             \
	(BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) |  \
		BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |          \
		BIT_ULL(VIRTIO_F_ANY_LAYOUT) | BIT_ULL(VIRTIO_NET_F_CSUM) |                        \
		BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_MTU) |                     \
		BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |                     \
		BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | BIT_ULL(VIRTIO_NET_F_GUEST_ECN) |               \
		BIT_ULL(VIRTIO_NET_F_GUEST_UFO) | BIT_ULL(VIRTIO_NET_F_HOST_TSO4) |                \
		BIT_ULL(VIRTIO_NET_F_HOST_TSO6) | BIT_ULL(VIRTIO_NET_F_HOST_ECN) |                 \
		BIT_ULL(VIRTIO_NET_F_HOST_UFO) | BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) |                 \
		BIT_ULL(VIRTIO_NET_F_STATUS))

/* What we take of the device, and the guest may not hear of; its configuration is read by us as well. */
#define OWN_FEATURES                                                                               \
	(BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) | BIT_ULL(VIRTIO_F_ORDER_PLATFORM) |                    \
		BIT_ULL(VIRTIO_BIT_RING_RESET) | BIT_ULL(VIRTIO_NET_F_MAC) |                       \
		BIT_ULL(VIRTIO_NET_F_STATUS) | BIT_ULL(VIRTIO_NET_F_MTU))

/* Where the kept memory is, in driver_keeper's state. */
struct kept_place {
	uint32_t valid;
	int32_t number;
};

static bool offers(const struct virtio_device *v, unsigned int feature)
{
	return v->function.offered & BIT_ULL(feature);
}

/* ------------------------------------------------------------------------------- kept memory */

static uint64_t kept_size(const struct virtio_device *v)
{
	return v->control_offset + v->control_size;
}

static int find_kept(struct virtio_device *v)
{
	struct kept_place *place = v->keeper->state;

	v->kept_fd = v->keeper->get_fd(v->keeper, place->number);
	return v->kept_fd < 0 ? -EPROTO : 0;
}

static int make_kept(struct virtio_device *v)
{
	struct kept_place *place = v->keeper->state;
	_cleanup_close_ int fd = memfile_create("virtio", kept_size(v));
	int number = fd < 0 ? fd : v->keeper->keep_fd(v->keeper, fd);

	if (number < 0)
		return number;
	*place = (struct kept_place){ .valid = 1, .number = number };
	return find_kept(v);
}

static int map_kept(struct virtio_device *v)
{
	void *memory = mmap(NULL, kept_size(v), PROT_READ | PROT_WRITE, MAP_SHARED, v->kept_fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	v->kept = memory;
	v->control = (uint8_t *)memory + v->control_offset;
	return 0;
}

static bool kept_ok(const struct virtio_kept *kept)
{
	if (kept->max_pairs > QUEUE_MAX / 2)
		return false;
	for (uint32_t i = 0; i < QUEUE_MAX; i++) {
		if (kept->queues[i].state >= VIRTIO_QUEUE_N_STATES)
			return false;
	}
	if (kept->log > VIRTIO_N_LOGS)
		return false;
	return kept->version == 0 || (kept->version == VIRTIO_KEPT_VERSION && kept->max_pairs > 0);
}

/* Whoever drove the function before left what is mapped, and it is still so. */
static int open_kept(struct virtio_device *v)
{
	const struct kept_place *place = v->keeper->state;
	int r;

	if (v->kept)
		return 0;
	v->control_size = CONTROL_MEMORY;
	v->control_offset = align_up(sizeof(*v->kept), v->control_size);
	r = place->valid ? find_kept(v) : make_kept(v);
	if (r == 0)
		r = map_kept(v);
	return r == 0 && !kept_ok(v->kept) ? -EPROTO : r;
}

static int open_dma(struct virtio_device *v)
{
	v->dma = (struct dma){
		.ops = v->transport->dma,
		.arg = v->transport->dma_arg,
		.page_size = v->transport->page_size,
		.table = &v->kept->dma,
	};
	return dma_open(&v->dma);
}

/* ------------------------------------------------------------------------------- capabilities */

static bool has_pairs(const struct virtio_device *v)
{
	return offers(v, VIRTIO_NET_F_MQ) && offers(v, VIRTIO_NET_F_CTRL_VQ);
}

static int learn_pairs(struct virtio_device *v)
{
	struct virtio_net_facts facts;
	int r = virtio_net_read(&v->function, &facts);

	if (r < 0)
		return r;
	if (2U * facts.max_pairs + has_pairs(v) > v->function.n_queues)
		return -EPROTO;
	v->kept->max_pairs = facts.max_pairs < QUEUE_MAX / 2 ? facts.max_pairs : QUEUE_MAX / 2;
	return 0;
}

static int learn_sizes(struct virtio_device *v)
{
	for (uint16_t i = 0; i < 2 * v->kept->max_pairs; i++) {
		struct virtio_queue_facts facts;
		int r = virtio_queue_read(&v->function, i, &facts);

		if (r < 0)
			return r;
		if (facts.size == 0)
			return -EPROTO;
		v->kept->queues[i].max_size = facts.size;
	}
	return 0;
}

static uint32_t max_queue_size(const struct virtio_device *v)
{
	uint32_t most = QUEUE_SIZE_MAX;

	for (uint32_t i = 0; i < 2U * v->kept->max_pairs; i++) {
		while (most > v->kept->queues[i].max_size)
			most /= 2;
	}
	return most;
}

/* A page of its own for each queue's doorbell, as a guest's driver would write there. */
static bool has_doorbell_pages(const struct virtio_device *v)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	const struct virtio_layout *layout = &v->function.layout;

	return layout->notify_multiplier >= page && layout->notify_multiplier % page == 0 &&
	       layout->notify.offset % page == 0 && !offers(v, VIRTIO_BIT_NOTIF_CONFIG_DATA);
}

static uint64_t guest_features(const struct virtio_device *v)
{
	uint64_t features = v->kept->offered & GUEST_FEATURES;

	if (v->kept->max_pairs > 1)
		features |= BIT_ULL(VIRTIO_NET_F_MQ);
	return v->variant ? features & ~v->variant->lacks : features;
}

static void note_caps(struct virtio_device *v)
{
	bool more = v->maker && v->kept->has_more;

	v->variant = more ? v->maker : NULL;
	v->caps = (struct driver_caps){
		.features = guest_features(v),
		.n_queues = 2U * v->kept->max_pairs,
		.max_queue_size = max_queue_size(v),
		.start_position = more ? DRIVER_START_ANY : DRIVER_START_INITIAL,
		.ring_positions = !more,
		.together = !more && !(v->kept->offered & BIT_ULL(VIRTIO_BIT_RING_RESET)),
		.forgets_fds = true,
		.in_order = true,
		.dirty_log = more ? DRIVER_LOG_BUFFERS : DRIVER_LOG_NONE,
		.doorbell = v->kept->doorbell_pages,
	};
}

/*
 * A function that nobody drove is reset, so that it tells all. Some have their queues only when it is
 * negotiated that there are several pairs.
 */
static int begin_anew(struct virtio_device *v)
{
	uint64_t features = BIT_ULL(VIRTIO_F_VERSION_1) | (v->function.offered & OWN_FEATURES);
	int r = virtio_function_reset(&v->function, DRIVER_DEADLINE_RESET);

	if (has_pairs(v))
		features |= BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
	if (r == 0)
		r = virtio_function_negotiate(&v->function, features);
	if (r == 0)
		r = learn_pairs(v);
	if (r == 0)
		r = learn_sizes(v);
	if (r == 0)
		r = virtio_function_reset(&v->function, DRIVER_DEADLINE_RESET);
	if (r == 0) {
		v->kept->offered = v->function.offered;
		v->kept->doorbell_pages = has_doorbell_pages(v);
		v->kept->has_more = v->maker && v->maker->present(&v->function, v->kept->max_pairs);
		v->kept->version = VIRTIO_KEPT_VERSION;
	}
	return r == -EINVAL || r == -EBUSY ? -EPROTO : r;
}

static int go_on(struct virtio_device *v)
{
	int r = virtio_function_check(&v->function);

	note_caps(v);
	if (r < 0 && r != -EIO)
		return r;
	if (v->variant && !v->variant->present(&v->function, v->kept->max_pairs))
		return -EPROTO;
	return virtio_rings_adopt(v);
}

/* ------------------------------------------------------------------------------- life */

void virtio_close(struct driver_device *device)
{
	struct virtio_device *v;

	if (!device)
		return;
	v = virtio_device(device);
	virtio_rings_forget(v);
	virtio_events_free(v);
	if (v->kept)
		munmap(v->kept, kept_size(v));
	v->transport->ops->free(v->transport);
	free(v);
}

static void say_why(const struct virtio_device *v, int r)
{
	log_error("virtio: the function can't be used: %s",
		r == -ENODEV	? "it does not answer"
		: r == -ENOSPC	? "it has no MSI-X interrupts"
		: r == -EPROTO	? "its registers, or what an earlier process kept of it, make no sense"
				: strerror(-r));
}

static int attach(struct virtio_device *v)
{
	int r = pci_dma_allow(v->transport->pci);

	if (r == 0)
		r = virtio_function_open(v->transport->pci, &v->function);
	if (r == 0 && v->function.msix.n_vectors < MIN_VECTORS)
		r = -ENOSPC;
	if (r == 0)
		r = open_kept(v);
	if (r == 0)
		r = open_dma(v);
	if (r == 0)
		r = v->kept->version == 0 ? begin_anew(v) : go_on(v);
	if (r < 0) {
		say_why(v, r);
		return r == -ENOSPC ? -EPROTO : r;
	}
	note_caps(v);
	if (v->transport->ops->watch_removal(v->transport, v->removal_fd) < 0)
		log_debug("virtio: nobody tells when the function is to be given up");
	if (v->gone || !virtio_runs(v))
		return 0;
	virtio_event_note(v->config_fd); /* it may have said something to nobody */
	return virtio_irqs_begin(v);
}

static struct virtio_device *new_device(const struct driver_ops *ops, const struct virtio_variant *variant,
	struct virtio_transport *transport, struct driver_keeper *keeper)
{
	struct virtio_device *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->device.ops = ops;
	v->maker = variant;
	v->transport = transport;
	v->keeper = keeper;
	for (uint32_t i = 0; i < QUEUE_MAX; i++)
		v->queues[i].kick_fd = v->queues[i].call_fd = -1;
	return v;
}

/* What it was is in kept memory, and that it is gone is known already. */
static int know_absent(struct virtio_device *v)
{
	const struct kept_place *place = v->keeper->state;
	int r = place->valid ? open_kept(v) : -ENODEV;

	if (r == 0 && v->kept->version == 0)
		r = -ENODEV;
	if (r < 0)
		return r;
	v->function.pci = v->transport->pci;
	v->dma = (struct dma){ .ops = v->transport->dma, .page_size = v->transport->page_size,
		.table = &v->kept->dma };
	v->gone = v->said_gone = true;
	note_caps(v);
	return 0;
}

int virtio_device_open_absent(const struct driver_ops *ops, const struct virtio_variant *variant,
	struct driver_keeper *keeper, struct driver_device **ret)
{
	struct virtio_device *v = new_device(ops, variant, &virtio_absent, keeper);
	int r;

	if (!v)
		return -ENOMEM;
	r = virtio_events_init(v);
	if (r == 0)
		r = know_absent(v);
	if (r < 0) {
		virtio_close(&v->device);
		return r;
	}
	*ret = &v->device;
	return 0;
}

int virtio_device_open(const struct driver_ops *ops, const struct virtio_variant *variant,
	struct virtio_transport *transport, struct driver_keeper *keeper, struct driver_device **ret)
{
	struct virtio_device *v = new_device(ops, variant, transport, keeper);
	int r;

	if (!v) {
		transport->ops->free(transport);
		return -ENOMEM;
	}
	r = virtio_events_init(v);
	if (r == 0)
		r = attach(v);
	if (r < 0) {
		virtio_close(&v->device);
		return r;
	}
	*ret = &v->device;
	return 0;
}

void virtio_device_let_go(struct driver_device *device)
{
	struct virtio_device *v = virtio_device(device);

	for (uint16_t i = 0; i < v->caps.n_queues; i++) {
		v->kept->queues[i].state = VIRTIO_QUEUE_IDLE;
		virtio_kick_unwatch(v, i);
	}
	virtio_rings_forget(v);
	v->transport->ops->free(v->transport);
	virtio_events_forget(v);
	v->transport = &virtio_absent;
	v->function.pci = virtio_absent.pci;
	v->dma.ops = virtio_absent.dma;
}

int virtio_device_reopen(struct driver_device *device, struct virtio_transport *transport)
{
	struct virtio_device *v = virtio_device(device);
	int r;

	virtio_device_let_go(device);
	v->transport = transport;
	memset(v->kept, 0, kept_size(v));
	v->gone = v->said_gone = v->config_changed = v->untouched = false;
	r = attach(v);
	if (r < 0)
		virtio_device_let_go(device);
	return r;
}

const struct driver_caps *virtio_caps(struct driver_device *device)
{
	return &virtio_device(device)->caps;
}

/* What does not stop by itself is stopped by the bus; what that does not stop either reaches nothing. */
static int stop_by_force(struct virtio_device *v)
{
	int r = v->transport->ops->reset(v->transport);

	if (r == 0)
		r = pci_dma_allow(v->transport->pci);
	if (r == 0)
		r = virtio_stop_function(v, DRIVER_DEADLINE_COMMAND);
	if (r == 0 || r == -ENODEV)
		return r;
	if (pci_dma_forbid(v->transport->pci) < 0)
		log_error("virtio: the function does not stop, and may reach memory still");
	return -ETIMEDOUT;
}

int virtio_reset(struct driver_device *device)
{
	struct virtio_device *v = virtio_device(device);
	int r = virtio_stop_function(v, DRIVER_DEADLINE_COMMAND);

	if (r == -ETIMEDOUT)
		r = stop_by_force(v);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < QUEUE_MAX; i++)
		v->kept->queues[i].state = VIRTIO_QUEUE_IDLE;
	virtio_log_forget(v);
	v->kept->features = 0;
	v->kept->mtu = 0;
	v->untouched = false;
	return dma_unmap_all(&v->dma);
}

/* ------------------------------------------------------------------------------- features */

/*
 * With each kick the device hears where the driver will put its next buffers. A guest that writes to a doorbell
 * page itself does not say so, and of a direct packed ring only the guest knows.
 */
static bool may_say_positions(const struct virtio_device *v)
{
	return offers(v, VIRTIO_BIT_NOTIFICATION_DATA) && v->keeper->next_available && !v->variant &&
	       !v->kept->doorbell_pages;
}

int virtio_negotiate(struct virtio_device *v)
{
	uint64_t features = v->kept->features | (v->function.offered & OWN_FEATURES);

	if (may_say_positions(v))
		features |= BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA);
	if (features & BIT_ULL(VIRTIO_NET_F_MQ))
		features |= BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
	return virtio_function_negotiate(&v->function, features);
}

int virtio_set_features(struct driver_device *device, uint64_t features)
{
	struct virtio_device *v = virtio_device(device);
	const uint64_t before = v->kept->features;
	int r;

	if (features & ~v->caps.features)
		return -EINVAL;
	if (features != 0 && !(features & BIT_ULL(VIRTIO_F_VERSION_1))) /* a driver of before virtio 1.0 */
		return -EINVAL;
	if (virtio_runs(v))
		return features == v->kept->features ? 0 : -EBUSY;
	for (uint32_t i = 0; i < QUEUE_MAX; i++)
		v->kept->queues[i].state = VIRTIO_QUEUE_IDLE;
	r = virtio_stop_function(v, DRIVER_DEADLINE_COMMAND);
	if (r < 0)
		return r;
	v->kept->features = features;
	if (features == 0)
		return 0;
	r = virtio_negotiate(v);
	v->untouched = r == 0;
	if (r < 0) /* those of before are negotiated again when queues start */
		v->kept->features = before;
	return r;
}

/* ------------------------------------------------------------------------------- memory */

static int check_range(const struct virtio_device *v, uint64_t iova, uint64_t size)
{
	if (!range_ok(iova, size))
		return -EINVAL;
	if (iova + (size - 1) <= v->transport->last_iova)
		return 0;
	log_error("virtio: memory at %#llx + %#llx is beyond what the IOMMU translates, which ends at %#llx",
		(unsigned long long)iova, (unsigned long long)size,
		(unsigned long long)v->transport->last_iova);
	return -EINVAL;
}

int virtio_map(struct driver_device *device, const struct driver_map *map)
{
	struct virtio_device *v = virtio_device(device);
	int r = check_range(v, map->iova, map->size);

	if (r == 0 && !virtio_log_covers(v, map))
		r = -EINVAL;
	if (r == 0)
		r = dma_map(&v->dma, map);
	if (r == -ENOMEM)
		log_error("virtio: %llu bytes of memory can't be pinned for the device; the worker's limit of "
			  "locked memory (RLIMIT_MEMLOCK) has to allow it, and the host must have as much",
			(unsigned long long)map->size);
	return r;
}

/* Does a ring in this state lie there? */
static bool ring_lies_in(const struct virtio_device *v, uint32_t index, uint64_t iova, uint64_t size)
{
	const struct virtio_kept_queue *q = &v->kept->queues[index];
	const uint64_t places[] = { q->desc, q->driver, q->device };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (places[i] - iova < size)
			return true;
	}
	return false;
}

int virtio_unmap(struct driver_device *device, uint64_t iova, uint64_t size)
{
	struct virtio_device *v = virtio_device(device);
	int r;

	for (uint32_t i = 0; i < v->caps.n_queues; i++) {
		if (v->kept->queues[i].state == VIRTIO_QUEUE_RUNNING && ring_lies_in(v, i, iova, size))
			return -EBUSY;
	}
	r = dma_unmap(&v->dma, iova, size);
	for (uint32_t i = 0; i < v->caps.n_queues && r == 0; i++) {
		if (v->kept->queues[i].state == VIRTIO_QUEUE_PREPARED && ring_lies_in(v, i, iova, size))
			v->kept->queues[i].state = VIRTIO_QUEUE_IDLE;
	}
	return r;
}

/* ------------------------------------------------------------------------------- as a NIC */

int virtio_get_config(struct driver_device *device, struct driver_net_config *ret)
{
	struct virtio_device *v = virtio_device(device);
	struct virtio_net_facts facts;
	int r = virtio_net_read(&v->function, &facts);

	if (r < 0)
		return r;
	*ret = (struct driver_net_config){
		.mtu = facts.mtu ? facts.mtu : STANDARD_MTU,
		.max_pairs = (uint16_t)(v->caps.n_queues / 2),
		.link_up = facts.link_up,
	};
	memcpy(ret->mac, facts.mac, sizeof(ret->mac));
	if (v->kept->mtu > 0 && v->kept->mtu < ret->mtu)
		ret->mtu = v->kept->mtu;
	return 0;
}

/* The device has no register for it: the guest is told a smaller one, and keeps to it. */
int virtio_set_mtu(struct driver_device *device, uint16_t mtu)
{
	struct virtio_device *v = virtio_device(device);
	struct virtio_net_facts facts;
	int r = virtio_net_read(&v->function, &facts);

	if (r < 0)
		return r;
	if (mtu < 68 || mtu > (facts.mtu ? facts.mtu : STANDARD_MTU))
		return -EINVAL;
	if (mtu != v->kept->mtu)
		virtio_event_note(v->config_fd);
	v->kept->mtu = mtu;
	return 0;
}

/* The whole function wants to be reset when a ring breaks the rules; nothing is counted. */
int virtio_queue_stats(struct driver_device *device, uint16_t queue,
	struct driver_queue_stats *ret)
{
	const struct virtio_device *v = virtio_device(device);

	if (queue >= v->caps.n_queues)
		return -ENOENT;
	*ret = (struct driver_queue_stats){
		.running = virtio_queue_runs(v, queue),
	};
	return 0;
}

int virtio_device_stats(struct driver_device *device, struct driver_device_stats *ret)
{
	return -ENOENT;
}

/* The page lets in whoever has it: it can't be taken back from one that mapped it. */
int virtio_doorbell(struct driver_device *device, bool on, uint16_t queue, int *ret_fd,
	uint64_t *ret)
{
	struct virtio_device *v = virtio_device(device);
	struct virtio_doorbell bell;
	int r;

	if (!on)
		return 0;
	r = virtio_queue_doorbell(&v->function, queue, &bell);
	if (r < 0)
		return r;
	if (bell.window.offset % (uint64_t)sysconf(_SC_PAGESIZE) != 0 || bell.value != queue)
		return -EOPNOTSUPP;
	return v->transport->ops->page(v->transport, bell.window, ret_fd, ret);
}

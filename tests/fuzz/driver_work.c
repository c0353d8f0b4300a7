/* SPDX-License-Identifier: BSD-2-Clause */
/* What the device behind the driver double does with its rings. */
#include <linux/virtio_ring.h>
#include <unistd.h>

#include "tests/fuzz/driver_internal.h"

static bool rw(struct fuzz_driver *d, uint64_t iova, void *data, size_t size, bool write)
{
	const struct fuzz_map *map;
	off_t at;

	if (translates(d) && iotlb_translate(&d->table, iova, size,
				     write ? DRIVER_PERM_WRITE : DRIVER_PERM_READ, &iova) != IOTLB_KNOWN)
		return false;
	map = fuzz_driver_find_map(d, iova, size);
	if (!map)
		return false;
	at = (off_t)(map->is.offset + (iova - map->is.iova));
	return (write ? pwrite(map->is.fd, data, size, at) : pread(map->is.fd, data, size, at)) ==
	       (ssize_t)size;
}

static bool work_split(struct fuzz_driver *d, struct fuzz_queue *queue, uint32_t written)
{
	const struct driver_queue *q = &queue->is;
	struct vring_used_elem entry = { .len = written };
	uint16_t next, head;

	if (!rw(d, q->driver + 2, &next, 2, false) || next == queue->at.avail ||
		!rw(d, q->driver + 4 + 2ULL * (queue->at.avail % q->size), &head, 2, false))
		return false;
	entry.id = head;
	if (!rw(d, q->device + 4 + 8ULL * (queue->at.used % q->size), &entry, sizeof(entry), true))
		return false;
	queue->at.avail++;
	queue->at.used++;
	return rw(d, q->device + 2, &queue->at.used, 2, true);
}

static void step(const struct driver_queue *q, uint16_t *at, bool *wrap)
{
	if (++*at == q->size) {
		*at = 0;
		*wrap = !*wrap;
	}
}

static bool work_packed(struct fuzz_driver *d, struct fuzz_queue *queue, uint32_t written)
{
	const struct driver_queue *q = &queue->is;
	struct vring_packed_desc desc;
	struct queue_position begin = queue->at;
	uint32_t n = 0;

	do {
		if (!rw(d, q->desc + 16ULL * queue->at.avail, &desc, sizeof(desc), false) ||
			n++ == q->size ||
			!!(desc.flags & BIT(VRING_PACKED_DESC_F_AVAIL)) != queue->at.avail_wrap ||
			!!(desc.flags & BIT(VRING_PACKED_DESC_F_USED)) == queue->at.avail_wrap) {
			queue->at = begin;
			return false;
		}
		step(q, &queue->at.avail, &queue->at.avail_wrap);
	} while (desc.flags & VRING_DESC_F_NEXT);
	desc.len = written;
	desc.flags = begin.used_wrap
			     ? BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED)
			     : 0;
	if (!rw(d, q->desc + 16ULL * begin.used, &desc, sizeof(desc), true))
		return false;
	while (n-- > 0)
		step(q, &queue->at.used, &queue->at.used_wrap);
	return true;
}

void fuzz_driver_work(struct fuzz_driver *d, uint16_t index, uint32_t n, uint32_t written)
{
	struct fuzz_queue *queue = &d->queues[index % d->caps.n_queues];

	while (queue->running && !queue->misses && n-- > 0) {
		if (!(is_packed(d) ? work_packed(d, queue, written)
				   : work_split(d, queue, written)))
			break;
	}
}

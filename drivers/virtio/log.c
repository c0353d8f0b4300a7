/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log of a function that has one, see variant.h. The device reaches it as any memory, through the
 * IOMMU: in a window of addresses near the end of what that translates, where no guest has memory. There
 * are two windows, so that the next log is in its place before the one in force is left.
 *
 * Address and end are several registers, and the device marks at any time. So queues rest while one log
 * is exchanged for another, or for none, and nothing is marked half here and half there; each goes on
 * where it stood. Which log holds is noted after the device was told: a process that dies meanwhile leaves
 * queues that rest, and its successor tells the device of the one that is noted before it lets them go
 * on, and hears the same wish again. Only the first log begins while queues run, and is noted before; who
 * dies then leaves a log that the device knows of or not, and the successor exchanges it for itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "drivers/virtio/device_internal.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"

#define WINDOW	      (1ULL << 30) /* the log of 32 TiB */
#define PAGES_A_BYTE  8ULL
#define CONTROL_WINDOW 1U	   /* at the end is the control queue's */

static uint64_t window_iova(const struct virtio_device *v, uint32_t which)
{
	return ((v->transport->last_iova + 1) & ~(WINDOW - 1)) - (CONTROL_WINDOW + 1 + which) * WINDOW;
}

static uint64_t lowest_window(const struct virtio_device *v)
{
	return window_iova(v, VIRTIO_N_LOGS - 1);
}

/* The device's address of a log's first byte: it may begin within a page. */
static uint64_t log_iova(const struct virtio_device *v, uint32_t which)
{
	return window_iova(v, which) + v->kept->logs[which].offset % v->transport->page_size;
}

/* Return: which log holds; VIRTIO_N_LOGS: none. */
static uint32_t in_force(const struct virtio_device *v)
{
	return v->kept->log > 0 ? v->kept->log - 1 : VIRTIO_N_LOGS;
}

static bool covers(const struct virtio_kept_log *log, uint64_t end)
{
	return end <= log->size * PAGES_A_BYTE * DRIVER_LOG_PAGE;
}

bool virtio_log_covers(const struct virtio_device *v, const struct driver_map *map)
{
	uint32_t which = in_force(v);

	return which == VIRTIO_N_LOGS || !(map->perm & DRIVER_PERM_WRITE) ||
	       covers(&v->kept->logs[which], map->iova + map->size);
}

static void tell(struct virtio_device *v, uint32_t which)
{
	if (which == VIRTIO_N_LOGS)
		v->variant->log(&v->function, 0, 0);
	else
		v->variant->log(&v->function, log_iova(v, which), v->kept->logs[which].size);
}

void virtio_log_tell(struct virtio_device *v)
{
	if (v->variant)
		tell(v, in_force(v));
}

void virtio_log_forget(struct virtio_device *v)
{
	v->kept->log = 0;
	virtio_log_tell(v);
	memset(v->kept->logs, 0, sizeof(v->kept->logs)); /* unmapped with all else */
}

/* ------------------------------------------------------------------------------- exchange */

static int read_log(const struct driver_log *log, struct virtio_kept_log *ret)
{
	struct stat st;

	if (!range_ok(log->offset, log->size) || log->size > WINDOW / 2 ||
		(fcntl(log->fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return -EINVAL;
	if (fstat(log->fd, &st) < 0)
		return -errno;
	*ret = (struct virtio_kept_log){
		.device = st.st_dev,
		.inode = st.st_ino,
		.offset = log->offset,
		.size = log->size,
	};
	return 0;
}

static bool same(const struct virtio_kept_log *a, const struct virtio_kept_log *b)
{
	return a->device == b->device && a->inode == b->inode && a->offset == b->offset &&
	       a->size == b->size;
}

static int unmap_log(struct virtio_device *v, uint32_t which)
{
	struct virtio_kept_log *log = &v->kept->logs[which];
	int r;

	if (log->size == 0)
		return 0;
	r = dma_unmap_bytes(&v->dma, log_iova(v, which), log->size);
	if (r == 0)
		log->size = 0;
	return r;
}

/* What is noted before it is mapped is unmapped again, whatever came of it. */
static int map_log(struct virtio_device *v, uint32_t which, const struct virtio_kept_log *log, int fd)
{
	struct driver_map map = {
		.size = log->size,
		.fd = fd,
		.offset = log->offset,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE,
	};
	int r = unmap_log(v, which);

	if (r < 0)
		return r;
	v->kept->logs[which] = *log;
	map.iova = log_iova(v, which);
	r = dma_map_bytes(&v->dma, &map);
	if (r == -EEXIST) {
		log_error("virtio: there is no place for a log: memory is mapped at %#llx",
			(unsigned long long)map.iova);
		r = -EINVAL;
	}
	return r;
}

/* @which holds from now on; VIRTIO_N_LOGS: none. */
static int exchange(struct virtio_device *v, uint32_t which)
{
	const struct queue_set running = virtio_running_set(v);
	bool first = v->kept->log == 0, rests = !first && !queue_set_empty(&running);
	int r = rests ? virtio_rings_rest(v, &running) : 0;

	if (r < 0)
		return r;
	if (first) {
		v->kept->log_told = false;
		v->kept->log = which + 1;
	}
	tell(v, which);
	v->kept->log = which == VIRTIO_N_LOGS ? 0 : which + 1;
	v->kept->log_told = true;
	r = rests ? virtio_rings_resume(v, &running) : 0;
	return r < 0 ? r : virtio_function_check(&v->function);
}

static int begin_log(struct virtio_device *v, const struct driver_log *log)
{
	uint32_t before = in_force(v), next = before == 0 ? 1 : 0;
	struct virtio_kept_log kept;
	int r = read_log(log, &kept);

	if (r < 0)
		return r;
	if (before < VIRTIO_N_LOGS && same(&kept, &v->kept->logs[before])) {
		r = v->kept->log_told ? 0 : exchange(v, before);
		return r < 0 ? r : unmap_log(v, next);
	}
	if (!covers(&kept, dma_writable_end(&v->dma, lowest_window(v))))
		return -EINVAL;
	r = map_log(v, next, &kept, log->fd);
	if (r == 0)
		r = exchange(v, next);
	return r < 0 ? r : unmap_log(v, 1 - next);
}

static int end_log(struct virtio_device *v)
{
	int r = in_force(v) < VIRTIO_N_LOGS ? exchange(v, VIRTIO_N_LOGS) : 0;

	for (uint32_t i = 0; i < VIRTIO_N_LOGS && r == 0; i++)
		r = unmap_log(v, i);
	return r;
}

int virtio_set_log(struct driver_device *device, const struct driver_log *log)
{
	struct virtio_device *v = virtio_device(device);

	if (!v->variant)
		return -EOPNOTSUPP;
	return log ? begin_log(v, log) : end_log(v);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each range is mapped twice. The data threads work in the region's own mapping, where a page that
 * is missing raises SIGBUS and is never waited for, whatever the front-end does to its file
 * meanwhile. The other mapping asks: who touches a missing page there waits until the front-end, which
 * reads the userfaultfd, has provided it. Nobody does so but the helper, a thread of this function.
 *
 * A data thread probes what it is about to touch (ring_postcopy.c). What is missing it leaves in
 * vq.wanted and goes on with other queues; the helper touches it in the asking mapping, then clears
 * vq.wanted and signals arrived_fd, which is in every data thread's epoll. An event makes the thread
 * poll all of the function's queues once more.
 *
 * The front-end may never answer. The helper gets free without it: ordinary zero pages are put in the
 * place of the asking mapping, and then it is woken. No page of the file is made by that; one that was
 * would be in the way of the front-end's own.
 *
 * lock: which address the helper touches. Whoever takes a mapping away clears vq.wanted first, and
 * waits until the helper is elsewhere.
 */
#include "tools/simnic/postcopy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/simnic/control.h"
#include "tools/simnic/function.h"
#include "tools/simnic/probe.h"
#include "tools/simnic/ring.h"
#include "tools/simnic/thread.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define HELPER_STACK (256U << 10) /* bytes */

struct postcopy {
	struct function *function;
	int fd;		/* the front-end reads it */
	int quiet_fd;	/* nobody does: of the mappings in which SIGBUS is raised */
	int arrived_fd; /* eventfd */
	pthread_t helper;
	sem_t asked;
	atomic_bool stop;

	pthread_mutex_t lock;
	pthread_cond_t elsewhere; /* @touching changed */
	const uint8_t *touching;  /* by the helper; NULL: nothing */
};

/* ------------------------------------------------------------------------- the kernel's */

/* Only accesses of our own are waited for, none of the kernel's for us: that needs no privilege. */
static int open_userfaultfd(uint64_t features, int *ret)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	_cleanup_close_ int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	*ret = TAKE_FD(fd);
	return 0;
}

int postcopy_possible(void)
{
	const uint64_t kinds = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS;
	_cleanup_close_ int fd = -1, quiet_fd = -1;
	int r = open_userfaultfd(kinds, &fd);

	return r == 0 ? open_userfaultfd(kinds | UFFD_FEATURE_SIGBUS, &quiet_fd) : r;
}

static int watch_missing(int fd, void *base, uint64_t size)
{
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)base, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(fd, UFFDIO_REGISTER, &range) < 0 ? -errno : 0;
}

/* After this nothing waits in the mapping, and nothing ever will. */
static void set_free(const struct postcopy *p, const struct iommu_region *region)
{
	struct uffdio_range range = { .start = (uintptr_t)region->asking, .len = region->base_size };

	if (mmap(region->asking, region->base_size, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		log_error("function %s: its asking mapping stays: %s", p->function->identity.name,
			strerror(errno));
	if (ioctl(p->fd, UFFDIO_WAKE, &range) < 0)
		log_error("function %s: its helper is not woken: %s", p->function->identity.name,
			strerror(errno));
}

/* --------------------------------------------------------------------------- the helper */

static void memory_is_gone(struct function *f)
{
	f->memory_lost = true;
	f->faulty_any = true;
	nic_attention(f->nic);
}

/* All queues of the function are looked at once more. */
static void wake_queues(const struct postcopy *p)
{
	const uint64_t one = 1;

	if (write(p->arrived_fd, &one, sizeof(one)) < 0)
		return; /* full: it is signalled already */
}

static void fetch(struct postcopy *p, struct vq *q)
{
	const uint8_t *at;
	bool there;

	pthread_mutex_lock(&p->lock);
	at = p->touching = atomic_load(&q->wanted);
	pthread_mutex_unlock(&p->lock);
	if (!at)
		return;
	there = probe_page(at);
	pthread_mutex_lock(&p->lock);
	p->touching = NULL;
	atomic_store(&q->wanted, NULL);
	pthread_cond_broadcast(&p->elsewhere);
	pthread_mutex_unlock(&p->lock);
	if (!there)
		memory_is_gone(p->function);
	wake_queues(p);
}

static void *run(void *arg)
{
	struct postcopy *p = arg;

	while (!p->stop) {
		if (sem_wait(&p->asked) < 0)
			continue;
		for (uint16_t i = 0; i < p->function->n_queues && !p->stop; i++)
			fetch(p, &p->function->queues[i]);
	}
	return NULL;
}

void postcopy_ask(struct vq *q, const struct iommu_region *region, const uint8_t *at)
{
	q->parked = true;
	if (!region->asks)
		return; /* postcopy_register() looks again */
	atomic_store(&q->wanted, region->asking + (at - (const uint8_t *)region->base));
	sem_post(&q->function->postcopy->asked);
}

static int start_helper(struct postcopy *p)
{
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return -r;
	r = pthread_attr_setstacksize(&attr, HELPER_STACK);
	if (r == 0)
		r = pthread_create(&p->helper, &attr, run, p);
	pthread_attr_destroy(&attr);
	return -r;
}

/* ------------------------------------------------------------------------ begin and end */

static void close_fds(struct postcopy *p)
{
	p->fd = close_keep_errno(p->fd);
	p->quiet_fd = close_keep_errno(p->quiet_fd);
	p->arrived_fd = close_keep_errno(p->arrived_fd);
}

static void release(struct postcopy *p)
{
	close_fds(p);
	sem_destroy(&p->asked);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->elsewhere);
	free(p);
}

static int create(struct function *f, struct postcopy **ret)
{
	struct postcopy *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->function = f;
	p->fd = p->quiet_fd = -1;
	p->arrived_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sem_init(&p->asked, 0, 0);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->elsewhere, NULL);
	r = p->arrived_fd < 0 ? -errno : open_userfaultfd(0, &p->fd);
	if (r == 0)
		r = open_userfaultfd(UFFD_FEATURE_SIGBUS, &p->quiet_fd);
	for (unsigned int i = 0; i < f->nic->n_threads && r == 0; i++)
		r = thread_watch_function(f->nic->threads[i], f, p->arrived_fd);
	if (r == 0)
		r = start_helper(p);
	if (r < 0)
		release(p);
	else
		*ret = p;
	return r;
}

static void stop_helper(struct postcopy *p, const struct iommu *iommu)
{
	for (uint32_t i = 0; i < iommu->n_regions; i++) {
		if (iommu->regions[i].asking)
			set_free(p, &iommu->regions[i]);
	}
	p->stop = true;
	sem_post(&p->asked);
	pthread_join(p->helper, NULL);
}

/* Closing the quiet userfaultfd, which nobody else has, makes its mappings ordinary ones. */
static void finish(struct function *f)
{
	stop_helper(f->postcopy, &f->iommu);
	for (uint32_t i = 0; i < f->iommu.n_regions; i++)
		iommu_region_close_asking(&f->iommu.regions[i]);
	release(f->postcopy);
	f->postcopy = NULL;
	for (uint16_t i = 0; i < f->n_queues; i++) {
		struct vq *q = &f->queues[i];

		atomic_store(&q->wanted, NULL);
		q->postcopy = q->parked = false;
	}
}

static bool has_asking_region(const struct function *f)
{
	for (uint32_t i = 0; i < f->iommu.n_regions; i++) {
		if (f->iommu.regions[i].asking)
			return true;
	}
	return false;
}

int postcopy_advise(struct function *f, int *ret_fd)
{
	struct postcopy *p;
	int r;

	if (!f->nic->page_faults)
		return -EOPNOTSUPP;
	if (has_asking_region(f))
		return -EBUSY;
	r = create(f, &p);
	if (r < 0)
		return r;
	postcopy_end(f);
	nic_pause(f->nic);
	f->postcopy = p;
	nic_resume(f->nic);
	*ret_fd = p->fd;
	return 0;
}

void postcopy_abort(struct function *f)
{
	if (f->postcopy)
		finish(f);
}

void postcopy_end(struct function *f)
{
	if (!f->postcopy)
		return;
	nic_pause(f->nic);
	finish(f);
	for (uint16_t i = 0; i < f->n_queues; i++) {
		struct vq *q = &f->queues[i];

		if (q->status < SIM_QUEUE_PREPARED || q->status == SIM_QUEUE_ERROR)
			continue;
		ring_arrived(q);
		if (q->status == SIM_QUEUE_RUNNING && vq_is_transmit(q))
			thread_wake_queue(q->thread, q);
		else if (q->status == SIM_QUEUE_RUNNING && vq_is_control(q))
			control_wake(q);
	}
	nic_resume(f->nic);
}

/* ------------------------------------------------------------------------------- memory */

/* A queue that runs already knows its ring, and won't ask for it. */
static bool any_runs_without(const struct function *f)
{
	bool any = false;

	nic_pause(f->nic); /* a data thread gives queues up */
	for (uint16_t i = 0; i < f->n_queues; i++)
		any |= f->queues[i].status >= SIM_QUEUE_RUNNING && !f->queues[i].postcopy;
	nic_resume(f->nic);
	return any;
}

static void make_queues_careful(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++)
		f->queues[i].postcopy = true;
}

static int open_region(struct postcopy *p, const struct sim_map *map, int fd,
	struct iommu_region *ret)
{
	int r = iommu_region_open(map, fd, ret);

	if (r == 0) {
		r = iommu_region_open_asking(ret, fd);
		if (r == 0)
			r = watch_missing(p->quiet_fd, ret->base, ret->base_size);
		if (r < 0)
			iommu_region_close(ret);
	}
	return r == -EPERM || r == -EACCES ? -EINVAL : r; /* sealed, or read-only */
}

int postcopy_map(struct function *f, const struct sim_map *map, int fd, uint64_t *ret_address)
{
	const struct iommu_region *known;
	struct iommu_region region;
	int r;

	if (!f->postcopy)
		return -EINVAL;
	if (f->log.bits || any_runs_without(f))
		return -EBUSY;
	r = open_region(f->postcopy, map, fd, &region);
	if (r < 0)
		return r;
	nic_pause(f->nic);
	r = iommu_insert(&f->iommu, &region);
	make_queues_careful(f);
	nic_resume(f->nic);
	if (r != 0)
		iommu_region_close(&region);
	if (r < 0)
		return r;
	known = iommu_find(&f->iommu, map->iova);
	if (!known->asking)
		return -EEXIST; /* mapped as memory that is complete */
	*ret_address = (uintptr_t)known->asking + (uintptr_t)(known->host - (uint8_t *)known->base);
	return 0;
}

int postcopy_register(struct function *f)
{
	int r = 0;

	if (!f->postcopy)
		return -EINVAL;
	nic_pause(f->nic);
	for (uint32_t i = 0; i < f->iommu.n_regions && r == 0; i++) {
		struct iommu_region *region = &f->iommu.regions[i];

		if (!region->asking || region->asks)
			continue;
		r = watch_missing(f->postcopy->fd, region->asking, region->base_size);
		region->asks = r == 0;
	}
	nic_resume(f->nic);
	wake_queues(f->postcopy);
	return r;
}

static bool lies_in_asking(const struct iommu_region *region, const uint8_t *at)
{
	return (uintptr_t)at - (uintptr_t)region->asking < region->base_size;
}

void postcopy_forget(struct function *f, struct iommu_region *region)
{
	struct postcopy *p = f->postcopy;

	if (!region->asking)
		return;
	pthread_mutex_lock(&p->lock);
	for (uint16_t i = 0; i < f->n_queues; i++) {
		struct vq *q = &f->queues[i];

		if (lies_in_asking(region, atomic_load(&q->wanted)))
			atomic_store(&q->wanted, NULL);
	}
	set_free(p, region);
	while (lies_in_asking(region, p->touching))
		pthread_cond_wait(&p->elsewhere, &p->lock);
	pthread_mutex_unlock(&p->lock);
	iommu_region_close_asking(region);
	wake_queues(p);
}

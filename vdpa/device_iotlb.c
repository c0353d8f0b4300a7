/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose driver is behind an IOMMU of its own (VIRTIO_F_ACCESS_PLATFORM). What it calls an
 * address means nothing before the front-end translated it, an address at a time and when asked. The
 * device translates buffers itself, by a table of its own that is filled from here; the table here is for
 * the rings, which have to be found before they can run.
 *
 * Both tables are caches: the front-end can be asked again. So neither is in the state page, and a
 * successor begins with an empty one. Where a ring lies that runs is there: it has to be read when the
 * device is lost. Who is asked for what is noted here too, to ask again once in a
 * while (ASK_AGAIN_NS), and not for ever (MOST_TIMES): a front-end that does not answer has a guest whose
 * queue stands still, which is the guest's own doing as a rule.
 *
 * A ring whose own address is not translated any more stands still, until it is again.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/iotlb.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/ring.h"

#define MAX_ASKED    64
#define ASK_AGAIN_NS (1000 * NS_PER_MS)
#define MOST_TIMES   10

struct asked {
	uint64_t iova;
	uint32_t perm;
	uint32_t times;
	uint64_t at_ns; /* CLOCK_MONOTONIC, the last time */
};

struct device_iotlb {
	struct iotlb table;
	uint32_t n_asked;
	struct asked asked[MAX_ASKED];
};

/*
 * A guest's pages have to be logged by their own addresses, and a relay knows the driver's only. So the
 * device must never need one. Nor does the core mark rings for it while they run.
 */
bool device_can_translate(const struct driver_caps *caps)
{
	return caps->iotlb && caps->dirty_log == DRIVER_LOG_ALL && caps->in_order &&
	       caps->start_position == DRIVER_START_ANY;
}

bool device_translates(const struct device *d)
{
	return d->state->has_features && d->state->features & BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
}

static struct device_iotlb *table_of(struct device *d)
{
	struct device_iotlb *t = d->iotlb;

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (t && iotlb_init(&t->table) < 0) {
		free(t);
		t = NULL;
	}
	d->iotlb = t;
	return t;
}

void iotlb_forget(struct device *d)
{
	if (!d->iotlb)
		return;
	iotlb_clear(&d->iotlb->table);
	d->iotlb->n_asked = 0;
}

void device_iotlb_close(struct device *d)
{
	if (d->iotlb)
		iotlb_free(&d->iotlb->table);
	free(d->iotlb);
	d->iotlb = NULL;
}

/* ------------------------------------------------------------------------------ asking */

static void drop_asked(struct device_iotlb *t, uint32_t at)
{
	t->asked[at] = t->asked[--t->n_asked];
}

static bool is_asked(const struct device_iotlb *t, uint64_t iova, uint32_t perm)
{
	for (uint32_t i = 0; i < t->n_asked; i++) {
		if (t->asked[i].iova == iova && (t->asked[i].perm & perm) == perm)
			return true;
	}
	return false;
}

static void ask(struct device *d, uint64_t iova, uint32_t perm)
{
	const struct driver_miss miss = { .iova = iova, .perm = perm };
	struct device_iotlb *t = table_of(d);

	if (!t || is_asked(t, iova, perm))
		return;
	if (t->n_asked == MAX_ASKED)
		drop_asked(t, 0); /* whoever needs it asks again when something else came */
	t->asked[t->n_asked++] = (struct asked){
		.iova = iova,
		.perm = perm,
		.times = 1,
		.at_ns = clock_now_ns(),
	};
	d->say_miss(d, &miss);
}

/* The front-end has spoken about a range: nobody waits for it to. */
static void note_answer(struct device_iotlb *t, uint64_t iova, uint64_t last)
{
	for (uint32_t i = 0; i < t->n_asked;) {
		if (t->asked[i].iova >= iova && t->asked[i].iova <= last)
			drop_asked(t, i);
		else
			i++;
	}
}

bool device_iotlb_asked(const struct device *d, uint32_t i, struct device_iotlb_asked *ret)
{
	if (!d->iotlb || i >= d->iotlb->n_asked)
		return false;
	*ret = (struct device_iotlb_asked){
		.iova = d->iotlb->asked[i].iova,
		.perm = d->iotlb->asked[i].perm,
		.times = d->iotlb->asked[i].times,
	};
	return true;
}

uint32_t device_iotlb_entries(const struct device *d)
{
	return d->iotlb ? d->iotlb->table.n : 0;
}

uint64_t device_iotlb_deadline_ns(const struct device *d)
{
	uint64_t first = 0;

	for (uint32_t i = 0; d->iotlb && i < d->iotlb->n_asked; i++) {
		uint64_t at = d->iotlb->asked[i].at_ns + ASK_AGAIN_NS;

		if (first == 0 || at < first)
			first = at;
	}
	return first;
}

void device_iotlb_ask_again(struct device *d)
{
	struct device_iotlb *t = d->iotlb;
	uint64_t now = clock_now_ns();

	for (uint32_t i = 0; t && i < t->n_asked;) {
		struct asked *a = &t->asked[i];

		if (now < a->at_ns + ASK_AGAIN_NS) {
			i++;
		} else if (a->times == MOST_TIMES) {
			log_warning("the front-end does not translate %#llx; what needs it waits",
				(unsigned long long)a->iova);
			drop_asked(t, i);
		} else {
			a->times++;
			a->at_ns = now;
			d->say_miss(d, &(struct driver_miss){ .iova = a->iova, .perm = a->perm });
			i++;
		}
	}
}

void device_iotlb_look(struct device *d, uint32_t index)
{
	struct driver_miss miss;

	if (!device_translates(d) || device_is_away(d) ||
		ring_miss(d, index, &miss) < 0)
		return;
	if (miss.refused)
		d->say_miss(d, &miss);
	else
		ask(d, miss.iova, miss.perm);
}

void device_iotlb_look_at_all(struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues && device_translates(d); i++)
		device_iotlb_look(d, i);
}

/* ------------------------------------------------------------------------------- rings */

int iotlb_locate(const struct device *d, uint64_t iova, uint64_t size, uint32_t perm, uint64_t *ret)
{
	if (!d->iotlb || !range_ok(iova, size) ||
		iotlb_translate(&d->iotlb->table, iova, size, perm, ret) != IOTLB_KNOWN)
		return -EFAULT;
	return 0;
}

void iotlb_ask_for(struct device *d, uint64_t iova, uint64_t size, uint32_t perm)
{
	struct device_iotlb *t = table_of(d);
	uint64_t missing;

	if (t && range_ok(iova, size) &&
		iotlb_translate(&t->table, iova, size, perm, &missing) == IOTLB_MISSING)
		ask(d, missing, perm);
}

static struct queue_set rings_in(const struct device *d, uint64_t iova, uint64_t last)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running && ring_asks_in(d, i, iova, last))
			queue_set_add(&set, i);
	}
	return set;
}

/* --------------------------------------------------------------- what the front-end says */

/* A driver's answer, after which nothing has changed or the device is away. */
static int checked(struct device *d, int r, const char *what)
{
	return r < 0 ? device_check(d, r, what) : 0;
}

/* One range within one region. A ring that would be elsewhere by it has to stop first. */
static int update_part(struct device *d, const struct iotlb_entry *entry)
{
	const struct driver_iotlb part = {
		.iova = entry->iova,
		.size = entry->size,
		.address = entry->address,
		.perm = entry->perm,
	};
	int r = 0;

	if (!device_is_away(d) && !postcopy_hides_memory(d)) {
		r = d->driver->ops->iotlb_update(d->driver, &part);
		if (r == -EBUSY) {
			const struct queue_set set = rings_in(d, part.iova, part.iova + (part.size - 1));

			r = device_pause_set(d, &set);
			if (r == 0 && !device_is_away(d))
				r = d->driver->ops->iotlb_update(d->driver, &part);
		}
		r = checked(d, r, "translate addresses");
	}
	return r == 0 ? iotlb_insert(&d->iotlb->table, entry, NULL, NULL) : r;
}

/* Calls @part for each piece of the range that is in one region, if all of it is in any. */
static int for_each_part(struct device *d, struct iotlb_entry entry, uint64_t uva,
	int (*part)(struct device *d, const struct iotlb_entry *entry))
{
	uint64_t left = entry.size;
	int r = 0;

	while (left > 0 && r == 0) {
		const struct memory_region *region = memory_find_uva(&d->state->memory, uva, 1);

		if (!region)
			return -EFAULT;
		entry.size = region->size - (uva - region->uva);
		if (entry.size > left)
			entry.size = left;
		entry.address = region->gpa + (uva - region->uva);
		r = part ? part(d, &entry) : 0;
		entry.iova += entry.size;
		uva += entry.size;
		left -= entry.size;
	}
	return r;
}

int device_iotlb_update(struct device *d, uint64_t iova, uint64_t size, uint64_t uva, uint32_t perm)
{
	const struct iotlb_entry entry = { .iova = iova, .size = size, .perm = perm };
	struct device_iotlb *t;
	int r;

	if (!device_translates(d))
		return -EOPNOTSUPP;
	if (!range_ok(iova, size) || !range_ok(uva, size) || perm == 0 ||
		perm & ~(IOTLB_READ | IOTLB_WRITE))
		return -EINVAL;
	t = table_of(d);
	if (!t)
		return -ENOMEM;
	r = for_each_part(d, entry, uva, NULL);
	if (r < 0)
		return r == -EFAULT ? -EINVAL : r;
	r = for_each_part(d, entry, uva, update_part);
	if (r == 0)
		note_answer(t, iova, iova + (size - 1));
	else if (!device_is_away(d)) { /* rings that were stopped for it go on, where they were */
		device_update(d);
		device_checkpoint(d);
	}
	return r;
}

int device_iotlb_invalidate(struct device *d, uint64_t iova, uint64_t size)
{
	const uint64_t last = iotlb_last(iova, size);
	struct queue_set set;
	int r;

	if (!device_translates(d))
		return -EOPNOTSUPP;
	if (size == 0)
		return -EINVAL;
	set = rings_in(d, iova, last);
	r = device_pause_set(d, &set);
	if (r == 0 && !device_is_away(d)) {
		r = checked(d, d->driver->ops->iotlb_invalidate(d->driver, iova, size),
			"forget translations");
		if (r < 0 && !d->state->failed) /* no ring is there: it has no reason to refuse */
			r = device_broke(d, "forget translations: %s", strerror(-r));
	}
	if (r < 0)
		return r;
	if (d->iotlb)
		iotlb_remove(&d->iotlb->table, iova, last);
	return 0;
}

/*
 * A front-end tells what its guest takes back only while a ring is started: QEMU stops to listen when the
 * device stops. What it takes back afterwards nobody hears of.
 */
int iotlb_rings_stopped(struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].started)
			return 0;
	}
	return iotlb_memory_changes(d);
}

int iotlb_memory_changes(struct device *d)
{
	if (!device_translates(d))
		return 0;
	return device_iotlb_invalidate(d, 0, UINT64_MAX);
}

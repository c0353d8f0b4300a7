/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a health block that a worker, perhaps a hostile one, writes meanwhile: copied once, then
 * checked, so that nothing is looked at twice. The generation is read around the copy; a few tries
 * make a torn copy rare, and one that stays torn is told as such.
 */
#include "vdpa/health.h"

#include <errno.h>
#include <string.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/printable.h"

#define TRIES 8

static void copy(const volatile struct health *block, struct health *ret)
{
	const volatile uint64_t *from = (const volatile uint64_t *)block;
	uint64_t *to = (uint64_t *)ret;

	_Static_assert(sizeof(*ret) % sizeof(*to) == 0, "copied in words");
	for (size_t i = 0; i < sizeof(*ret) / sizeof(*to); i++)
		to[i] = from[i];
}

static bool copy_once(const volatile struct health *block, struct health *ret)
{
	uint64_t before = __atomic_load_n(&block->generation, __ATOMIC_ACQUIRE);

	copy(block, ret);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !(before & 1) && __atomic_load_n(&block->generation, __ATOMIC_RELAXED) == before;
}

static bool figures_ok(const struct health *h)
{
	return h->magic == HEALTH_MAGIC && h->version == HEALTH_VERSION &&
	       h->state < DEVICE_N_STATES && h->datapath < DATAPATH_N &&
	       h->relay_reason < RELAY_N_REASONS && h->n_queues <= QUEUE_MAX &&
	       h->max_queue_size <= QUEUE_SIZE_MAX && migration_check(&h->migration) == 0;
}

int health_read(const volatile struct health *block, struct health *ret, bool *ret_torn)
{
	bool whole = false;

	for (int i = 0; i < TRIES && !whole; i++)
		whole = copy_once(block, ret);
	if (!figures_ok(ret))
		return -EBADMSG;
	make_printable(ret->reason, sizeof(ret->reason));
	make_printable(ret->failover_reason, sizeof(ret->failover_reason));
	if (ret_torn)
		*ret_torn = !whole;
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's memory. A table is checked as a whole before anything is changed.
 *
 * Source: vhost-user specification, "Memory region description", VHOST_USER_SET_MEM_TABLE,
 * VHOST_USER_ADD_MEM_REG, VHOST_USER_REM_MEM_REG.
 */
#include <errno.h>

#include "protocol/handlers.h"

int check_mem_table_size(const struct message *m)
{
	uint32_t n = m->payload.memory.n_regions;

	return n <= WIRE_MAX_REGIONS && m->header.size == 8 + n * sizeof(struct wire_region)
		       ? 0
		       : -EBADMSG;
}

/* What descriptor @i and @wire describe. Return: 0; -EINVAL: it is no memory. */
static int describe(const struct message *m, size_t i, const struct wire_region *wire,
	struct memory_region *ret)
{
	*ret = (struct memory_region){
		.gpa = wire->gpa,
		.size = wire->size,
		.uva = wire->uva,
		.offset = wire->offset,
	};
	return memory_file_check(m->fds[i], ret);
}

/* Takes the message's descriptor @i. Return: 0; -EMFILE. */
static int take_file(struct session *s, struct message *m, size_t i, struct memory_region *region)
{
	int slot = fdstore_add(s->transaction.fds, message_take_fd(m, i));

	if (slot < 0)
		return slot;
	region->slot = slot;
	return 0;
}

/**
 * on_set_mem_table() - replace all memory.
 * @m: one descriptor for each region, in order
 *
 * An empty table is accepted while no ring runs.
 */
int on_set_mem_table(struct session *s, struct message *m, uint32_t ring)
{
	struct memory_table *table = &s->table;

	table->n_regions = m->payload.memory.n_regions;
	if (table->n_regions == 0 && device_runs(s->device))
		return -EBUSY;
	for (uint32_t i = 0; i < table->n_regions; i++) {
		int r = describe(m, i, &m->payload.memory.regions[i], &table->regions[i]);

		if (r == 0)
			r = take_file(s, m, i, &table->regions[i]);
		if (r < 0)
			return r;
	}
	if (device_postcopy_listens(s->device))
		return postcopy_answer_table(s, m, table);
	return device_set_memory(s->device, table);
}

/** on_get_max_mem_slots() - front-ends refuse a number that becomes smaller. */
int on_get_max_mem_slots(struct session *s, struct message *m, uint32_t ring)
{
	const uint64_t slots = MEMORY_MAX_REGIONS;

	session_reply(s, m, &slots, sizeof(slots));
	return 0;
}

static struct memory_region *find_region(
	struct memory_table *table, uint64_t gpa, uint64_t size, uint64_t uva)
{
	for (uint32_t i = 0; i < table->n_regions; i++) {
		struct memory_region *region = &table->regions[i];

		if (region->gpa == gpa && region->size == size && region->uva == uva)
			return region;
	}
	return NULL;
}

static int answer_region(struct session *s, const struct message *m, const struct memory_region *region)
{
	return device_postcopy_listens(s->device) ? postcopy_answer_region(s, m, region) : 0;
}

/**
 * on_add_mem_reg() - one more region, or the same once more: QEMU up to 8.0 says all of it again for
 * each pair of queues.
 */
int on_add_mem_reg(struct session *s, struct message *m, uint32_t ring)
{
	struct memory_table *now = &s->device->state->memory, *table = &s->table;
	struct memory_region region, *same;
	int r = describe(m, 0, &m->payload.single.region, &region);

	if (r < 0)
		return r;
	same = find_region(now, region.gpa, region.size, region.uva);
	if (same && memory_same_mapping(same, &region) && same->more < s->device->n_queues) {
		same->more++;
		return answer_region(s, m, same);
	}
	if (now->n_regions == MEMORY_MAX_REGIONS)
		return -ENOSPC;
	r = take_file(s, m, 0, &region);
	if (r < 0)
		return r;
	*table = *now;
	table->regions[table->n_regions++] = region;
	r = device_set_memory(s->device, table);
	return r < 0 ? r : answer_region(s, m, &region);
}

/** on_rem_mem_reg() - a descriptor may come with it, and means nothing. */
int on_rem_mem_reg(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_region *wire = &m->payload.single.region;
	struct memory_table *table = &s->table;
	struct memory_region *region;

	*table = s->device->state->memory;
	region = find_region(table, wire->gpa, wire->size, wire->uva);
	if (!region)
		return -EINVAL;
	if (region->more > 0) {
		s->device->state->memory.regions[region - table->regions].more--;
		return 0;
	}
	*region = table->regions[--table->n_regions];
	return device_set_memory(s->device, table);
}

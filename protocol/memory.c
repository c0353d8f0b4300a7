/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's memory. A table is checked as a whole before anything is changed.
 *
 * Source: vhost-user specification, "Memory region description", VHOST_USER_SET_MEM_TABLE.
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

/* Takes the message's descriptor @i. Return: 0; -EINVAL: it is no memory; -EMFILE. */
static int take_region(struct session *s, struct message *m, size_t i, struct memory_region *ret)
{
	const struct wire_region *wire = &m->payload.memory.regions[i];
	int r;

	*ret = (struct memory_region){
		.gpa = wire->gpa,
		.size = wire->size,
		.uva = wire->uva,
		.offset = wire->offset,
	};
	r = memory_file_check(m->fds[i], ret);
	if (r < 0)
		return r;
	r = fdstore_add(s->transaction.fds, message_take_fd(m, i));
	if (r < 0)
		return r;
	ret->slot = r;
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
		int r = take_region(s, m, i, &table->regions[i]);

		if (r < 0)
			return r;
	}
	if (device_postcopy_listens(s->device))
		return postcopy_answer_table(s, m, table);
	return device_set_memory(s->device, table);
}

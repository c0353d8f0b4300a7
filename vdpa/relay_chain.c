/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chains: indirect tables are read into cells like any other descriptors, so that the device gets
 * direct ones only. Each entry of a table is read once; its guest may change it before or after,
 * not in between. No entry is read unless there is a cell for it, so that a chain that goes round
 * ends where the cells do.
 *
 * Source: virtio 1.2, 2.7.5.3 and 2.8.7 "Indirect Descriptors".
 */
#include "vdpa/relay_internal.h"

static int check_table(struct relay *r, uint64_t gpa, uint32_t size)
{
	if (!r->indirect)
		return relay_fault(r, -EBADMSG, "an indirect descriptor that was not negotiated");
	if (size == 0 || size % sizeof(struct vring_desc))
		return relay_fault(r, -EBADMSG, "an indirect table of a wrong size");
	if (!guestmem_has(r->memory, gpa, size))
		return relay_fault(r, -EBADMSG, "an indirect table is not in the guest's memory");
	return 0;
}

/* @table: all of it, or NULL when no one region has it. */
static inline void read_entry(
	struct relay *r, const uint8_t *table, uint64_t gpa, uint32_t index, void *to)
{
	const uint64_t size = sizeof(struct vring_desc);

	if (__builtin_expect(table != NULL, 1))
		shared_read(to, table + index * size, size);
	else
		guestmem_read(r->memory, gpa + index * size, to, size);
}

int relay_read_indirect_split(struct relay *r, struct relay_chain *c, uint64_t gpa, uint32_t size)
{
	uint32_t n = size / (uint32_t)sizeof(struct vring_desc), index = 0;
	int e = check_table(r, gpa, size);
	const uint8_t *table = e == 0 ? guestmem_at(r->memory, gpa, size) : NULL;

	while (e == 0) {
		struct vring_desc d = { 0 };

		read_entry(r, table, gpa, index, &d);
		d.flags = le16toh(d.flags);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return relay_fault(r, -EBADMSG, "an indirect descriptor in a table");
		e = relay_chain_add(r, c, le64toh(d.addr), le32toh(d.len), d.flags);
		if (e != 0 || !(d.flags & VRING_DESC_F_NEXT))
			break;
		index = le16toh(d.next);
		if (index >= n)
			return relay_fault(
				r, -EBADMSG, "a descriptor's next one is beyond the table");
	}
	return e;
}

int relay_read_indirect_packed(struct relay *r, struct relay_chain *c, uint64_t gpa, uint32_t size)
{
	uint32_t n = size / (uint32_t)sizeof(struct vring_packed_desc);
	int e = check_table(r, gpa, size);
	const uint8_t *table = e == 0 ? guestmem_at(r->memory, gpa, size) : NULL;

	if (e == 0 && n > r->size)
		return relay_fault(r, -EBADMSG, "a chain is longer than the ring");
	for (uint32_t i = 0; i < n && e == 0; i++) {
		struct vring_packed_desc d = { 0 };

		read_entry(r, table, gpa, i, &d);
		d.flags = le16toh(d.flags);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return relay_fault(r, -EBADMSG, "an indirect descriptor in a table");
		e = relay_chain_add(r, c, le64toh(d.addr), le32toh(d.len), d.flags);
	}
	return e;
}

void relay_log_buffers(struct relay *r, uint16_t id, uint32_t size)
{
	uint32_t at = id;

	while (size > 0) {
		const struct relay_cell *cell = &r->cells[at];

		if (cell->flags & VRING_DESC_F_WRITE) {
			uint32_t part = cell->size < size ? cell->size : size;

			dirty_log_mark(r->log, cell->gpa, part);
			size -= part;
		}
		at = cell->next;
	}
}

/* Cells go back in the order of their chains, which keeps a ring in order in order. */
void relay_free_batch(struct relay *r)
{
	uint32_t end = r->free_first + r->n_free, mask = r->free_mask;

	for (uint32_t i = 0; i < r->n_batch; i++) {
		uint16_t at = r->batch[i].id;

		r->free[end++ & mask] = at;
		for (uint32_t n = r->flights[at].n_cells; n > 1; n--) {
			at = r->cells[at].next;
			r->free[end++ & mask] = at;
		}
	}
	r->n_free = end - r->free_first;
}

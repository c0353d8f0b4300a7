/* SPDX-License-Identifier: BSD-2-Clause */
/* Positions from words that a front-end sent: checked before anything counts on them. */
#include "vdpa/position.h"

#include <errno.h>

int position_from_split(uint32_t word, uint16_t used, uint32_t size, struct queue_position *ret)
{
	uint16_t avail = (uint16_t)word;

	if (word > UINT16_MAX)
		return -EINVAL;
	if ((uint16_t)(avail - used) > size) {
		if ((uint16_t)(used - avail) > size)
			return -EINVAL;
		avail = used;
	}
	*ret = (struct queue_position){ .avail = avail, .used = used };
	return 0;
}

int position_from_packed(uint32_t word, uint32_t size, struct queue_position *ret)
{
	struct queue_position p;

	if (word >> 16 == 0)
		word |= word << 16;
	p = (struct queue_position){
		.avail = word & 0x7fff,
		.avail_wrap = word >> 15 & 1,
		.used = word >> 16 & 0x7fff,
		.used_wrap = word >> 31,
	};
	if (p.avail >= size || p.used >= size)
		return -EINVAL;
	*ret = p;
	return 0;
}

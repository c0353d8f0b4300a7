/* SPDX-License-Identifier: BSD-2-Clause */
/* What of a file this process has mapped. */
#ifndef TESTS_UNIT_MAPPINGS_H
#define TESTS_UNIT_MAPPINGS_H

#include <stdio.h>
#include <string.h>

/* Mappings of memfd @name. */
static inline unsigned int count_mappings(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int n = 0;
	char line[512], wanted[64];

	assert_non_null(maps);
	snprintf(wanted, sizeof(wanted), "memfd:%s", name);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, wanted) != NULL;
	fclose(maps);
	return n;
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A folder of the test program's own, as the setup and teardown of a group of cmocka's. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/vdpad-test-XXXXXX";

static inline int make_folder(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

/* What is still in it fails the group. */
static inline int remove_folder(void **state)
{
	return rmdir(folder);
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Each test has a function of its own, @m, and fails when a rule of virtio was broken meanwhile. */
#ifndef TESTS_UNIT_VIRTIO_STAND_H
#define TESTS_UNIT_VIRTIO_STAND_H

#include "virtio_model.h"

static struct virtio_model m;

static int model_setup(void **state)
{
	model_init(&m);
	return 0;
}

/* Assertions are for tests; what fails here fails the test, too. */
static int model_teardown(void **state)
{
	if (!m.broken[0])
		return 0;
	print_error("%s\n", m.broken);
	return -1;
}

#define MODEL_TEST(test) cmocka_unit_test_setup_teardown(test, model_setup, model_teardown)

#endif

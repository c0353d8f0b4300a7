/* SPDX-License-Identifier: BSD-2-Clause */
/* A function with more pairs than a guest may have: its control queue lies behind all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_net.h>

#include "tests/unit/nic_rig.h"

#define PAIRS 2

static int setup(void **state)
{
	const struct nic_facts facts = { .features = NIC_FEATURES, .pairs = 131, .vectors = 64 };

	nic_rig_begin(&facts);
	return 0;
}

static int teardown(void **state)
{
	nic_rig_end();
	return 0;
}

static void the_control_queue_lies_behind_all_pairs_of_the_function(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		struct guest *g = guest_new(&nic_rig, packed ? GUEST_PACKED : GUEST_SPLIT, PAIRS);

		assert_int_equal(g->ops->caps(g->device)->n_queues, QUEUE_MAX);
		guest_run(g);
		assert_int_equal(nic_device_of(g)->function->figures.pairs, PAIRS);
		guest_free(g);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			the_control_queue_lies_behind_all_pairs_of_the_function, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

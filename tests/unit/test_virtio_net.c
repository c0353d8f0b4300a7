/* SPDX-License-Identifier: BSD-2-Clause */
/* What a function says of itself as a NIC: field by field, and as of one moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "drivers/virtio/net.h"
#include "virtio_stand.h"

static struct virtio_function opened(void)
{
	struct virtio_function f;

	assert_int_equal(virtio_function_open(&m.pci, &f), 0);
	return f;
}

static void all_fields_are_read(void **state)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 1 };
	struct virtio_function f = opened();
	struct virtio_net_facts facts;

	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_true(facts.has_mac);
	assert_memory_equal(facts.mac, mac, 6);
	assert_int_equal(facts.mtu, 1500);
	assert_int_equal(facts.max_pairs, 2);
	assert_true(facts.link_up);
	assert_false(facts.announce);
	m.net[6] = VIRTIO_NET_S_ANNOUNCE;
	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_false(facts.link_up);
	assert_true(facts.announce);
}

/* The model complains when a field that is not there is read. */
static void fields_without_their_feature_are_not_read(void **state)
{
	struct virtio_function f = opened();
	struct virtio_net_facts facts;

	assert_int_equal(virtio_function_negotiate(&f, BIT_ULL(VIRTIO_F_VERSION_1)), 0);
	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_false(facts.has_mac);
	assert_int_equal(facts.mtu, 0);
	assert_int_equal(facts.max_pairs, 1);
	assert_true(facts.link_up);
	m.net[6] = VIRTIO_NET_S_ANNOUNCE;
	assert_int_equal(virtio_function_reset(&f, 60000), 0);
	assert_int_equal(virtio_function_negotiate(&f,
				 BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_NET_F_STATUS)), 0);
	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_false(facts.link_up);
	assert_false(facts.announce);
}

static void a_configuration_that_moved_is_read_again(void **state)
{
	struct virtio_function f = opened();
	struct virtio_net_facts facts;
	unsigned int before = m.accesses, once;

	assert_int_equal(virtio_net_read(&f, &facts), 0);
	once = m.accesses - before;
	m.unsteady = 5;
	before = m.accesses;
	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_int_equal(m.unsteady, 0);
	assert_true(m.accesses - before > 2 * once);
}

static void a_configuration_that_always_moves_is_given_up(void **state)
{
	struct virtio_function f = opened();
	struct virtio_net_facts facts = { .mtu = 77 };

	m.unsteady = UINT32_MAX;
	assert_int_equal(virtio_net_read(&f, &facts), -EIO);
	assert_int_equal(facts.mtu, 77);
	assert_true(m.accesses < 2000);
}

static void values_that_no_nic_has_are_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t bytes[2];
	} bad[] = {
		{ 0, { 0x53, 0x54 } },
		{ 8, { 0, 0 } },
		{ 8, { 1, 0x80 } },
		{ 10, { 67, 0 } },
		{ 10, { 0, 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_net_facts facts = { .mtu = 77 };
		struct virtio_function f;

		model_init(&m);
		f = opened();
		memcpy(&m.net[bad[i].at], bad[i].bytes, 2);
		assert_int_equal(virtio_net_read(&f, &facts), -EPROTO);
		assert_int_equal(facts.mtu, 77);
		model_assert_content(&m);
	}
}

static void values_at_their_ends_are_not(void **state)
{
	static const uint8_t ends[12] = { 0x52, 0x54, 0, 0, 0, 0, 0, 0, 0, 0x80, 68, 0 };
	struct virtio_function f = opened();
	struct virtio_net_facts facts;

	memcpy(m.net, ends, sizeof(ends));
	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_int_equal(facts.max_pairs, 32768);
	assert_int_equal(facts.mtu, 68);
	memset(m.net, 0, 6);
	assert_int_equal(virtio_net_read(&f, &facts), 0);
	assert_false(facts.has_mac);
}

static void a_structure_too_short_for_its_fields_is_refused(void **state)
{
	static const struct {
		uint32_t size;
		uint64_t hidden; /* features that the device does not offer */
		int r;
	} cases[] = {
		{ 12, 0, 0 },
		{ 11, 0, -EPROTO },
		{ 10, BIT_ULL(VIRTIO_NET_F_MTU), 0 },
		{ 9, BIT_ULL(VIRTIO_NET_F_MTU), -EPROTO },
		{ 8, BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_MQ), 0 },
		{ 7, BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_MQ), -EPROTO },
		{ 5, BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_MQ) |
			     BIT_ULL(VIRTIO_NET_F_STATUS), -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_net_facts facts;
		struct virtio_function f;

		model_init(&m);
		m.offered &= ~cases[i].hidden;
		model_set_config(&m, MODEL_CAP_DEVICE + VIRTIO_PCI_CAP_LENGTH, 4, cases[i].size);
		f = opened();
		assert_int_equal(virtio_net_read(&f, &facts), cases[i].r);
		model_assert_content(&m);
	}
}

static void a_device_that_goes_while_it_is_read_is_noticed(void **state)
{
	struct virtio_net_facts facts = { .mtu = 77 };
	struct virtio_function f = opened();

	for (unsigned int after = 1; after < 100; after++) {
		int r;

		m.gone = false;
		m.gone_after = m.accesses + after;
		r = virtio_net_read(&f, &facts);
		if (r == 0) {
			assert_false(m.gone);
			assert_true(after > 5);
			return;
		}
		assert_int_equal(r, -ENODEV);
		assert_int_equal(facts.mtu, 77);
	}
	fail();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL_TEST(all_fields_are_read),
		MODEL_TEST(fields_without_their_feature_are_not_read),
		MODEL_TEST(a_configuration_that_moved_is_read_again),
		MODEL_TEST(a_configuration_that_always_moves_is_given_up),
		MODEL_TEST(values_that_no_nic_has_are_refused),
		MODEL_TEST(values_at_their_ends_are_not),
		MODEL_TEST(a_structure_too_short_for_its_fields_is_refused),
		MODEL_TEST(a_device_that_goes_while_it_is_read_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

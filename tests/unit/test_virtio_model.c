/* SPDX-License-Identifier: BSD-2-Clause */
/* The model knows each wrong order: else tests of the driver would prove nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "drivers/virtio/function.h"
#include "virtio_model.h"

static struct virtio_model m;

enum kind {
	END,
	READ,
	WRITE,
	SET_UP, /* accept all features */
	RING,	/* give queue 0 a ring */
};

struct step {
	enum kind kind;
	uint16_t offset; /* in the common configuration, or beyond it in its BAR */
	uint8_t width;
	uint32_t value;
};

#define STATUS(v)    { WRITE, VIRTIO_PCI_COMMON_STATUS, 1, v }
#define SELECT(v)    { WRITE, VIRTIO_PCI_COMMON_Q_SELECT, 2, v }
#define SIZE(v)	     { WRITE, VIRTIO_PCI_COMMON_Q_SIZE, 2, v }
#define ENABLE(v)    { WRITE, VIRTIO_PCI_COMMON_Q_ENABLE, 2, v }
#define RESET(v)     { WRITE, VIRTIO_PCI_COMMON_Q_RESET, 2, v }
#define DESC(v)	     { WRITE, VIRTIO_PCI_COMMON_Q_DESCLO, 4, v }
#define NOTIFY(w, v) { WRITE, MODEL_NOTIFY, w, v }
#define ACCEPT	     { .kind = SET_UP }
#define GIVE_RING    { .kind = RING }

static const struct {
	const char *rule; /* how the complaint begins; empty: none */
	struct step steps[10];
} cases[] = {
	{ "", { STATUS(1), STATUS(3) } },
	{ "", { ACCEPT, GIVE_RING, ENABLE(1), STATUS(15), NOTIFY(4, 0x100) } },
	{ "status 0x2 comes before 0x1", { STATUS(2) } },
	{ "status 0xb comes before 0x2", { STATUS(1), STATUS(11) } },
	{ "status 0x7 comes before 0x8", { STATUS(1), STATUS(3), STATUS(7) } },
	{ "a bit of the status was taken back", { STATUS(1), STATUS(3), STATUS(2) } },
	{ "features come before DRIVER", { { WRITE, VIRTIO_PCI_COMMON_GF, 4, 0 } } },
	{ "features come after FEATURES_OK", { ACCEPT, { WRITE, VIRTIO_PCI_COMMON_GF, 4, 0 } } },
	{ "features were not offered",
		{ STATUS(1), STATUS(3), { WRITE, VIRTIO_PCI_COMMON_GF, 4, 1 } } },
	{ "queue 0 is set up before FEATURES_OK", { SIZE(16) } },
	{ "queue 0 is set up before FEATURES_OK", { STATUS(1), STATUS(3), DESC(16) } },
	{ "queue 5 is not there", { ACCEPT, SELECT(5), SIZE(16) } },
	{ "queue 0 gets a size of 512", { ACCEPT, SIZE(512) } },
	{ "queue 0 gets a size of 0", { ACCEPT, SIZE(0) } },
	{ "queue 0 is enabled without a ring", { ACCEPT, ENABLE(1) } },
	{ "queue_enable gets 0", { ACCEPT, GIVE_RING, ENABLE(0) } },
	{ "queue 0 is set up while it is enabled", { ACCEPT, GIVE_RING, ENABLE(1), ENABLE(1) } },
	{ "queue 0 is set up while it is enabled", { ACCEPT, GIVE_RING, ENABLE(1), DESC(16) } },
	{ "queue 0 is set up while it is enabled",
		{ ACCEPT, GIVE_RING, ENABLE(1),
			{ WRITE, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0 } } },
	{ "queue 0 is set up while the device runs", { ACCEPT, STATUS(15), SIZE(16) } },
	{ "queue_reset without RING_RESET", { STATUS(1), STATUS(3), STATUS(11), RESET(1) } },
	{ "queue_reset gets 2", { ACCEPT, GIVE_RING, ENABLE(1), STATUS(15), RESET(2) } },
	{ "queue 0 is reset and was not enabled", { ACCEPT, GIVE_RING, RESET(1) } },
	{ "", { ACCEPT, GIVE_RING, ENABLE(1), STATUS(15), RESET(1), GIVE_RING, ENABLE(1) } },
	{ "notify data without its feature",
		{ STATUS(1), STATUS(3), STATUS(11), { READ, VIRTIO_PCI_COMMON_Q_NDATA, 2, 0 } } },
	{ "the common configuration has no 4 bytes at 20",
		{ { READ, VIRTIO_PCI_COMMON_STATUS, 4, 0 } } },
	{ "the common configuration has no 2 bytes at 0",
		{ { READ, VIRTIO_PCI_COMMON_DFSELECT, 2, 0 } } },
	{ "4 bytes are read at 22", { { READ, VIRTIO_PCI_COMMON_Q_SELECT, 4, 0 } } },
	{ "register 18 is read-only", { { WRITE, VIRTIO_PCI_COMMON_NUMQ, 2, 0 } } },
	{ "a notification before DRIVER_OK", { ACCEPT, NOTIFY(4, 0x100) } },
	{ "a notification of 2 bytes",
		{ ACCEPT, GIVE_RING, ENABLE(1), STATUS(15), NOTIFY(2, 0x100) } },
	{ "queue 0 is called 0", { ACCEPT, GIVE_RING, ENABLE(1), STATUS(15), NOTIFY(4, 0) } },
	{ "a write at 8192 of BAR 4", { { WRITE, MODEL_DEVICE, 1, 0 } } },
	{ "the configuration has no 2 bytes at 0", { { READ, MODEL_DEVICE, 2, 0 } } },
	{ "the configuration has no 1 bytes at 12", { { READ, MODEL_DEVICE + 12, 1, 0 } } },
};

static void write_common(uint32_t offset, unsigned int width, uint32_t value)
{
	m.pci.ops->write(&m.pci, MODEL_BAR, offset, width, value);
}

static void accept_all(void)
{
	write_common(VIRTIO_PCI_COMMON_STATUS, 1, 1);
	write_common(VIRTIO_PCI_COMMON_STATUS, 1, 3);
	for (uint32_t half = 0; half < 2; half++) {
		write_common(VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		write_common(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(m.offered >> 32 * half));
	}
	write_common(VIRTIO_PCI_COMMON_STATUS, 1, 11);
}

static void take_step(const struct step *step)
{
	switch (step->kind) {
	case END:
		break;
	case READ:
		m.pci.ops->read(&m.pci, MODEL_BAR, step->offset, step->width);
		break;
	case WRITE:
		write_common(step->offset, step->width, step->value);
		break;
	case SET_UP:
		accept_all();
		break;
	case RING:
		write_common(VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
		write_common(VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x1000);
		break;
	}
}

static void each_wrong_order_is_noticed_and_no_right_one(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t n = strlen(cases[i].rule);

		model_init(&m);
		for (size_t s = 0; s < ARRAY_SIZE(cases[i].steps); s++)
			take_step(&cases[i].steps[s]);
		if (n == 0 ? m.broken[0] : strncmp(m.broken, cases[i].rule, n) != 0)
			fail_msg("case %zu: \"%s\" and not \"%s\"", i, m.broken, cases[i].rule);
	}
}

static void nothing_but_the_status_is_used_during_a_reset(void **state)
{
	model_init(&m);
	m.reset_reads = 2;
	write_common(VIRTIO_PCI_COMMON_STATUS, 1, 0);
	write_common(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_string_equal(m.broken, "register 22 is used during a reset");
}

static void a_queue_is_not_set_up_while_it_is_reset(void **state)
{
	model_init(&m);
	accept_all();
	take_step(&(struct step)GIVE_RING);
	write_common(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	write_common(VIRTIO_PCI_COMMON_STATUS, 1, 15);
	m.queues[0].reset_reads = 2;
	write_common(VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
	assert_string_equal(m.broken, "");
	m.queues[0].enable = 0;
	write_common(VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
	assert_string_equal(m.broken, "queue 0 is set up while it is reset");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_wrong_order_is_noticed_and_no_right_one),
		cmocka_unit_test(nothing_but_the_status_is_used_during_a_reset),
		cmocka_unit_test(a_queue_is_not_set_up_while_it_is_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

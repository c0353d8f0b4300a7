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
	READ_IFC,
	WRITE_IFC,
};

struct step {
	enum kind kind;
	uint16_t offset; /* in the common configuration, or beyond it in its BAR; or of IFC's registers */
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
#define IFC(o, v)    { WRITE_IFC, o, 4, v }
#define STAND(v)     IFC(0x20, v)
#define ASK	     { READ_IFC, 0x20, 4, 0 }
#define RUN	     ACCEPT, STAND(0), GIVE_RING, ENABLE(1), STATUS(15)
#define LOG	     IFC(0x10, 0x1000), IFC(0x14, 1), IFC(0x18, 0x2000), IFC(0x1c, 1)

struct order {
	const char *rule; /* how the complaint begins; empty: none */
	struct step steps[14];
};

static const struct order cases[] = {
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
	{ "a write at 8192 of BAR 2", { { WRITE, MODEL_DEVICE, 1, 0 } } },
	{ "the configuration has no 2 bytes at 0", { { READ, MODEL_DEVICE, 2, 0 } } },
	{ "the configuration has no 1 bytes at 12", { { READ, MODEL_DEVICE + 12, 1, 0 } } },
};

/* Of an IFC function. */
static const struct order ifc_cases[] = {
	{ "", { RUN, ENABLE(0), ASK, STAND(0x50005), GIVE_RING, ENABLE(1) } },
	{ "", { LOG, IFC(0, 1), RUN, IFC(0x28, 2) } },
	{ "", { LOG, IFC(0, 1), IFC(0, 0), LOG, IFC(0, 1) } },
	{ "", { ACCEPT, { WRITE_IFC, 0x64, 4, 0 } } },
	{ "queue 0 is enabled without a position", { ACCEPT, GIVE_RING, ENABLE(1) } },
	{ "queue 0 is enabled without a position", { RUN, ENABLE(0), ASK, GIVE_RING, ENABLE(1) } },
	{ "queue_enable gets 2", { RUN, ENABLE(2) } },
	{ "queue 0 is disabled and was not enabled", { ACCEPT, ENABLE(0) } },
	{ "queue 0 is set up while the device runs", { ACCEPT, STATUS(15), SIZE(16) } },
	{ "queue 0 gets a position while it is enabled", { RUN, STAND(1) } },
	{ "queue 0 is asked where it stands while it is enabled", { RUN, ASK } },
	{ "a position comes before FEATURES_OK", { STAND(1) } },
	{ "a position is asked for after a reset", { RUN, ENABLE(0), STATUS(0), ASK } },
	{ "the log's control gets 3", { LOG, IFC(0, 3) } },
	{ "a log ends where it begins", { IFC(0x10, 8), IFC(0x14, 1), IFC(0x18, 8), IFC(0x1c, 1), IFC(0, 1) } },
	{ "a log begins before it is all said where",
		{ IFC(0x10, 0x1000), IFC(0x14, 1), IFC(0x1c, 2), IFC(0, 1) } },
	{ "a log begins before it is all said where", { LOG, IFC(0, 1), IFC(0, 0), IFC(0, 1) } },
	{ "a log is moved while it is on", { LOG, IFC(0, 1), IFC(0x10, 0) } },
	{ "a log ends while queues run", { LOG, IFC(0, 1), RUN, IFC(0, 0) } },
	{ "pairs are set before FEATURES_OK", { IFC(0x28, 1) } },
	{ "0 pairs are set", { ACCEPT, IFC(0x28, 0) } },
	{ "3 pairs are set", { ACCEPT, IFC(0x28, 3) } },
	{ "IFC has no register at 160", { ACCEPT, IFC(0xa0, 0) } }, /* the control queue has none */
	{ "IFC has no register at 16", { { READ_IFC, 0x10, 4, 0 } } },
	{ "2 bytes of IFC's registers are written", { { WRITE_IFC, 0, 2, 0 } } },
	{ "2 bytes of IFC's registers are read", { { READ_IFC, 0, 2, 0 } } },
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
	case READ_IFC:
		m.pci.ops->read(&m.pci, MODEL_IFC_BAR, step->offset, step->width);
		break;
	case WRITE_IFC:
		m.pci.ops->write(&m.pci, MODEL_IFC_BAR, step->offset, step->width, step->value);
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

static void go_through(const struct order *order, size_t number)
{
	size_t n = strlen(order->rule);

	for (size_t s = 0; s < ARRAY_SIZE(order->steps); s++)
		take_step(&order->steps[s]);
	if (n == 0 ? m.broken[0] : strncmp(m.broken, order->rule, n) != 0)
		fail_msg("case %zu: \"%s\" and not \"%s\"", number, m.broken, order->rule);
}

static void each_wrong_order_is_noticed_and_no_right_one(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		model_init(&m);
		go_through(&cases[i], i);
	}
}

static void each_wrong_order_of_an_ifc_function_is_noticed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ifc_cases); i++) {
		model_init(&m);
		model_add_ifc(&m);
		go_through(&ifc_cases[i], i);
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
		cmocka_unit_test(each_wrong_order_of_an_ifc_function_is_noticed),
		cmocka_unit_test(nothing_but_the_status_is_used_during_a_reset),
		cmocka_unit_test(a_queue_is_not_set_up_while_it_is_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

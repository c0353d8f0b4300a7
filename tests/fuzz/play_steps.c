/* SPDX-License-Identifier: BSD-2-Clause */
/* What a step does, by its kind. */
#include "tests/fuzz/play_internal.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

#include "protocol/table.h"
#include "tests/fuzz/clock.h"
#include "tests/fuzz/files.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"

static void do_close(struct play *p, const struct step *step)
{
	play_disconnect(p);
}

static void do_restart(struct play *p, const struct step *step)
{
	play_restart(p);
}

static void do_die(struct play *p, const struct step *step)
{
	p->dies_after = 1 + step->more[0] % 12;
}

/* As tools/worker/driver_link.c. */
static void take_events(struct play *p)
{
	struct driver_event event;

	while (!p->stand.device.lost &&
		p->stand.driver.device.ops->next_event(&p->stand.driver.device, &event) == 0) {
		switch (event.kind) {
		case DRIVER_EVENT_CONFIG:
			session_config_changed(&p->stand.session);
			break;
		case DRIVER_EVENT_QUEUE_ERROR:
			device_iotlb_look(&p->stand.device, event.queue);
			device_ring_failed(&p->stand.device, event.queue);
			break;
		case DRIVER_EVENT_MISS:
			device_iotlb_look_at_all(&p->stand.device);
			break;
		case DRIVER_EVENT_FAILED:
			device_fail(&p->stand.device, "it says so");
			break;
		case DRIVER_EVENT_GONE:
		case DRIVER_EVENT_REPLACED:
			p->stand.device.lost = true;
			break;
		}
	}
	p->stand.driver.n_events = 0;
	stand_commit(&p->stand);
}

static void do_events(struct play *p, const struct step *step)
{
	fuzz_driver_event(
		&p->stand.driver, (enum driver_event_kind)(step->ring % 5), step->more[0]);
	take_events(p);
}

static void do_work(struct play *p, const struct step *step)
{
	fuzz_driver_work(
		&p->stand.driver, step->ring, step->more[0], (uint32_t)step->value[0] * 16);
}

static void do_control(struct play *p, const struct step *step)
{
	fuzz_driver_control(&p->stand.driver, step->more);
}

/* Mostly in the guest's memory as it calls it. */
static void do_miss(struct play *p, const struct step *step)
{
	const struct driver_miss miss = {
		.iova = 0x7f0000000000ULL + step->more[0] * 1024ULL + step->more[3],
		.perm = 1U + step->more[1] % 2U,
		.refused = step->more[2] % 8 == 7,
	};

	if (!fuzz_driver_miss(&p->stand.driver, step->ring, &miss))
		return;
	fuzz_driver_event(&p->stand.driver,
		miss.refused ? DRIVER_EVENT_QUEUE_ERROR : DRIVER_EVENT_MISS, step->ring);
	take_events(p);
}

static void do_fail(struct play *p, const struct step *step)
{
	static const int errors[] = { -EINVAL, -ENOSPC, -ENODEV, -ETIMEDOUT, -EIO, -EPROTO, -EBUSY,
		-ENOMEM };

	p->stand.driver.fail_after = 1 + step->more[0] % 16;
	p->stand.driver.fail_more = step->more[1] % 4;
	p->stand.driver.fail_with = errors[step->ring % ARRAY_SIZE(errors)];
}

static void do_return(struct play *p, const struct step *step)
{
	const int none = -1;

	p->stand.driver.gone = true;
	device_returned(&p->stand.device, &none, 1);
	stand_commit(&p->stand);
}

static void do_time(struct play *p, const struct step *step)
{
	fuzz_clock_advance(step->more[0] * 100 * NS_PER_MS);
	if (session_check_deadline(&p->stand.session) < 0)
		play_disconnect(p);
}

static void do_relay(struct play *p, const struct step *step)
{
	struct queue_set failed;

	for (int i = 0; i < 3 && device_relay_run(&p->stand.device, &failed); i++)
		;
	if (step->ring % 2)
		device_relay_sleep(&p->stand.device);
	stand_commit(&p->stand);
}

/* One buffer more in a ring where steps.c puts it, or any bytes. */
static void do_guest(struct play *p, const struct step *step)
{
	uint8_t *ring = files_memory() + (step->ring % 16) * 0x4000;
	struct vring_desc desc = { .addr = 0x40000000ULL + step->value[0] * 64U,
		.len = step->value[1] * 4U,
		.flags = (uint16_t)(step->value[2] & 7) };
	uint16_t *avail = (uint16_t *)(void *)(ring + 0x2000);

	if (step->value[3] > 240) {
		memcpy(ring + step->value[4] * 64U, step->more, sizeof(step->more));
		return;
	}
	for (uint8_t i = 0; i < step->more[0] % 17; i++) {
		if (p->stand.device_section.features & BIT_ULL(VIRTIO_F_RING_PACKED)) {
			struct vring_packed_desc *packed =
				(void *)(ring + 16 * ((step->more[1] + i) % 16));

			*packed = (struct vring_packed_desc){ .addr = desc.addr,
				.len = desc.len,
				.id = i,
				.flags = (uint16_t)(desc.flags |
						    (step->more[2] & 1 ? 1 << 15 : 1 << 7)) };
			continue;
		}
		desc.next = (uint16_t)((avail[1] + 1) % 16);
		((struct vring_desc *)(void *)ring)[avail[1] % 16] = desc;
		avail[2 + avail[1] % 16] = avail[1] % 16;
		avail[1]++;
	}
}

static void do_cut(struct play *p, const struct step *step)
{
	static const enum file_kind kinds[] = { FILE_MORE_RAM, FILE_LOG };

	files_cut(kinds[step->ring % 2], step->more[0] * 1024U);
}

static void do_pipe(struct play *p, const struct step *step)
{
	switch (step->ring % 4) {
	case 0:
		transfer_run(&p->stand.session);
		p->saved_size = files_drain(p->saved, sizeof(p->saved));
		break;
	case 1:
		p->saved[step->value[0]] ^= step->value[1];
		files_feed(p->saved,
			p->saved_size < sizeof(p->saved) ? p->saved_size : sizeof(p->saved));
		break;
	case 2:
		files_end_pipe();
		break;
	default:
		files_feed(step, sizeof(*step));
	}
	if (p->stand.session.transfer.fd >= 0)
		transfer_run(&p->stand.session);
}

static const struct play_kind kinds[STEP_N_KINDS] = {
	[STEP_MESSAGE... STEP_MESSAGE_ALSO] = { .shown = "",
		.act = play_message,
		.names_message = true,
		.mortal = true },
	[STEP_HOLD] = { .shown = "together with the next: ",
		.act = play_message,
		.names_message = true,
		.mortal = true },
	[STEP_PARTIAL] = { .shown = "a part of ", .act = play_message, .names_message = true },
	[STEP_BYTES] = { .shown = "bytes", .act = play_bytes },
	[STEP_CLOSE] = { .shown = "the front-end leaves", .act = do_close },
	[STEP_RESTART] = { .shown = "the worker dies", .act = do_restart, .keeps_signals = true },
	[STEP_EVENT] = { .shown = "event", .act = do_events },
	[STEP_FAIL] = { .shown = "a call will fail", .act = do_fail },
	[STEP_RETURN] = { .shown = "the device is replaced", .act = do_return, .mortal = true },
	[STEP_TIME] = { .shown = "time passes", .act = do_time },
	[STEP_RELAY] = { .shown = "relays run", .act = do_relay },
	[STEP_GUEST] = { .shown = "the guest offers", .act = do_guest },
	[STEP_WORK] = { .shown = "the device works", .act = do_work },
	[STEP_CUT] = { .shown = "a file is cut", .act = do_cut },
	[STEP_PIPE] = { .shown = "pipe", .act = do_pipe },
	[STEP_DIE] = { .shown = "the worker will die", .act = do_die },
	[STEP_MISS] = { .shown = "an address is missing", .act = do_miss },
	[STEP_CALL] = { .shown = "the device signals", .act = play_call, .keeps_signals = true },
	[STEP_CHANNEL] = { .shown = "the channel", .act = play_channel, .keeps_signals = true },
	[STEP_CONTROL] = { .shown = "the driver sets something", .act = do_control },
};

const struct play_kind *play_kind(const struct step *step)
{
	return &kinds[step->kind % STEP_N_KINDS];
}

void play_show(const struct step *step)
{
	const struct play_kind *kind = play_kind(step);

	fprintf(stderr,
		"step: %s%s (flags %u size %u n_fds %u file %u ring %u value %u %u %u %u %u more "
		"%u %u %u %u)\n",
		kind->shown, kind->names_message ? message_name(step->request) : "", step->flags,
		step->size, step->n_fds, step->file, step->ring, step->value[0], step->value[1],
		step->value[2], step->value[3], step->value[4], step->more[0], step->more[1],
		step->more[2], step->more[3]);
}

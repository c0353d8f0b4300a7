/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kept descriptors. The shim is their last owner: what is in a slot survives any worker, and
 * each new worker gets all of it. It knows the meaning of the first few only.
 *
 * Slots are closed here, in the loop. What the worker stores are sockets, eventfds and memory
 * files, whose close does not wait; a device's descriptor is closed after the worker is dead.
 */
#include "tools/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/base/memfile.h"
#include "vdpa/health.h"

void slots_init(struct shim *s)
{
	for (uint32_t i = 0; i < SHIM_MAX_SLOTS; i++)
		s->slots[i] = -1;
}

void slot_put(struct shim *s, uint32_t slot, int fd)
{
	slot_drop(s, slot);
	s->slots[slot] = fd;
}

void slot_drop(struct shim *s, uint32_t slot)
{
	s->slots[slot] = close_keep_errno(s->slots[slot]);
}

void slots_put_device(struct shim *s, enum shim_slot first, int *fds, size_t n)
{
	for (uint32_t i = 0; i < SHIM_MAX_DEVICE_FDS; i++)
		slot_put(s, first + i, i < n ? TAKE_FD(fds[i]) : -1);
}

void connection_end(struct shim *s)
{
	if (s->slots[SHIM_SLOT_CONN] < 0)
		return;
	/* The worker has a copy, and a close of ours would end nothing. */
	shutdown(s->slots[SHIM_SLOT_CONN], SHUT_RDWR);
	slot_drop(s, SHIM_SLOT_CONN);
}

int slots_send(const struct shim *s, int sock)
{
	const struct shim_header header = { .kind = SHIM_SLOTS, .size = sizeof(struct shim_slots) };
	struct shim_slots slots = { 0 };
	int fds[SHIM_FDS_A_MESSAGE], r;

	for (uint32_t i = 0; i < SHIM_MAX_SLOTS; i++) {
		if (s->slots[i] >= 0) {
			fds[slots.n] = s->slots[i];
			slots.slot[slots.n++] = i;
		}
		if (slots.n == SHIM_FDS_A_MESSAGE || (slots.n > 0 && i == SHIM_MAX_SLOTS - 1)) {
			r = message_send(sock, &header, &slots, fds, slots.n);
			if (r < 0)
				return r;
			slots = (struct shim_slots){ 0 };
		}
	}
	return 0;
}

static int reopen_readonly(int fd)
{
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open(path, O_RDONLY | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

int slots_make_files(struct shim *s)
{
	_cleanup_close_ int page = memfile_create("vdpa-page", SHIM_PAGE_SIZE);
	_cleanup_close_ int health = memfile_create("vdpa-health", HEALTH_SIZE);
	int readonly;

	if (page < 0)
		return page;
	if (health < 0)
		return health;
	readonly = reopen_readonly(health);
	if (readonly < 0)
		return readonly;

	slot_put(s, SHIM_SLOT_PAGE, TAKE_FD(page));
	slot_put(s, SHIM_SLOT_HEALTH, TAKE_FD(health));
	s->health_readonly = readonly;
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A page is provided by writing it to the file, and then waking who waits for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conformance/driver_mover.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define PAGE 4096U

struct guest *mover_guest(void **state, uint16_t pairs)
{
	struct guest *g = suite_guest(state, pairs);

	if (!g->ops->caps(g->device)->page_faults) {
		print_message("the device has no page faults\n");
		skip();
	}
	return g;
}

bool mover_has(const struct mover *m, uint64_t iova)
{
	off_t at = (off_t)(iova - GUEST_BASE) & -(off_t)PAGE;

	return lseek(m->target, at, SEEK_DATA) == at;
}

void mover_give(struct mover *m, uint64_t iova)
{
	uint64_t at = (iova - GUEST_BASE) & -(uint64_t)PAGE;
	struct uffdio_range range = { .start = m->address + at, .len = PAGE };

	pthread_mutex_lock(&m->giving);
	if (!mover_has(m, iova))
		assert_int_equal(pwrite(m->target, m->guest->memory + at, PAGE, (off_t)at), PAGE);
	pthread_mutex_unlock(&m->giving);
	assert_int_equal(ioctl(m->uffd, UFFDIO_WAKE, &range), 0);
}

static void take_question(struct mover *m)
{
	struct uffd_msg msg;
	uint64_t at;

	if (read(m->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return;
	at = msg.arg.pagefault.address - m->address;
	if (msg.event != UFFD_EVENT_PAGEFAULT || at >= GUEST_MEMORY)
		abort(); /* a thread can't fail a test */
	m->n_asked++;
	if (!m->deaf)
		mover_give(m, GUEST_BASE + at);
}

static void *run(void *arg)
{
	struct mover *m = arg;
	struct pollfd p = { .fd = m->uffd, .events = POLLIN };

	while (!m->stop) {
		if (poll(&p, 1, 10) == 1)
			take_question(m);
	}
	return NULL;
}

void mover_begin(struct mover *m, struct guest *g)
{
	struct driver_map map = guest_map(g);

	*m = (struct mover){ .guest = g, .target = memfd_create("target", MFD_CLOEXEC),
		.giving = PTHREAD_MUTEX_INITIALIZER };
	assert_true(m->target >= 0);
	assert_int_equal(ftruncate(m->target, GUEST_MEMORY), 0);
	assert_int_equal(g->ops->unmap(g->device, map.iova, map.size), 0);
	assert_int_equal(g->ops->postcopy_advise(g->device, &m->uffd), 0);
	map.fd = m->target;
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &m->address), 0);
}

void mover_run(struct mover *m, bool deaf)
{
	m->deaf = deaf;
	assert_int_equal(m->guest->ops->postcopy_register(m->guest->device), 0);
	assert_int_equal(pthread_create(&m->thread, NULL, run, m), 0);
}

void mover_wait_asked(const struct mover *m, unsigned int n)
{
	uint64_t since = clock_now_ns();

	while (m->n_asked < n)
		guest_pause(since, "the device to ask for a page");
}

static void take_new_memory(struct mover *m)
{
	struct guest *g = m->guest;

	assert_ptr_equal(mmap(g->memory, GUEST_MEMORY, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, m->target, 0), g->memory);
	close_keep_errno(g->memory_fd);
	g->memory_fd = TAKE_FD(m->target);
}

void mover_land(struct mover *m)
{
	for (uint64_t at = 0; at < GUEST_MEMORY; at += PAGE)
		mover_give(m, GUEST_BASE + at);
	assert_int_equal(m->guest->ops->postcopy_end(m->guest->device), 0);
	mover_free(m);
	take_new_memory(m);
}

void mover_free(struct mover *m)
{
	m->stop = true;
	if (m->thread)
		pthread_join(m->thread, NULL);
	m->thread = 0;
	m->uffd = close_keep_errno(m->uffd);
}

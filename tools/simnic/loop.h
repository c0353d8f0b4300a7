/* SPDX-License-Identifier: BSD-2-Clause */
/* The control thread's event loop: descriptors and what to call when one is ready. */
#ifndef SIMNIC_LOOP_H
#define SIMNIC_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop {
	int epoll_fd;
	bool stop;
};

/* Embedded where it is used; @fd is the source's, -1 when it is not in the loop. */
struct source {
	int fd;
	void (*ready)(struct source *source);
};

/** loop_init() - Return: 0 or a negative errno. */
int loop_init(struct loop *loop);

/**
 * loop_add() - call @ready whenever @fd is readable or hung up.
 * @fd: becomes the source's on success; loop_remove() closes it
 */
int loop_add(struct loop *loop, struct source *source, int fd,
	void (*ready)(struct source *source));

/** loop_add_edge() - the same, but @ready is called only when @fd was written to again. */
int loop_add_edge(struct loop *loop, struct source *source, int fd,
	void (*ready)(struct source *source));

/** loop_remove() - forget the source and close its descriptor; a source not added is fine. */
void loop_remove(struct loop *loop, struct source *source);

/** loop_mute(), loop_unmute() - leave a source's descriptor unread for a while. */
void loop_mute(struct loop *loop, struct source *source);
void loop_unmute(struct loop *loop, struct source *source);

/** loop_run() - until @stop is set. Return: 0 or a negative errno. */
int loop_run(struct loop *loop);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Data threads: each serves its share of the transmit queues, and the first one the uplink. */
#ifndef SIMNIC_THREAD_H
#define SIMNIC_THREAD_H

#include <semaphore.h>

#include "tools/simnic/nic.h"
#include "tools/simnic/ring.h"

#define THREAD_MAX_FLOWS SIM_MAX_PAIRS

struct data_thread {
	struct nic *nic;
	unsigned int index;
	pthread_t thread;
	pthread_mutex_t lock; /* held by the thread but for its sleep, see nic_pause() */
	sem_t ready;	      /* posted once the thread has made its unusual system calls */
	atomic_bool stop;

	/* by its holder of the lock */
	struct vq **active; /* transmit queues that are polled */
	uint32_t n_active, max_active;
	uint32_t n_asleep; /* queues that will kick */
	uint32_t now_s;	   /* monotonic, for addresses' age */
	uint64_t now;	   /* cycles */

	int epoll_fd;
	int wake_fd; /* eventfd: the active list changed */
	struct burst *burst;
};

/**
 * thread_create() - make the structure; thread_start() lets it run. A structure that is not started
 * serves the control thread, which has frames of its own to send.
 */
int thread_create(struct nic *nic, unsigned int index, struct data_thread **ret);
int thread_start(struct data_thread *t);

/** thread_free() - stop the thread and release it; accepts NULL. */
void thread_free(struct data_thread *t);

/** thread_add_queue(), thread_remove_queue() - a transmit queue starts or stops. Paused. */
int thread_add_queue(struct data_thread *t, struct vq *q);
void thread_remove_queue(struct data_thread *t, struct vq *q);

/**
 * thread_watch_queue(), thread_unwatch_queue() - begin to listen to @kick_fd, which a running queue is about to
 * have, and end to listen to the one that it has. Paused. Return: 0, or a negative errno.
 */
int thread_watch_queue(struct data_thread *t, struct vq *q, int kick_fd);
void thread_unwatch_queue(struct data_thread *t, struct vq *q);

/**
 * thread_watch_function() - poll all queues of a function once when @fd, an eventfd, is signalled;
 * until it is closed.
 */
int thread_watch_function(struct data_thread *t, struct function *f, int fd);

/** thread_wake_queue() - poll a running queue for now: its way to kick has changed. Paused. */
void thread_wake_queue(struct data_thread *t, struct vq *q);

/** thread_wake() - make the thread look at its active list. Any thread. */
void thread_wake(struct data_thread *t);

#endif

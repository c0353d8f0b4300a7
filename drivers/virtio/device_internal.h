/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the driver share: device.c has its life, rings.c its queues, and so on. */
#ifndef DRIVERS_VIRTIO_DEVICE_INTERNAL_H
#define DRIVERS_VIRTIO_DEVICE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "drivers/virtio/device.h"
#include "drivers/virtio/function.h"
#include "drivers/virtio/net.h"
#include "drivers/virtio/queue.h"
#include "drivers/virtio/variant.h"
#include "vdpa/driver.h"

enum virtio_queue_state {
	VIRTIO_QUEUE_IDLE,
	VIRTIO_QUEUE_PREPARED,
	VIRTIO_QUEUE_RUNNING,
	VIRTIO_QUEUE_RESTING, /* disabled for a while, or about to be; to the core it runs */
	VIRTIO_QUEUE_N_STATES,
};

/* A queue as the next process has to know it. */
struct virtio_kept_queue {
	uint64_t desc, driver, device; /* IOVA */
	uint32_t size;
	uint16_t max_size; /* told after a reset only */
	uint16_t state;	   /* enum virtio_queue_state */
	struct queue_position position; /* with a variant: where it begins, or stopped */
};

/* A log's file, and what of it; which window it has is its place among two. */
struct virtio_kept_log {
	uint64_t device, inode;
	uint64_t offset;
	uint64_t size; /* 0: nothing is there */
};

#define VIRTIO_N_LOGS 2

/* Memory that outlives the process; zeros: of a device that nobody drove yet. */
struct virtio_kept {
	uint32_t version;      /* VIRTIO_KEPT_VERSION, written last */
	uint16_t n_vectors;    /* MSI-X is on, with so many; 0: it is off */
	uint16_t mtu;	       /* what was asked for; 0: the device's */
	uint64_t offered;      /* features */
	uint64_t features;     /* the guest's driver's */
	uint16_t doorbell_pages; /* each queue's doorbell has one of its own */
	uint16_t has_more;     /* what the variant adds is there */
	uint16_t max_pairs;    /* of the device */
	uint16_t pairs;	       /* that the device was told to use */
	uint16_t control_next; /* commands since the last reset */
	uint16_t stopping;     /* the function is being reset by us */
	uint32_t log;	       /* which of @logs holds, from 1 on; 0: none */
	uint32_t log_told;     /* and the device surely knows */
	struct virtio_kept_log logs[VIRTIO_N_LOGS];
	struct virtio_kept_queue queues[QUEUE_MAX];
	struct dma_table dma;
};

#define VIRTIO_KEPT_VERSION 2

/* A queue's eventfds; of this process. */
struct virtio_queue_io {
	int kick_fd;
	int call_fd;
	struct virtio_doorbell bell; /* while it runs */
};

struct virtio_device {
	struct driver_device device; /* first: the core holds a pointer to it */
	struct virtio_transport *transport;
	struct virtio_function function;
	const struct virtio_variant *maker;   /* what the function may be; NULL: of virtio alone */
	const struct virtio_variant *variant; /* what it is */
	struct driver_keeper *keeper;
	struct driver_caps caps;
	int kept_fd; /* keeper's, lent */
	struct virtio_kept *kept;
	uint64_t control_offset, control_size; /* of the control queue's memory, in the same file */
	uint8_t *control;
	struct dma dma;
	bool untouched; /* features were negotiated, and nothing was set up since */
	struct virtio_queue_io queues[QUEUE_MAX];

	/* events.c */
	int epoll_fd;
	int config_fd;	/* eventfd of the config vector */
	int removal_fd; /* eventfd: the function is to be given up */
	int shared_fd;	/* eventfd of the vector of all queues, where there are few */
	int look_fd;	/* timer: look whether the device is well */
	int poll_fd;	/* timer: kick queues that have no kick eventfd */
	struct virtio_net_facts facts; /* as they were last told, with a vector for all */
	bool config_changed, gone, said_gone, said_failed;
};

static inline struct virtio_device *virtio_device(struct driver_device *device)
{
	return (struct virtio_device *)((char *)device - offsetof(struct virtio_device, device));
}

/** virtio_runs() - does any queue? */
bool virtio_runs(const struct virtio_device *v);

/** virtio_queue_runs() - does this one, in the function that is there? */
bool virtio_queue_runs(const struct virtio_device *v, uint16_t queue);

/** virtio_stop_function() - reset the function; all queues are idle then. Return: 0; a driver's error. */
int virtio_stop_function(struct virtio_device *v, unsigned int deadline_ms);

/** virtio_negotiate() - after a reset, with the features that the guest accepted and our own. */
int virtio_negotiate(struct virtio_device *v);

/* rings.c */

/** virtio_rings_adopt() - queues that run since an earlier process. Return: 0; a driver's error. */
int virtio_rings_adopt(struct virtio_device *v);

/** virtio_rings_forget() - the eventfds of all queues. */
void virtio_rings_forget(struct virtio_device *v);

/** virtio_running_set() - the queues that run. */
struct queue_set virtio_running_set(const struct virtio_device *v);

/**
 * virtio_rings_rest(), virtio_rings_resume() - with a variant: have queues that run stop for a while, and go
 * on where they stood. Return: 0; a driver's error.
 */
int virtio_rings_rest(struct virtio_device *v, const struct queue_set *set);
int virtio_rings_resume(struct virtio_device *v, const struct queue_set *set);

/* log.c */

/** virtio_log_covers() - does the log in force, if there is one, have bits for all that may be written? */
bool virtio_log_covers(const struct virtio_device *v, const struct driver_map *map);

/** virtio_log_tell() - the device hears again which log is in force. */
void virtio_log_tell(struct virtio_device *v);

/** virtio_log_forget() - no log any more; the device was reset, and all memory will be unmapped. */
void virtio_log_forget(struct virtio_device *v);

/* irqs.c */

/** virtio_irqs_begin() - MSI-X on, and the configuration's vector. Return: 0; a driver's error. */
int virtio_irqs_begin(struct virtio_device *v);

/** virtio_irq_vector() - of a queue. */
uint16_t virtio_irq_vector(const struct virtio_device *v, uint16_t queue);

/** virtio_irq_route() - have a queue's vector signal its call eventfd, or nobody. Return: 0; an error. */
int virtio_irq_route(struct virtio_device *v, uint16_t queue, int call_fd);

/** virtio_irqs_shared() - there are too few vectors: one stands for all queues. */
bool virtio_irqs_shared(const struct virtio_device *v);

/* control.c */

/** virtio_control_enable() - set the control queue up, before the function runs, if there is use for it. */
int virtio_control_enable(struct virtio_device *v);

/** virtio_control_set_pairs() - how many pairs the device is to use. Return: 0; a driver's error. */
int virtio_control_set_pairs(struct virtio_device *v, uint16_t pairs);

/* events.c */

int virtio_events_init(struct virtio_device *v);
void virtio_events_free(struct virtio_device *v);

/** virtio_events_forget() - what a function that is gone said last is not about the next one. */
void virtio_events_forget(struct virtio_device *v);

/** virtio_event_note() - as if @config_fd or @removal_fd had been signalled. */
void virtio_event_note(int fd);

/** virtio_kick_watch(), virtio_kick_unwatch() - pass kicks of a running queue on to its doorbell. */
int virtio_kick_watch(struct virtio_device *v, uint16_t queue);
void virtio_kick_unwatch(struct virtio_device *v, uint16_t queue);

/** virtio_kick() - tell the device to look at a running queue. */
void virtio_kick(struct virtio_device *v, uint16_t queue);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A vDPA device: its facts, its shim, and what backs it. */
#ifndef VDPAD_DEVICE_H
#define VDPAD_DEVICE_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#include "drivers/sim/mailbox.h"
#include "tools/shim/wire.h"
#include "tools/vdpad/backing.h"
#include "tools/vdpad/channel.h"
#include "tools/vdpad/failure.h"
#include "tools/vdpad/job.h"
#include "tools/vdpad/restart.h"
#include "tools/vdpad/vdpad.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/etheraddr.h"
#include "vdpa/health.h"

struct job;
struct nic;

/* What a user asked for: all that STATE keeps. */
struct device_spec {
	char name[NAME_SIZE];
	char mgmtdev[BACKING_HANDLE_SIZE];    /* "sim/NAME", "pci/FUNCTION" */
	char standby[BACKING_HANDLE_SIZE];    /* "sim/NAME" of the simnic that has it; "": there is none */
	uint32_t datapath;		      /* of SHIM_SPEC_CHANGES: what rings are to be served by */
	char driver[16];		      /* of the worker */
	char vm[NAME_SIZE];
	char socket[SHIM_PATH_SIZE];	      /* absolute */
	char worker[256];		      /* program; "": ours */
	uint8_t mac[ETHERADDR_SIZE];	      /* zero: the function's own */
	bool client;			      /* the shim connects */
	bool host_notifier;		      /* a front-end may have pages of the device */
	bool bind;			      /* taken from another driver, and given back */
	bool spoof_check;
	bool link_up;			      /* as the operator wants it */
	uint16_t mtu;			      /* 0: the function's own */
	uint16_t max_pairs;		      /* 0: all that the function has */
	uint64_t features;		      /* offered, as far as the NIC has them */
	enum log_level log_level;
};

/* Feature bits that a device has only with a control queue of its own. Source: virtio 1.2, 5.1.3.1. */
#define DEVICE_CONTROL_FEATURES                                                                    \
	(BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |                           \
		BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |            \
		BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) |                                              \
		BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))

/** device_as_function() - a device in simnic's words. */
struct sim_function device_as_function(const struct device_spec *spec);

/** device_wants_control() - is the device asked to serve a control queue? */
static inline bool device_wants_control(const struct device_spec *spec)
{
	return spec->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
}

/* What a device is like, where its function decides as its worker last said. 0: nobody knows yet. */
struct device_facts {
	uint8_t mac[ETHERADDR_SIZE];
	uint16_t mtu;
	uint16_t max_pairs;
	bool link_up;
	bool has_control;    /* the device serves a control queue */
	uint32_t max_queues; /* all that it has */
	uint32_t max_queue_size;
};

enum device_phase {
	DEVICE_DOWN,	 /* nothing runs; starts when what backs it is ready and no timer waits */
	DEVICE_FINDING,	 /* a shim of an earlier vdpad is asked who it is */
	DEVICE_STARTING, /* step by step, see device_start.c */
	DEVICE_UP,	 /* the shim is configured */
	DEVICE_ENDING,	 /* being deleted */
	DEVICE_BROKEN,	 /* given up or beyond help, see reason */
};

struct device;

/* How something ended that takes its time; @dev is NULL when that was the end of the device. */
typedef void (*device_done)(void *arg, struct device *dev, int status, const struct failure *why);

struct device {
	TAILQ_ENTRY(device) link;
	struct vdpad *vdpad;
	const struct backing *backing;
	struct nic *nic; /* of backing_sim; NULL: the configuration has no such NIC any more */
	struct nic *standby_nic; /* that has its standby; NULL: it has none, or there is no such NIC */
	bool standby_ok;	 /* that NIC is still the one that made it */
	bool standby_checking;	 /* it is found out whether the worker has it */
	struct job *job; /* of backing_pci: its function is being opened */
	struct device_spec spec;
	enum device_phase phase;
	bool stored;	  /* STATE has it */
	bool function_ok; /* the worker has what it works with */
	bool checking;	  /* that is being found out */
	char reason[200];
	struct restart restart;
	sd_event_source *timer; /* next attempt, or the deadline of the end */
	bool busy;		/* a request changes it */

	struct channel *shim;
	pid_t shim_pid;		/* 0: not known */
	int shim_pidfd;		/* -1 */
	struct shim_status status; /* as the shim last told, texts end */
	bool stale;		   /* it did not answer when it was asked last */
	const volatile struct health *health; /* mapped; NULL */

	/* While DEVICE_STARTING, DEVICE_ENDING, or busy */
	size_t step;
	struct device_spec old_spec;
	struct failure why;
	int listener;		       /* for the shim; -1 */
	int fds[JOB_MAX_FDS];	       /* of the function, for the worker, @n_fds */
	size_t n_fds;
	uint64_t verify_until_ns;
	unsigned int n_silent;	       /* looks at a worker that was not ready */
	bool let_go;		       /* shim and worker were told that it went away */
	int standby_fd;		       /* of its standby, for the shim; -1 */
	bool datapath_now;	       /* the datapath was said, and is followed at once */
	device_done done;
	void *done_arg;
};

/* device.c */

/** device_new() - a device with these facts, DEVICE_DOWN; added to @v. -ENOMEM. */
int device_new(struct vdpad *v, const struct device_spec *spec, struct device **ret);

/** device_free() - forget it; processes and files stay as they are. NULL is fine. */
void device_free(struct device *dev);

struct device *device_find(struct vdpad *v, const char *name);

/** device_begin() - for a device of STATE: find its shim, or start one. */
void device_begin(struct device *dev);

/** devices_start_more() - start those that wait for their turn. */
void devices_start_more(struct vdpad *v);

/** device_with_socket() - whose front-end's socket is @path; NULL: nobody's. */
struct device *device_with_socket(struct vdpad *v, const char *path);

/** device_connect_shim() - open the channel; -ECONNREFUSED, -ENOENT: there is none. */
int device_connect_shim(struct device *dev);

/** device_take_status() - check and keep what SHIM_HELLO brought. 0, or -EBADMSG. */
int device_take_status(struct device *dev, struct channel_answer *answer);

/** device_lost() - what runs for it is of no use any more: forget it, and start it again later. */
void device_lost(struct device *dev, const char *reason);

/** device_forget_shim() - drop the channel to it and what it told. */
void device_forget_shim(struct device *dev);

/** device_kill_shim() - if it is known. */
void device_kill_shim(const struct device *dev);

/** device_call() - a request to the shim, deadline in milliseconds. */
int device_call(struct device *dev, enum shim_kind kind, const void *payload, size_t size, int fd,
	size_t answer_size, uint64_t deadline_ms, channel_done done);

/** device_shim_path() - of the shim's control socket. */
void device_shim_path(const struct device *dev, char ret[VDPAD_PATH_SIZE]);

/** device_facts() - what it is like; from the health block where its function decides. */
void device_facts(const struct device *dev, struct device_facts *ret);

/** device_take_fds() - keep what was opened of its function, @n <= JOB_MAX_FDS; takes them over. */
void device_take_fds(struct device *dev, int *fds, size_t n);

/** device_close_fds() - close what device_take_fds() kept. */
void device_close_fds(struct device *dev);

/** device_shim_spec() - its facts in the shim's words. -EINVAL with @why. */
int device_shim_spec(const struct device *dev, struct shim_spec *ret, struct failure *why);

/** device_put_uid() - the user id of its worker may be another's. */
void device_put_uid(const struct device *dev);

/** device_fail() - put into dev->why what failed with @error, a negative errno. Negative. */
int device_fail(struct device *dev, const char *what, int error);

/** device_set_timer() - call @handler with the device in @ms, instead of what it waited for. */
void device_set_timer(struct device *dev, uint64_t ms, sd_event_time_handler_t handler);

/** devices_loading() - some are being looked for, or started for the first time. */
bool devices_loading(const struct vdpad *v);

/** devices_use() - is a device on this NIC, or may one be whose file could not be read? */
bool devices_use(const struct nic *nic);

/** devices_nic_up(), devices_nic_down() - a NIC tells its devices. */
void devices_nic_up(struct nic *nic);
void devices_nic_down(struct nic *nic);

#define DEVICE_CALL_MS 2000

/* device_start.c */

/**
 * device_start() - make all that the device needs, or nothing.
 * @done: called once, later or at once
 */
void device_start(struct device *dev, device_done done, void *arg);

/** device_start_go_on() - a step that waited is over; negative @status with dev->why. */
void device_start_go_on(struct device *dev, int status);

/* device_end.c */

/**
 * device_end() - take it away with all that belongs to it; the device is freed before @done.
 * @done: called once, later or at once; always with status 0
 */
void device_end(struct device *dev, device_done done, void *arg);

/** device_end_shim_gone() - DEVICE_ENDING, and its shim closed its socket. */
void device_end_shim_gone(struct device *dev);

/** device_end_go_on() - what backed it was given up. */
void device_end_go_on(struct device *dev);

/* device_change.c */

/**
 * device_change() - give a running device other facts: mac, spoof_check, link_up, log_level, worker.
 * @spec: all facts; others than these are as they are
 * @done: called once, later or at once; after a failure the device is as it was
 */
void device_change(struct device *dev, const struct device_spec *spec, device_done done, void *arg);

/** device_tell_shim() - its facts. 0, or negative with dev->why, or as channel_call(). */
int device_tell_shim(struct device *dev, channel_done done);

/** device_upgrade() - replace the worker by one of @worker, "" for ours. @done as above. */
void device_upgrade(struct device *dev, const char *worker, device_done done, void *arg);

/* device_state.c */

/** device_store() - write its facts to STATE. 0, or negative with @why. */
int device_store(struct device *dev, struct failure *why);

/** device_unstore() - STATE does not have it any more. */
void device_unstore(struct device *dev);

/** device_is_skipped() - has STATE a file of that name that can't be understood? */
bool device_is_skipped(const struct vdpad *v, const char *name);

/** devices_load() - make a device of each file in STATE; bad ones are skipped, and said so. */
int devices_load(struct vdpad *v);

#endif

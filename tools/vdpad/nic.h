/* SPDX-License-Identifier: BSD-2-Clause */
/* A simnic process: found or started, watched, started again, and its functions. */
#ifndef VDPAD_NIC_H
#define VDPAD_NIC_H

#include "drivers/sim/mailbox.h"
#include "tools/vdpad/channel.h"
#include "tools/vdpad/failure.h"
#include "tools/vdpad/restart.h"
#include "tools/vdpad/vdpad.h"

enum nic_state {
	NIC_STARTING,
	NIC_UP,
	NIC_RESTARTING, /* it died; the next attempt is timed */
	NIC_FAILED,	/* given up, see reason */
};

struct nic;

/* Who uses NICs: told when one is up, with what it had, and when it is not any more. */
struct nic_watcher {
	void (*up)(struct nic *nic);
	void (*down)(struct nic *nic);
};

struct nic {
	TAILQ_ENTRY(nic) link;
	struct vdpad *vdpad;
	const struct config_nic *config;
	const struct nic_watcher *watcher;
	char handle[CONFIG_NIC_NAME_MAX + 8]; /* "sim/NAME" */
	enum nic_state state;
	char reason[200];
	struct channel *channel;
	struct sim_nic_info info;     /* of the last time it was up; zero before */
	struct restart restart;
	sd_event_source *timer;	      /* next attempt */
	sd_event_source *child;	      /* our child, if we started it */
	sd_event_source *gone;	      /* the end of one that we found */
	pid_t pid;		      /* 0: not known */
	struct sim_function *functions; /* what it had when it was found */
	size_t n_functions;
};

/** nic_new() - a NIC of the configuration; added to @v. Nothing is started yet. */
int nic_new(struct vdpad *v, const struct config_nic *config, const struct nic_watcher *watcher,
	struct nic **ret);

/** nic_begin() - find it by its socket, or start it. */
void nic_begin(struct nic *nic);

/** nic_find() - by "sim/NAME" or "NAME"; NULL. */
struct nic *nic_find(struct vdpad *v, const char *handle);

/** nic_get() - the same; 0 with @ret, or -ENOENT with @why. */
int nic_get(struct vdpad *v, const char *handle, struct nic **ret, struct failure *why);

/** nic_require() - 0 when it is up; else @why says what is the matter. */
int nic_require(const struct nic *nic, struct failure *why);

/** nic_end() - end its process, which no device needs, and wait for that. The last call. */
void nic_end(struct nic *nic);

const char *nic_state_name(enum nic_state state);

/**
 * nic_call() - an admin command about a function.
 * @command: SIM_ADMIN_ADD, _DEL, _SET, _ATTACH
 * Return: as channel_call().
 */
int nic_call(struct nic *nic, enum sim_command command, const struct sim_function *function,
	channel_done done, void *arg);

#endif

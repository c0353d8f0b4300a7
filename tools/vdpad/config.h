/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration: defaults, and what the file says. Manual: vdpad.conf(5). */
#ifndef VDPAD_CONFIG_H
#define VDPAD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vdpa/base/log.h"

#define CONFIG_MAX_NICS	    16
#define CONFIG_NIC_NAME_MAX 32
#define CONFIG_TEXT_SIZE    200
#define CONFIG_NO_GROUP	    ((gid_t)-1)

enum config_dirty_log {
	CONFIG_LOG_NO,
	CONFIG_LOG_BUFFERS,
	CONFIG_LOG_YES,
	CONFIG_LOG_N_KINDS,
};

/* In the file, and as simnic takes them. */
extern const char *const config_dirty_logs[CONFIG_LOG_N_KINDS];

/* One [simnic NAME]. */
struct config_nic {
	char name[CONFIG_NIC_NAME_MAX + 1]; /* without "sim/" */
	char uplink[CONFIG_TEXT_SIZE];
	char test_socket[CONFIG_TEXT_SIZE]; /* "": none */
	uint32_t threads;
	uint32_t memory_mb;
	uint32_t flood_limit; /* frames a second; 0: no limit */
	bool poll;
	bool hugepages;
	enum config_dirty_log dirty_log;
	bool shuffled;
	bool start_initial;
};

struct config {
	gid_t socket_group;	   /* of vhost-user sockets; CONFIG_NO_GROUP: as they come */
	gid_t admin_group;	   /* may do everything; CONFIG_NO_GROUP: only root and ourselves */
	gid_t readonly_group;	   /* may look */
	bool readonly_all;	   /* everybody may look */
	enum log_level log_level;
	bool log_level_given;
	uid_t uid_first, uid_last; /* for workers and simnics */
	struct config_nic nics[CONFIG_MAX_NICS];
	unsigned int n_nics;
	char pci_sysfs[CONFIG_TEXT_SIZE];
	char pci_vfio[CONFIG_TEXT_SIZE];
	char pci_iommu[CONFIG_TEXT_SIZE];
};

/** config_default() - what holds without a file: one simnic, "nic0". */
void config_default(struct config *ret);

/**
 * config_read() - read a file over the defaults.
 * @ret_why: "FILE:LINE: what is wrong and what is possible", CONFIG_WHY_SIZE bytes
 * Return: 0; -EINVAL something in it is wrong; another negative errno when it can't be read.
 */
#define CONFIG_WHY_SIZE 600
int config_read(const char *path, struct config *ret, char ret_why[CONFIG_WHY_SIZE]);

#endif

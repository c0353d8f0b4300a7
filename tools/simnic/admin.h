/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin socket: functions are added, changed and removed. Control thread only. */
#ifndef SIMNIC_ADMIN_H
#define SIMNIC_ADMIN_H

#include "tools/simnic/nic.h"

/**
 * admin_open() - serve the admin socket.
 * @fd: listening SOCK_SEQPACKET socket; becomes the NIC's on success
 * Return: 0 or a negative errno.
 */
int admin_open(struct nic *nic, int fd);

/** admin_close() - end all connections. */
void admin_close(void);

/** admin_find() - function by name, or NULL. */
struct function *admin_find(struct nic *nic, const char *name);

#endif

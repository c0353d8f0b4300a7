/* SPDX-License-Identifier: BSD-2-Clause */
/* vdpad's devices. */
#ifndef VDPA_COMMAND_DAEMON_H
#define VDPA_COMMAND_DAEMON_H

#include "tools/vdpa/backend.h"

extern const struct backend daemon_backend;

#endif

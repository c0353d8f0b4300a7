/* SPDX-License-Identifier: BSD-2-Clause */
/* `vdpa dev status show` and `vdpa mgmtdev status show` for people. */
#ifndef VDPA_COMMAND_STATUS_H
#define VDPA_COMMAND_STATUS_H

#include <jansson.h>
#include <stdio.h>

/** status_text() - print an item of what OP_DEV_STATUS answers with. */
void status_text(const json_t *item, FILE *file);

/** status_mgmtdev_text() - print an item of what OP_MGMTDEV_SHOW answers with. */
void status_mgmtdev_text(const json_t *item, FILE *file);

/** status_migration_text() - print an item of what OP_DEV_MIGRATION answers with. */
void status_migration_text(const json_t *item, FILE *file);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the report for support. */
#ifndef TOOLS_WORKER_DUMP_H
#define TOOLS_WORKER_DUMP_H

#include <stdio.h>

#include "tools/worker/worker.h"

/** dump_text() - a JSON string of any bytes. */
void dump_text(FILE *f, const char *text);

/** dump_device() - members about the device: itself, its migration, its translations. */
void dump_device(struct worker *w, FILE *f);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What simnic gives up once it runs. */
#ifndef SIMNIC_SANDBOX_H
#define SIMNIC_SANDBOX_H

#include "tools/simnic/options.h"

/** sandbox_drop() - become the configured user; no capabilities, no new privileges, no dumps. */
int sandbox_drop(const struct options *o);

/**
 * sandbox_filter() - allow only the system calls that a running simnic makes, in all threads.
 * @page_faults: among them those of postcopy
 */
int sandbox_filter(const struct options *o, bool page_faults);

#endif

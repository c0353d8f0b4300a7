/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a page is there, asked of the page itself. */
#ifndef SIMNIC_PROBE_H
#define SIMNIC_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#define PROBE_PAGE 4096U /* the smallest page there is */

/**
 * probe_page() - read one byte.
 * @at: mapped memory
 *
 * Of a mapping that waits for its missing pages (userfaultfd) it waits as well; of one that raises
 * SIGBUS for them, or whose file was cut short, it does not.
 *
 * Return: false: the access raised SIGBUS.
 */
bool probe_page(const uint8_t *at);

/** probe_caught() - for SIGBUS's handler: does not return when the signal is a probe's. */
void probe_caught(void);

#endif

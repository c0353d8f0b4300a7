/* SPDX-License-Identifier: BSD-2-Clause */
/* Ethernet addresses as text, and which of them a device may have. */
#ifndef VDPA_BASE_ETHERADDR_H
#define VDPA_BASE_ETHERADDR_H

#include <stdbool.h>
#include <stdint.h>

#define ETHERADDR_SIZE	    6
#define ETHERADDR_TEXT_SIZE 18 /* "52:54:00:12:34:56" and the ending zero */

/**
 * etheraddr_parse() - six groups of one or two hexadecimal digits between colons.
 * @text: the whole text has to be the address
 * @ret:  written on success only
 *
 * Return: 0, or -EINVAL.
 */
int etheraddr_parse(const char *text, uint8_t ret[ETHERADDR_SIZE]);

/** etheraddr_format() - lower case, two digits a group. */
void etheraddr_format(const uint8_t mac[ETHERADDR_SIZE], char ret[ETHERADDR_TEXT_SIZE]);

/** etheraddr_is_zero() - no address at all. */
bool etheraddr_is_zero(const uint8_t mac[ETHERADDR_SIZE]);

/** etheraddr_ok_for_device() - false for the zero address and for groups (multicast, broadcast). */
bool etheraddr_ok_for_device(const uint8_t mac[ETHERADDR_SIZE]);

/**
 * etheraddr_random() - a random locally administered unicast address.
 * Return: 0, or a negative errno of getrandom(2).
 */
int etheraddr_random(uint8_t ret[ETHERADDR_SIZE]);

#endif

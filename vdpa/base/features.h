/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of virtio-net's feature bits, as iproute2's vdpa prints them, and of vhost-user's own. */
#ifndef VDPA_BASE_FEATURES_H
#define VDPA_BASE_FEATURES_H

#include <stdint.h>

#define FEATURE_TEXT_SIZE 24

/**
 * feature_name() - what iproute2 calls a bit.
 * @bit: 0..63
 * Return: a constant text, or NULL when it has no name there.
 */
const char *feature_name(unsigned int bit);

/** protocol_feature_name() - what vhost-user calls a bit of its own. @bit, and return, as above. */
const char *protocol_feature_name(unsigned int bit);

/**
 * features_parse() - read a set of bits.
 * @text: "0x" and hexadecimal digits
 * Return: 0; -EINVAL: it is something else, or has more than 64 bits; then @ret is unchanged.
 */
int features_parse(const char *text, uint64_t *ret);

/**
 * feature_text() - the name, or "bit_N" for a bit without one.
 * @ret: room for the made-up name
 * Return: the name, or @ret.
 */
const char *feature_text(unsigned int bit, char ret[FEATURE_TEXT_SIZE]);

#endif

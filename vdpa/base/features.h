/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of virtio-net's feature bits, as iproute2's vdpa prints them. */
#ifndef VDPA_BASE_FEATURES_H
#define VDPA_BASE_FEATURES_H

#define FEATURE_TEXT_SIZE 24

/**
 * feature_name() - what iproute2 calls a bit.
 * @bit: 0..63
 * Return: a constant text, or NULL when it has no name there.
 */
const char *feature_name(unsigned int bit);

/**
 * feature_text() - the name, or "bit_N" for a bit without one.
 * @ret: room for the made-up name
 * Return: the name, or @ret.
 */
const char *feature_text(unsigned int bit, char ret[FEATURE_TEXT_SIZE]);

#endif

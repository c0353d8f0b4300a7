/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of protocol features: which are offered, when, and why others are not. One is offered when
 * every message behind it is built; the offer of a device never changes, so that a front-end finds the
 * same one when it comes back.
 */
#ifndef PROTOCOL_OFFER_H
#define PROTOCOL_OFFER_H

#include "vdpa/device.h"

/**
 * struct offer_desc - a row; one of @always, @device_can and @why.
 * @always:     every device offers it
 * @device_can: a device of which this is true does
 * @when:       what @device_can asks, in words; NULL without it
 * @why:        why none does, for people
 */
struct offer_desc {
	bool always;
	bool (*device_can)(const struct device *d);
	const char *when;
	const char *why;
};

/** offer_find() - the row of protocol feature @bit; NULL: beyond those of the specification. */
const struct offer_desc *offer_find(unsigned int bit);

/** offer_features() - all that @d offers. */
uint64_t offer_features(const struct device *d);

#endif

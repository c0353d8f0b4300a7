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
 * @needs:      other protocol features without which it makes no sense; BIT_ULL()s
 * @or_ends:    to accept it without them ends the connection, as the specification demands
 */
struct offer_desc {
	bool always;
	bool (*device_can)(const struct device *d);
	const char *when;
	const char *why;
	uint64_t needs;
	bool or_ends;
};

/** offer_find() - the row of protocol feature @bit; NULL: beyond those of the specification. */
const struct offer_desc *offer_find(unsigned int bit);

/** offer_features() - all that @d offers. */
uint64_t offer_features(const struct device *d);

/**
 * offer_check() - does what was accepted make sense?
 * Return: 0; -EINVAL; -EPROTO: no, and the connection has to end.
 */
int offer_check(uint64_t features);

#endif

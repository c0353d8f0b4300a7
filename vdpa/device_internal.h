/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the device model share among themselves. */
#ifndef VDPA_DEVICE_INTERNAL_H
#define VDPA_DEVICE_INTERNAL_H

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/device.h"

/**
 * device_check() - sort a driver's error.
 * Return: 0 when the device is gone, which @d notes; -EIO when it failed; else @r, a refusal.
 */
int device_check(struct device *d, int r, const char *what);

/** device_stop_set() - stop running rings and note where they stand. Return: 0 or -EIO. */
int device_stop_set(struct device *d, const struct queue_set *set);

/** device_note_lost_position() - a running ring's device is away: find out where it stood. */
void device_note_lost_position(struct device *d, uint32_t index);

/**
 * device_recover() - reset a device that failed, and give it features and memory again.
 * Return: 0: it works, or it is gone, which @d notes; -EIO: it stays failed.
 */
int device_recover(struct device *d);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device takes along to another host beyond its rings, as bytes: figures that people watch, which
 * go on from where they were, and what the guest's driver set through a control queue that the device
 * serves. Whoever carries the bytes does not look into them.
 *
 * A head and sections, all little-endian, each a multiple of 8 bytes. A section that a reader does not
 * know is skipped, unless it says that it must not be; what is added at a section's end is not read by
 * older versions. So both directions work between versions, or are refused as a whole.
 */
#ifndef VDPA_SAVED_H
#define VDPA_SAVED_H

#include "vdpa/device.h"

#define SAVED_MAX_SIZE (64U * 1024) /* bytes, of any version */

/** device_queue_stats() - as the driver's, with what was taken along. Zeros when it can't be asked. */
void device_queue_stats(const struct device *d, uint32_t index, struct driver_queue_stats *ret);

/** device_stats() - as device_queue_stats(). */
void device_stats(const struct device *d, struct driver_device_stats *ret);

/**
 * figures_take(), figures_give(), figures_drop() - figures go on where they were, when another driver's
 * take their place: from the one that served to the one that does now.
 * Return: NULL: there is no memory, and they begin anew. The caller gives or drops them, once.
 */
struct figures;
struct figures *figures_take(const struct device *d);
void figures_give(struct device *d, struct figures *figures);
void figures_drop(struct figures *figures);

/** device_save() - @data: room for SAVED_MAX_SIZE. Return: bytes. */
size_t device_save(const struct device *d, uint8_t *data);

/**
 * device_load() - go on from what device_save() wrote, here or elsewhere.
 * @ret_reason: why not, in words
 * Return: 0; -EBADMSG no such bytes, or not all of them; -EPROTO of a later version, or of a device with a
 * control queue while this one has none; -EBUSY rings run, or the device is away; -EIO it failed.
 * On failure nothing has changed.
 */
int device_load(struct device *d, const uint8_t *data, size_t size, const char **ret_reason);

#endif

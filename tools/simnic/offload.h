/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net's checksum and segmentation offloads: checked when a frame comes from a guest, done
 * here when the receiver can't.
 */
#ifndef SIMNIC_OFFLOAD_H
#define SIMNIC_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/simnic/frame.h"

#define OFFLOAD_MAX_SEGMENTS 256

/**
 * offload_check() - whether what the sender asks for makes sense for this frame.
 * @features: what the sender negotiated
 *
 * Puts the true header length into the request, so that a receiver can trust it.
 * Return: false: drop the frame.
 */
bool offload_check(struct rte_mbuf *m, uint64_t features);

/** offload_suits() - whether a receiver that negotiated @features takes the frame as it is. */
bool offload_suits(struct rte_mbuf *m, uint64_t features);

/** offload_checksum() - compute the checksum that is asked for; no request is left. */
void offload_checksum(struct rte_mbuf *m);

/**
 * offload_segment() - cut a large TCP frame into those it stands for, checksums done.
 * @ret: room for OFFLOAD_MAX_SEGMENTS; new frames, the caller's
 * Return: number of frames; 0 when there is no memory or they are too many. @m is unchanged.
 */
uint32_t offload_segment(struct rte_mbuf *m, struct rte_mempool *pool, struct rte_mbuf **ret);

#endif

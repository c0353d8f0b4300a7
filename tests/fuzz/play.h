/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plays a conversation of steps (steps.h) with a worker (stand.h). After each step: what is kept is
 * what the state names, the device has and runs what the state says, a refused message changed
 * nothing, and each message was answered as its row says; now and then also: each descriptor is
 * somebody's, and the state is one that a successor takes. Where one of these does not hold the
 * program ends.
 */
#ifndef TESTS_FUZZ_PLAY_H
#define TESTS_FUZZ_PLAY_H

#include "tests/fuzz/stand.h"
#include "tests/fuzz/steps.h"

/** play_init() - once for the process. */
void play_init(void);

/**
 * play_begin() - a new device, and a worker that nobody is connected to.
 * @head: what the device can do: pairs of queues less one, a smaller ring at most, 1: begins in
 * fresh rings only, any order, postcopy, a log; how many pairs the operator lets it have; bits: an IOTLB,
 * a doorbell, which its operator does not allow, a control queue, and 16: all that is said of the others
 * holds, although it has an IOTLB that is of no use then
 */
void play_begin(const uint8_t head[STEPS_HEAD_SIZE]);
void play_step(const struct step *step);
void play_end(void);

/**
 * play_forge() - the worker dies, and @forge has its page, mapped, before another one begins. From
 * then on state and device may say anything: what is looked at is that nothing crashes, hangs, or
 * is lost.
 */
void play_forge(void (*forge)(void *arg, uint8_t *page), void *arg);

/** play_stand() - who plays, to look at between two steps. */
struct stand *play_stand(void);

#endif

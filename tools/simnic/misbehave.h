/* SPDX-License-Identifier: BSD-2-Clause */
/* Misbehaviour on demand, for tests: see docs/simnic.md. Control thread only. */
#ifndef SIMNIC_MISBEHAVE_H
#define SIMNIC_MISBEHAVE_H

#include "tools/simnic/function.h"

/** misbehave_open() - listen for orders at @path. Return: 0 or a negative errno. */
int misbehave_open(struct nic *nic, const char *path);

/**
 * misbehave_command() - whether something else than usual becomes of a command.
 * Return: true: it is dealt with, @fds are taken; false: go on.
 */
bool misbehave_command(struct function *f, const struct sim_message *msg, int *fds, size_t n_fds);

/** misbehave_forget() - drop a command of @f that waits. */
void misbehave_forget(struct function *f);

#endif

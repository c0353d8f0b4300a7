/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting shims and simnics: processes that go on without vdpad. */
#ifndef VDPAD_PROCESS_H
#define VDPAD_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

#define PROCESS_FD 3 /* the descriptor that a started process gets */

/**
 * process_start() - run a program in a session of its own.
 * @argv: arguments, NULL at the end; the first one is the program's absolute path
 * @fd:	  becomes PROCESS_FD there; stays the caller's. Standard input is /dev/null; output and
 *	  errors go where ours go; everything else is closed
 *
 * Return: its pid, the caller reaps it; a negative errno when it could not be run.
 */
pid_t process_start(char *const argv[], int fd);

enum program {
	PROGRAM_SHIM,
	PROGRAM_WORKER,
	PROGRAM_SIMNIC,
	N_PROGRAMS,
};

#define PROGRAM_PATH_SIZE 256

/**
 * program_find() - where one of our programs is.
 * @folder: of the programs, or NULL: beside us in a build tree, else where they are installed
 * @ret:    absolute path
 *
 * Return: 0; -ENOENT when it is not there or can't be run, with its path in @ret; -ENAMETOOLONG.
 */
int program_find(enum program which, const char *folder, char ret[PROGRAM_PATH_SIZE]);

#endif

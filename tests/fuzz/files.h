/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of all kinds that a front-end may hand over. Made once; an input lends them. */
#ifndef TESTS_FUZZ_FILES_H
#define TESTS_FUZZ_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILES_RAM_SIZE (256 * 1024) /* bytes, of each of the two */
#define FILES_LOG_SIZE (128 * 1024) /* reaches 4 GiB */

enum file_kind {
	FILE_RAM,      /* sealed against another size */
	FILE_MORE_RAM, /* not sealed: it may be cut short */
	FILE_LOG,
	FILE_EVENT,
	FILE_OTHER_EVENT,
	FILE_SOCKET, /* stream; what is sent there nobody reads */
	FILE_PIPE_READ,
	FILE_PIPE_WRITE,
	FILE_SHORT, /* a page of memory */
	FILE_READ_ONLY,
	FILE_NO_WRITE, /* memory sealed against writing */
	FILE_DATAGRAM,
	FILE_REGULAR,
	FILE_FOLDER,
	FILE_PATH, /* O_PATH */
	FILE_NULL,
	FILE_FULL_EVENT, /* takes no more */
	FILE_TIMER,
	FILE_CHANNEL, /* stream; see files_channel_peer() */
	FILE_N_KINDS
};

/** files_open() - make them. */
void files_open(void);

/** files_open_fds() - descriptors that the process has open; the first call opens one itself. */
size_t files_open_fds(void);

/** files_begin() - all is as it was at the beginning. */
void files_begin(void);

/** files_fd() - one of @kind, lent. */
int files_fd(enum file_kind kind);

/** files_cut() - FILE_MORE_RAM or FILE_LOG has @size bytes now. */
void files_cut(enum file_kind kind, uint64_t size);

/** files_memory() - FILE_RAM's bytes. */
uint8_t *files_memory(void);

/** files_feed() - put bytes into the pipe, as many as it takes. */
void files_feed(const void *data, uint64_t size);

/** files_drain() - take out of pipe and socket what is there. Return: bytes; @ret gets the first
 * @max. */
uint64_t files_drain(void *ret, uint64_t max);

/** files_channel_peer() - the end of FILE_CHANNEL where what is sent there is to be read, lent. */
int files_channel_peer(void);

/** files_fill_channel() - until there is no room: @size bytes at a time. */
void files_fill_channel(const void *data, size_t size);

/** files_end_channel() - whoever reads leaves; with @anew there is another channel. */
void files_end_channel(bool anew);

/** files_end_pipe() - whoever wrote to the pipe closes it, and there is another one. */
void files_end_pipe(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/fuzz/must.h"
#include "vdpa/base/memfile.h"

static int fds[FILE_N_KINDS];
static int socket_peer, channel_peer;
static uint8_t *memory;
static bool cut, pipe_used, channel_used;

static int new_memory(uint64_t size)
{
	int fd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(fd >= 0 && ftruncate(fd, (off_t)size) == 0, "memory: %s", strerror(errno));
	return fd;
}

static int read_only(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int full_event(void)
{
	const uint64_t most = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	must(write(fd, &most, sizeof(most)) == (ssize_t)sizeof(most), "eventfd: %s",
		strerror(errno));
	return fd;
}

static int regular(void)
{
	FILE *file = tmpfile();
	int fd = file ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 0) : -1;

	must(fd >= 0 && ftruncate(fd, FILES_RAM_SIZE) == 0, "temporary file: %s", strerror(errno));
	fclose(file);
	return fd;
}

static void open_pipe(void)
{
	int ends[2];

	must(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0, "pipe: %s", strerror(errno));
	fds[FILE_PIPE_READ] = ends[0];
	fds[FILE_PIPE_WRITE] = ends[1];
}

static void open_sockets(void)
{
	int stream[2], datagram[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, stream) == 0 &&
			socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagram) == 0,
		"sockets: %s", strerror(errno));
	fds[FILE_SOCKET] = stream[0];
	socket_peer = stream[1];
	fds[FILE_DATAGRAM] = datagram[0];
	close(datagram[1]);
}

static void open_channel(void)
{
	const int room = 4096;
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0 &&
			setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0,
		"sockets: %s", strerror(errno));
	fds[FILE_CHANNEL] = ends[0];
	channel_peer = ends[1];
}

void files_open(void)
{
	fds[FILE_RAM] = memfile_create("ram", FILES_RAM_SIZE);
	fds[FILE_MORE_RAM] = new_memory(FILES_RAM_SIZE);
	fds[FILE_LOG] = new_memory(FILES_LOG_SIZE);
	fds[FILE_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[FILE_OTHER_EVENT] = eventfd(0, EFD_CLOEXEC);
	open_sockets();
	open_channel();
	open_pipe();
	fds[FILE_SHORT] = new_memory(4096);
	fds[FILE_READ_ONLY] = read_only(fds[FILE_RAM]);
	fds[FILE_NO_WRITE] = new_memory(FILES_RAM_SIZE);
	fcntl(fds[FILE_NO_WRITE], F_ADD_SEALS, F_SEAL_WRITE);
	fds[FILE_REGULAR] = regular();
	fds[FILE_FOLDER] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[FILE_PATH] = open("/", O_PATH | O_CLOEXEC);
	fds[FILE_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[FILE_FULL_EVENT] = full_event();
	fds[FILE_TIMER] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	memory = mmap(NULL, FILES_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[FILE_RAM], 0);
	must(memory != MAP_FAILED, "memory: %s", strerror(errno));
	for (int i = 0; i < FILE_N_KINDS; i++)
		must(fds[i] >= 0, "descriptor of kind %d: %s", i, strerror(errno));
}

void files_begin(void)
{
	uint64_t count;

	memset(memory, 0, FILES_RAM_SIZE);
	if (cut) {
		files_cut(FILE_MORE_RAM, FILES_RAM_SIZE);
		files_cut(FILE_LOG, FILES_LOG_SIZE);
		cut = false;
	}
	(void)!read(fds[FILE_EVENT], &count, sizeof(count));
	if (pipe_used)
		files_end_pipe();
	pipe_used = false;
	if (channel_used)
		files_end_channel(true);
	channel_used = false;
	files_drain(NULL, 0);
}

int files_fd(enum file_kind kind)
{
	pipe_used = pipe_used || kind == FILE_PIPE_READ || kind == FILE_PIPE_WRITE;
	channel_used = channel_used || kind == FILE_CHANNEL;
	return fds[kind];
}

void files_cut(enum file_kind kind, uint64_t size)
{
	cut = true;
	must(ftruncate(fds[kind], (off_t)size) == 0, "ftruncate: %s", strerror(errno));
}

uint8_t *files_memory(void)
{
	return memory;
}

void files_feed(const void *data, uint64_t size)
{
	(void)!write(fds[FILE_PIPE_WRITE], data, size);
	pipe_used = true;
}

uint64_t files_drain(void *ret, uint64_t max)
{
	static uint8_t sink[64 * 1024];
	uint64_t sum = 0;
	ssize_t n;

	while ((n = read(fds[FILE_PIPE_READ], sink, sizeof(sink))) > 0) {
		if (sum < max)
			memcpy((uint8_t *)ret + sum, sink,
				(uint64_t)n < max - sum ? (uint64_t)n : max - sum);
		sum += (uint64_t)n;
	}
	while (recv(socket_peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
	return sum;
}

int files_channel_peer(void)
{
	return channel_peer;
}

void files_fill_channel(const void *data, size_t size)
{
	channel_used = true;
	while (send(fds[FILE_CHANNEL], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
}

void files_end_channel(bool anew)
{
	channel_used = true;
	shutdown(channel_peer, SHUT_RDWR);
	if (!anew)
		return;
	close(channel_peer);
	close(fds[FILE_CHANNEL]);
	open_channel();
}

void files_end_pipe(void)
{
	close(fds[FILE_PIPE_WRITE]);
	close(fds[FILE_PIPE_READ]);
	open_pipe();
}

size_t files_open_fds(void)
{
	static DIR *dir;
	size_t n = 0;

	if (!dir)
		dir = opendir("/proc/self/fd");
	rewinddir(dir);
	for (struct dirent *e = readdir(dir); e; e = readdir(dir))
		n += e->d_name[0] != '.';
	return n;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loaded before the C library (LD_PRELOAD) into one program, whose calls it counts and of which it lets
 * one fail. What is counted and what fails is in a file that the test shares: it is mapped before the
 * program begins, so that nothing is opened, and no call made, that the program's own filter of system
 * calls would have to allow.
 *
 * A call that fails is not made. Calls that the C library makes for itself are not seen, but for those of
 * malloc(3) and its kin, which it makes by the same names.
 *
 * FAULT_FILE names the file, FAULT_PROGRAM the program: in others this does nothing.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* The same in plan.py. */
enum kind {
	MALLOC, CALLOC, REALLOC, MMAP, RECVMSG, SENDMSG, RECV, SEND, READ, WRITE, PREAD, PWRITE,
	PREADV2, PWRITEV2, FCNTL, FSTAT, FSTATFS, READLINK, EPOLL_CREATE, EPOLL_CTL, EPOLL_WAIT, POLL,
	EVENTFD, TIMERFD_CREATE, TIMERFD_SETTIME, FTRUNCATE, ACCEPT, GETSOCKOPT, SETSOCKOPT, SHUTDOWN,
	SOCKET, SOCKETPAIR, CONNECT, IOCTL, SYSCALL, THREAD, FORK, EXECVE, WAITID, SIGACTION, DUP2, PIPE,
	PRCTL, INOTIFY_ADD, OPEN, MEMFD,
	N_KINDS
};

struct plan {
	uint32_t counting;
	int32_t kind;	/* of the call that fails; -1: none */
	uint32_t at;	/* which one of them, from 0 */
	int32_t error;
	uint32_t hit;	/* it was reached */
	uint32_t calls[64];
};

_Static_assert(N_KINDS <= 64, "room for all kinds");

static struct plan *plan;

/* Programs have a stack for the name; nothing is allocated here, since malloc() may not work yet. */
static bool is_program(const char *wanted)
{
	char path[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	const char *name;

	if (n <= 0)
		return false;
	path[n] = '\0';
	name = strrchr(path, '/');
	return name && strcmp(name + 1, wanted) == 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("FAULT_FILE"), *program = getenv("FAULT_PROGRAM");
	void *at;
	int fd;

	if (!file || !program || !is_program(program))
		return;
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	at = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		abort();
	close(fd);
	plan = at;
}

/* Return: whether this call is the one that fails; errno is set then. */
static bool fails(enum kind kind)
{
	uint32_t n;

	if (!plan || !__atomic_load_n(&plan->counting, __ATOMIC_ACQUIRE))
		return false;
	n = __atomic_fetch_add(&plan->calls[kind], 1, __ATOMIC_RELAXED);
	if (plan->kind != (int32_t)kind || plan->at != n)
		return false;
	plan->hit = 1;
	errno = plan->error;
	return true;
}

#define NEXT(name) ((__typeof__(&name))next(#name, &name##_next))

static void *next(const char *name, void **kept)
{
	if (!*kept)
		*kept = dlsym(RTLD_NEXT, name);
	return *kept;
}

#define WRAP(kind, failure, result, name, parameters, arguments)                                   \
	static void *name##_next;                                                                  \
	result name parameters                                                                     \
	{                                                                                          \
		if (fails(kind))                                                                   \
			return failure;                                                            \
		return NEXT(name) arguments;                                                       \
	}

/* A thread that is not made says so by what it returns. */
#define WRAP_RETURNED(kind, result, name, parameters, arguments) \
	WRAP(kind, plan->error, result, name, parameters, arguments)

#ifndef FAULT_NO_MALLOC /* a sanitizer has its own */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *at, size_t size);

void *malloc(size_t size)
{
	return fails(MALLOC) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(CALLOC) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *at, size_t size)
{
	return fails(REALLOC) ? NULL : __libc_realloc(at, size);
}
#endif

WRAP(MMAP, MAP_FAILED, void *, mmap64, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
	(at, size, prot, flags, fd, offset))
WRAP(RECVMSG, -1, ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(SENDMSG, -1, ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP(RECV, -1, ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
WRAP(SEND, -1, ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
WRAP(READ, -1, ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(PREAD, -1, ssize_t, pread64, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
WRAP(PWRITE, -1, ssize_t, pwrite64, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP(PREADV2, -1, ssize_t, preadv64v2, (int fd, const struct iovec *v, int n, off_t at, int flags),
	(fd, v, n, at, flags))
WRAP(PWRITEV2, -1, ssize_t, pwritev64v2, (int fd, const struct iovec *v, int n, off_t at, int flags),
	(fd, v, n, at, flags))
WRAP(FSTAT, -1, int, fstat64, (int fd, struct stat64 *st), (fd, st))
WRAP(FSTATFS, -1, int, fstatfs64, (int fd, struct statfs64 *st), (fd, st))
WRAP(READLINK, -1, ssize_t, readlink, (const char *path, char *to, size_t size), (path, to, size))
WRAP(EPOLL_CREATE, -1, int, epoll_create1, (int flags), (flags))
WRAP(EPOLL_CTL, -1, int, epoll_ctl, (int epoll, int op, int fd, struct epoll_event *event),
	(epoll, op, fd, event))
WRAP(EPOLL_WAIT, -1, int, epoll_wait, (int epoll, struct epoll_event *events, int max, int timeout),
	(epoll, events, max, timeout))
WRAP(POLL, -1, int, poll, (struct pollfd *fds, nfds_t n, int timeout), (fds, n, timeout))
WRAP(EVENTFD, -1, int, eventfd, (unsigned int count, int flags), (count, flags))
WRAP(TIMERFD_CREATE, -1, int, timerfd_create, (clockid_t clock, int flags), (clock, flags))
WRAP(TIMERFD_SETTIME, -1, int, timerfd_settime,
	(int fd, int flags, const struct itimerspec *value, struct itimerspec *old), (fd, flags, value, old))
WRAP(FTRUNCATE, -1, int, ftruncate64, (int fd, off_t size), (fd, size))
WRAP(ACCEPT, -1, int, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags),
	(fd, address, size, flags))
WRAP(GETSOCKOPT, -1, int, getsockopt, (int fd, int level, int option, void *value, socklen_t *size),
	(fd, level, option, value, size))
WRAP(SETSOCKOPT, -1, int, setsockopt, (int fd, int level, int option, const void *value, socklen_t size),
	(fd, level, option, value, size))
WRAP(MEMFD, -1, int, memfd_create, (const char *name, unsigned int flags), (name, flags))
WRAP(SHUTDOWN, -1, int, shutdown, (int fd, int how), (fd, how))
WRAP(SOCKET, -1, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(SOCKETPAIR, -1, int, socketpair, (int domain, int type, int protocol, int pair[2]),
	(domain, type, protocol, pair))
WRAP(CONNECT, -1, int, connect, (int fd, const struct sockaddr *address, socklen_t size),
	(fd, address, size))
WRAP_RETURNED(THREAD, int, pthread_create,
	(pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
	(thread, attr, run, arg))
WRAP(FORK, -1, pid_t, fork, (void), ())
WRAP(EXECVE, -1, int, execve, (const char *path, char *const argv[], char *const env[]),
	(path, argv, env))
WRAP(WAITID, -1, int, waitid, (idtype_t type, id_t id, siginfo_t *info, int options),
	(type, id, info, options))
WRAP(SIGACTION, -1, int, sigaction, (int number, const struct sigaction *new, struct sigaction *old),
	(number, new, old))
WRAP(DUP2, -1, int, dup2, (int from, int to), (from, to))
WRAP(PIPE, -1, int, pipe2, (int pair[2], int flags), (pair, flags))
WRAP(INOTIFY_ADD, -1, int, inotify_add_watch, (int fd, const char *path, uint32_t mask),
	(fd, path, mask))

/* Programs write to eventfds, and one that is full is one that is signalled. */
static void *write_next;
ssize_t write(int fd, const void *data, size_t size)
{
	bool failed = fails(WRITE);
	ssize_t n = NEXT(write)(fd, data, size);

	if (!failed)
		return n;
	errno = plan->error;
	return -1;
}

/* Those with a varying number of arguments: as many are passed on as any of them has. */
#define WRAP_VARIADIC(kind, result, name, fixed, last, passed)                                     \
	static void *name##_next;                                                                  \
	result name(fixed, ...)                                                                    \
	{                                                                                          \
		long a[5];                                                                         \
		va_list list;                                                                      \
                                                                                                   \
		va_start(list, last);                                                              \
		for (int i = 0; i < 5; i++)                                                        \
			a[i] = va_arg(list, long);                                                 \
		va_end(list);                                                                      \
		if (fails(kind))                                                                   \
			return -1;                                                                 \
		return NEXT(name)(passed, a[0], a[1], a[2], a[3], a[4]);                           \
	}

#define BOTH(a, b) a, b
WRAP_VARIADIC(FCNTL, int, fcntl64, BOTH(int fd, int command), command, BOTH(fd, command))
WRAP_VARIADIC(IOCTL, int, ioctl, BOTH(int fd, unsigned long request), request, BOTH(fd, request))
WRAP_VARIADIC(OPEN, int, open64, BOTH(const char *path, int flags), flags, BOTH(path, flags))
WRAP_VARIADIC(SYSCALL, long, syscall, long number, number, number)
WRAP_VARIADIC(PRCTL, int, prctl, int option, option, option)

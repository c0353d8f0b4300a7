/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simnic reads rings of all tenants; should one of them break in, this is what is left to him: no
 * capability, no file to open, no program to run, no socket to make, no memory to execute.
 *
 * The filter goes to all threads, those of DPDK too. A call that is not in its list ends the
 * process: vdpad starts another one, and rings go on where they were. A port of DPDK makes calls
 * of its own while it runs; the common ones are allowed when there is such an uplink.
 */
#include "tools/simnic/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cap-ng.h>
#include <seccomp.h>

#include "vdpa/base/bits.h"

static int drop_user(const struct options *o)
{
	if (o->uid == (uid_t)-1)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
		setresuid(o->uid, o->uid, o->uid) < 0)
		return -errno;
	return 0;
}

int sandbox_drop(const struct options *o)
{
	int r = drop_user(o);

	if (r < 0) {
		log_error("user %u can't be taken: %s", (unsigned int)o->uid, strerror(-r));
		return r;
	}
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0) {
		log_error("capabilities can't be dropped");
		return -EPERM;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

#ifdef VDPAD_NO_SECCOMP

int sandbox_filter(const struct options *o, bool page_faults)
{
	log_info("built without the filter of system calls");
	return 0;
}

#else

static const int always[] = {
	/* the loops */
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(read),
	SCMP_SYS(write), SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(clock_gettime),
	/* signals to guests, see signaller.c */
	SCMP_SYS(io_submit), SCMP_SYS(io_getevents), SCMP_SYS(io_destroy),
	/* messages */
	SCMP_SYS(accept4), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(getsockopt),
	SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(close),
	/* descriptors that come in: what they are */
	SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(fstatfs), SCMP_SYS(readlink),
	SCMP_SYS(readlinkat), SCMP_SYS(fcntl),
	/* BARs, and the delays of the test interface */
	SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	/* memory, of guests and of the C library */
	SCMP_SYS(munmap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mremap), SCMP_SYS(getrandom),
	/* signals and the end */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill),
	SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static const int with_port[] = {
	SCMP_SYS(ioctl), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(readv), SCMP_SYS(writev),
	SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
	SCMP_SYS(setsockopt),
};

/* Of a thread that is made later, for one function's missing pages. */
static const int with_helpers[] = {
	SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(eventfd2),
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

/* Calls of which only one use is allowed. */
static int allow_uses(scmp_filter_ctx filter)
{
	int r;

	r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
			SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
	if (r == 0) /* the first log line asks whether stderr is a terminal */
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_EQ, TCGETS, 0));
	return r;
}

/*
 * Userfaultfds for accesses of our own, and threads. glibc asks clone3 first, whose arguments no filter
 * can see; where it is not there, clone does.
 */
static int allow_page_faults(scmp_filter_ctx filter)
{
	const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	static const uint32_t requests[] = { UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WAKE };
	int r = allow(filter, with_helpers, ARRAY_SIZE(with_helpers));

	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(userfaultfd), 1,
			SCMP_A0(SCMP_CMP_EQ, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, 0));
	for (size_t i = 0; i < ARRAY_SIZE(requests) && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_EQ, requests[i], 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			SCMP_A0(SCMP_CMP_EQ, thread, 0));
	return r;
}

int sandbox_filter(const struct options *o, bool page_faults)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!filter)
		return -ENOMEM;
	tzset(); /* log lines have the time; this opens its files */
	r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = allow(filter, always, ARRAY_SIZE(always));
	if (r == 0)
		r = allow_uses(filter);
	if (r == 0 && page_faults)
		r = allow_page_faults(filter);
	if (r == 0 && o->uplink >= UPLINK_TAP)
		r = allow(filter, with_port, ARRAY_SIZE(with_port));
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r < 0)
		log_error("the filter of system calls can't be installed: %s", strerror(-r));
	return r;
}

#endif

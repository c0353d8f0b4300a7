/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which process may make which system call.
 *
 * The worker's list is what it does from its first message on: descriptors come by message, memory
 * is mapped and never executable, and nothing is opened, created or started by name. Anything else
 * is the mark of a break-in or a defect and ends the process.
 *
 * The shim's list is the other way round. Its filter is inherited by the workers it starts, of
 * versions yet to be written and with a loader of their own, so it can't list what they need. It
 * refuses what neither a shim nor a worker has business with, as a kernel without it would
 * (ENOSYS), for which libraries have another way.
 */
#include "vdpa/sandbox/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "vdpa/base/bits.h"

#define LOW_WORD UINT32_MAX /* the kernel reads an int only */

static const int worker_calls[] = {
	/* waiting */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	/* messages */
	SCMP_SYS(accept4),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
	/* descriptors */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(preadv2), /* of a front-end's pipe, without waiting */
	SCMP_SYS(pwritev2),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(lseek),
	SCMP_SYS(close),
	SCMP_SYS(dup),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(eventfd2),
	SCMP_SYS(memfd_create),
	SCMP_SYS(ftruncate),
	/* memory */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(getrandom),
	SCMP_SYS(sysinfo), /* of qsort(3) in the C library */
	/* signals, and the end */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(tgkill),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

static const struct sandbox_condition worker_conditions[] = {
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 }, { SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	/* fstat(3) of the C library; a path by itself can't be told from none */
	{ SCMP_SYS(newfstatat), 3, LOW_WORD, AT_EMPTY_PATH },
	{ SCMP_SYS(fcntl), 1, LOW_WORD, F_DUPFD_CLOEXEC },
	{ SCMP_SYS(fcntl), 1, LOW_WORD, F_GETFD }, { SCMP_SYS(fcntl), 1, LOW_WORD, F_SETFD },
	{ SCMP_SYS(fcntl), 1, LOW_WORD, F_GETFL }, { SCMP_SYS(fcntl), 1, LOW_WORD, F_SETFL },
	{ SCMP_SYS(fcntl), 1, LOW_WORD, F_GET_SEALS },
	{ SCMP_SYS(fcntl), 1, LOW_WORD, F_ADD_SEALS },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, TCGETS }, /* isatty(3), for log lines */
	/* A device and an IOMMU that were opened for it: to use them, not to get others. */
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_GET_API_VERSION },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_CHECK_EXTENSION },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_IOMMU_GET_INFO },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_IOMMU_MAP_DMA },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_IOMMU_UNMAP_DMA },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_DEVICE_GET_INFO },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_DEVICE_GET_REGION_INFO },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_DEVICE_GET_IRQ_INFO },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_DEVICE_SET_IRQS },
	{ SCMP_SYS(ioctl), 1, LOW_WORD, VFIO_DEVICE_RESET },
};

static const int shim_refused[] = {
	/* other processes and the kernel */
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(syslog),
	SCMP_SYS(acct),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(modify_ldt),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(vhangup),
	SCMP_SYS(quotactl),
	SCMP_SYS(clone3), /* its flags lie in memory; clone(2) does what is needed */
	/* another view of the system */
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(name_to_handle_at),
	/* the names of files */
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(rmdir),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(link),
	SCMP_SYS(linkat),
	SCMP_SYS(symlink),
	SCMP_SYS(symlinkat),
	SCMP_SYS(truncate),
	SCMP_SYS(chmod),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchmodat),
	SCMP_SYS(chown),
	SCMP_SYS(fchown),
	SCMP_SYS(lchown),
	SCMP_SYS(fchownat),
	SCMP_SYS(setxattr),
	SCMP_SYS(lsetxattr),
	SCMP_SYS(fsetxattr),
	SCMP_SYS(removexattr),
	SCMP_SYS(lremovexattr),
	SCMP_SYS(fremovexattr),
	/* vdpad makes the sockets */
	SCMP_SYS(bind),
	SCMP_SYS(listen),
};

static const struct sandbox_condition shim_conditions[] = {
	{ SCMP_SYS(socket), 0, LOW_WORD, AF_INET },
	{ SCMP_SYS(socket), 0, LOW_WORD, AF_INET6 },
	{ SCMP_SYS(socket), 0, LOW_WORD, AF_PACKET },
	{ SCMP_SYS(clone), 0, CLONE_NEWUSER, CLONE_NEWUSER },
};

const struct sandbox_rules sandbox_rules[SANDBOX_N_FILTERS] = {
	[SANDBOX_FILTER_WORKER] = {
		.name = "worker_filter",
		.otherwise = SCMP_ACT_KILL_PROCESS,
		.action = SCMP_ACT_ALLOW,
		.calls = worker_calls,
		.n_calls = ARRAY_SIZE(worker_calls),
		.conditions = worker_conditions,
		.n_conditions = ARRAY_SIZE(worker_conditions),
	},
	[SANDBOX_FILTER_SHIM] = {
		.name = "shim_filter",
		.otherwise = SCMP_ACT_ALLOW,
		.action = SCMP_ACT_ERRNO(ENOSYS),
		.calls = shim_refused,
		.n_calls = ARRAY_SIZE(shim_refused),
		.conditions = shim_conditions,
		.n_conditions = ARRAY_SIZE(shim_conditions),
	},
};

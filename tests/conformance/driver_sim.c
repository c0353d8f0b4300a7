/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The conformance suite's stand for the sim driver: a simnic process of its own, whose admin socket
 * makes devices and whose test interface makes it hang. Usage: driver_sim SIMNIC [OPTION]..., options
 * for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "drivers/sim/mailbox.h"
#include "tests/conformance/driver_guest.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/fdmsg.h"

#define MAX_DEVICES 16
#define MAX_LOSSES  16
#define MAX_OPTIONS 8

struct sim_rig_device {
	struct rig_device device; /* first */
	char name[SIM_NAME_SIZE];
	int lost_fds[MAX_LOSSES]; /* of simnics that died; the driver may still have them */
	size_t n_lost;
};

static struct {
	const char *program;
	char **options; /* NULL ends them */
	char folder[64];
	pid_t pid;
	int admin;
	uint32_t seq;
	unsigned int n_made;
	struct sim_rig_device *devices[MAX_DEVICES];
} nic = { .admin = -1 };

/* ---------------------------------------------------------------------------- process */

static void path_of(const char *name, char *path, size_t size)
{
	assert_true((size_t)snprintf(path, size, "%s/%s", nic.folder, name) < size);
}

static int try_connect(const char *name, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	path_of(name, address.sun_path, sizeof(address.sun_path));
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return TAKE_FD(sock);
}

static void start(void)
{
	char admin[108], test[108], log[108];
	uint64_t since = clock_now_ns();

	path_of("admin", admin, sizeof(admin));
	path_of("test", test, sizeof(test));
	path_of("log", log, sizeof(log));
	unlink(admin); /* of a predecessor that was killed */
	nic.pid = fork();
	assert_true(nic.pid >= 0);
	if (nic.pid == 0) {
		const char *argv[11 + MAX_OPTIONS + 1] = { nic.program, "--name", "rig", "--listen",
			admin, "--test-socket", test, "--threads", "2", "--log-level", "debug" };

		for (size_t i = 0; i < MAX_OPTIONS && nic.options[i]; i++)
			argv[11 + i] = nic.options[i];
		if (!freopen(log, "a", stderr))
			_exit(126);
		execv(nic.program, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	while ((nic.admin = try_connect("admin", SOCK_SEQPACKET)) < 0)
		guest_pause(since, "simnic's admin socket");
}

static void stop(void)
{
	nic.admin = close_keep_errno(nic.admin);
	if (nic.pid > 0) {
		kill(nic.pid, SIGKILL);
		waitpid(nic.pid, NULL, 0);
	}
	nic.pid = 0;
}

/* A request on the admin socket. Return: the reply's descriptor, -1 for none. */
static int admin_call(enum sim_command command, const struct sim_function *function)
{
	struct sim_message msg = {
		.header = { .command = command, .seq = ++nic.seq, .size = sizeof(*function) },
		.payload.function = *function,
	};
	size_t n_fds = 0;
	int fd = -1;

	assert_int_equal(fdmsg_send(nic.admin, &msg, sizeof(msg.header) + sizeof(*function), NULL,
				 0), 0);
	assert_true(fdmsg_recv(nic.admin, &msg, sizeof(msg), &fd, 1, &n_fds, 0) >=
		    (ssize_t)sizeof(msg.header));
	assert_int_equal(msg.header.seq, nic.seq);
	assert_int_equal(msg.header.status, 0);
	return n_fds == 1 ? fd : -1;
}

static uint64_t all_features(void)
{
	struct sim_message msg = {
		.header = { .command = SIM_ADMIN_INFO, .seq = ++nic.seq },
	};

	assert_int_equal(fdmsg_send(nic.admin, &msg, sizeof(msg.header), NULL, 0), 0);
	assert_true(fdmsg_recv(nic.admin, &msg, sizeof(msg), NULL, 0, NULL, 0) > 0);
	assert_int_equal(msg.header.status, 0);
	return msg.payload.info.features;
}

/* An order to the test interface, which answers it when it is in force. */
static void order(const char *line)
{
	_cleanup_close_ int sock = try_connect("test", SOCK_STREAM);
	char answer[256] = "";

	assert_true(sock >= 0);
	assert_int_equal(write(sock, line, strlen(line)), strlen(line));
	assert_true(read(sock, answer, sizeof(answer) - 1) > 0);
	assert_non_null(strstr(answer, "true"));
}

/* ---------------------------------------------------------------------------- devices */

static struct sim_function function_of(const struct sim_rig_device *d, uint32_t flags)
{
	struct sim_function f = {
		.mtu = d->device.mtu,
		.max_pairs = d->device.pairs,
		.flags = flags,
		.features = all_features(),
	};

	memcpy(f.name, d->name, sizeof(f.name));
	memcpy(f.mac, d->device.mac, sizeof(f.mac));
	return f;
}

static void add(struct sim_rig_device *d)
{
	const struct sim_function f = function_of(d, SIM_FUNCTION_LINK_UP);

	d->device.fds[0] = admin_call(SIM_ADMIN_ADD, &f);
	d->device.n_fds = 1;
	assert_true(d->device.fds[0] >= 0);
}

static struct rig_device *device_new(uint16_t pairs)
{
	struct sim_rig_device *d = calloc(1, sizeof(*d));
	unsigned int number = ++nic.n_made;
	size_t at = 0;

	assert_non_null(d);
	while (at < MAX_DEVICES && nic.devices[at])
		at++;
	assert_true(at < MAX_DEVICES);
	d->device = rig_device(number, pairs);
	snprintf(d->name, sizeof(d->name), "f%u", number);
	add(d);
	nic.devices[at] = d;
	return &d->device;
}

static void device_free(struct rig_device *device)
{
	struct sim_rig_device *d = (struct sim_rig_device *)device;
	struct sim_function f;

	if (!d)
		return;
	for (size_t i = 0; i < MAX_DEVICES; i++) {
		if (nic.devices[i] == d)
			nic.devices[i] = NULL;
	}
	f = function_of(d, 0);
	admin_call(SIM_ADMIN_DEL, &f);
	close_keep_errno(d->device.fds[0]);
	while (d->n_lost > 0)
		close_keep_errno(d->lost_fds[--d->n_lost]);
	free(d);
}

static void set_link(struct rig_device *device, bool up)
{
	const struct sim_function f = function_of((struct sim_rig_device *)device,
		up ? SIM_FUNCTION_LINK_UP : 0);

	admin_call(SIM_ADMIN_SET, &f);
}

static void lose(void)
{
	stop();
	start();
	for (size_t i = 0; i < MAX_DEVICES; i++) {
		struct sim_rig_device *d = nic.devices[i];

		if (!d)
			continue;
		assert_true(d->n_lost < MAX_LOSSES);
		d->lost_fds[d->n_lost++] = d->device.fds[0];
		add(d);
	}
}

static void hang(struct rig_device *device)
{
	char line[128];

	snprintf(line, sizeof(line), "{\"do\":\"hang\",\"function\":\"%.40s\"}\n",
		((struct sim_rig_device *)device)->name);
	order(line);
}

static void delay(struct rig_device *device, unsigned int ms)
{
	char line[128];

	snprintf(line, sizeof(line), "{\"do\":\"delay\",\"function\":\"%.40s\",\"ms\":%u}\n",
		((struct sim_rig_device *)device)->name, ms);
	order(line);
}

static const struct driver_rig rig = {
	.driver = &sim_driver,
	.waits = RIG_ALL_CALLS,
	.device_new = device_new,
	.device_free = device_free,
	.set_link = set_link,
	.lose = lose,
	.hang = hang,
	.delay = delay,
};

/* ------------------------------------------------------------------------------- main */

static void remove_folder(void)
{
	static const char *const names[] = { "admin", "test", "log" };
	char path[108];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		path_of(names[i], path, sizeof(path));
		unlink(path);
	}
	rmdir(nic.folder);
}

int main(int argc, char **argv)
{
	int failed;

	if (argc < 2 || argc - 2 > MAX_OPTIONS) {
		fprintf(stderr, "usage: driver_sim SIMNIC [OPTION]...\n");
		return 2;
	}
	nic.program = argv[1];
	nic.options = argv + 2;
	strcpy(nic.folder, "/tmp/driver-sim-XXXXXX");
	if (!mkdtemp(nic.folder)) {
		perror("driver_sim: folder");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	start();
	failed = driver_suite_run(&rig);
	stop();
	if (failed > 0)
		fprintf(stderr, "simnic's log is in %s\n", nic.folder);
	else
		remove_folder();
	return failed == 0 ? 0 : 1;
}

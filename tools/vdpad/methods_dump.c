/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One report for support. The worker writes its part into a memory file; what it wrote is passed on as
 * text and not looked into here: a worker may be anybody's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/views.h"
#include "vdpa/base/cleanup.h"

#define MAX_REPORT (4U * 1024 * 1024)

struct dumping {
	struct request *q;
	struct device *dev;
	int fd;
};

static void put_log_line(void *arg, const char *line)
{
	json_array_append_new(arg, json_string(line));
}

static json_t *host_json(void)
{
	struct utsname host = { 0 };

	uname(&host);
	return json_pack("{s:s,s:s,s:s}", "system", host.sysname, "release", host.release, "version",
		host.version);
}

static json_t *supervisor_json(struct device *dev)
{
	const struct device_spec *spec = &dev->spec;
	json_t *dump = json_object(), *log = json_array(), *nic = dev->backing->view(dev);
	char features[24];

	log_recent(put_log_line, log);
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)spec->features);
	json_object_set_new(dump, "format", json_integer(1));
	json_object_set_new(dump, "vdpad_version", json_string(VDPAD_VERSION));
	json_object_set_new(dump, "time_s", json_integer((json_int_t)time(NULL)));
	json_object_set_new(dump, "host", host_json());
	json_object_set_new(dump, "spec",
		json_pack("{s:s,s:i,s:i,s:s,s:s}", "name", spec->name, "mtu", spec->mtu, "max_vqp",
			spec->max_pairs, "features", features, "worker", spec->worker));
	json_object_set_new(dump, "shim_starts_again", json_integer(dev->restart.total));
	json_object_set_new(dump, "status", view_status(dev, NULL));
	json_object_set_new(dump, "vstats", view_vstats(dev, NULL));
	if (nic)
		json_object_set_new(dump, "nic", nic);
	json_object_set_new(dump, "vdpad_log", log);
	return dump;
}

/* What the worker wrote, as printable text. Return: NULL when there is none. */
static json_t *report_json(int fd)
{
	struct stat st;
	_cleanup_free_ char *text = NULL;
	ssize_t n;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > MAX_REPORT)
		return NULL;
	text = malloc((size_t)st.st_size);
	n = text ? pread(fd, text, (size_t)st.st_size, 0) : -1;
	for (ssize_t i = 0; i < n; i++) {
		if ((text[i] < ' ' || text[i] > '~') && text[i] != '\n')
			text[i] = '?';
	}
	return n > 0 ? json_stringn(text, (size_t)n) : NULL;
}

static void finish(struct dumping *d, int status)
{
	json_t *dump = supervisor_json(d->dev);
	json_t *report = status == 0 ? report_json(d->fd) : NULL;

	if (report)
		json_object_set_new(dump, "worker_report", report);
	else
		json_object_set_new(dump, "worker_error",
			json_string(status < 0 ? strerror(-status) : "it wrote nothing"));
	request_answer(d->q, json_pack("{s:o}", "dump", dump));
	close_keep_errno(d->fd);
	free(d);
}

static void on_dumped(void *arg, struct channel_answer *answer)
{
	struct dumping *d = arg;
	struct failure why;

	if (answer->status != -ECANCELED) {
		finish(d, answer->status);
		return;
	}
	failure_set(&why, FAILURE_NOT_FOUND, "it was deleted meanwhile");
	request_fail(d->q, &why);
	close_keep_errno(d->fd);
	free(d);
}

int method_dev_dump(struct request *q, json_t *params, struct failure *why)
{
	struct device *dev = param_device(q, params, why);
	struct dumping *d;
	int r;

	if (!dev)
		return -1;
	d = calloc(1, sizeof(*d));
	if (!d)
		return failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	*d = (struct dumping){ .q = q, .dev = dev };
	r = d->fd = memfd_create("dump", MFD_CLOEXEC);
	if (r >= 0)
		r = channel_call(dev->shim, &(struct channel_request){
			.kind = SHIM_DUMP, .fds = &d->fd, .n_fds = 1,
			.deadline_ms = DEVICE_CALL_MS, .done = on_dumped, .arg = d });
	if (r < 0)
		finish(d, r);
	return 0;
}

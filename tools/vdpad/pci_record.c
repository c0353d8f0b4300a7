/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * STATE/pci/FUNCTION.json: this function was taken from its driver for a device of ours. It is written
 * before anything is changed and removed when all is as it was; so a vdpad that dies at any instant
 * leaves a record, by which the next one gives the function back. A start of the host gives all back
 * without us, so a record counts only until then.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tools/vdpad/pci.h"
#include "tools/vdpad/vdpad.h"
#include "vdpa/base/atomicfile.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define RECORD_VERSION 1
#define BOOT_ID_SIZE   40

static void path_of(const struct vdpad *v, const char *name, char ret[VDPAD_PATH_SIZE + NAME_MAX])
{
	snprintf(ret, VDPAD_PATH_SIZE + NAME_MAX, "%s/pci/%s.json", v->state_dir, name);
}

/* Which start of the host this is; "" when it does not say. */
static void boot_id(char ret[BOOT_ID_SIZE])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, BOOT_ID_SIZE - 1);

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

int pci_record_write(const struct vdpad *v, const struct pci_record *record, struct failure *why)
{
	char path[VDPAD_PATH_SIZE + NAME_MAX], boot[BOOT_ID_SIZE];
	_cleanup_free_ char *text = NULL;
	json_t *json;
	int r;

	boot_id(boot);
	json = json_pack("{s:i,s:s,s:s,s:s,s:s}", "version", RECORD_VERSION, "function", record->name,
		"device", record->device, "driver", record->driver, "boot", boot);
	text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	json_decref(json);
	path_of(v, record->name, path);
	r = text ? atomicfile_write(path, text, strlen(text), 0600) : -ENOMEM;
	return r < 0 ? failure_set(why, FAILURE_UNAVAILABLE,
			       "%s can't be written: %s; is the disk full?", path, strerror(-r))
		     : 0;
}

static int take_text(const char *text, char *ret, size_t size)
{
	if (strlen(text) >= size)
		return -EINVAL;
	strcpy(ret, text);
	return 0;
}

static int from_json(json_t *json, const char *name, struct pci_record *ret)
{
	const char *function, *device, *driver, *boot;
	char now[BOOT_ID_SIZE];
	int version;

	if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:i,s:s,s:s,s:s,s:s}", "version", &version,
		    "function", &function, "device", &device, "driver", &driver, "boot", &boot) < 0 ||
		version != RECORD_VERSION || strcmp(function, name) != 0 || !pci_name_ok(function) ||
		!name_ok(device) || (*driver && !name_ok(driver)))
		return -EINVAL;
	boot_id(now);
	if (strcmp(boot, now) != 0)
		return -ENOENT;
	if (take_text(function, ret->name, sizeof(ret->name)) < 0 ||
		take_text(device, ret->device, sizeof(ret->device)) < 0)
		return -EINVAL;
	return take_text(driver, ret->driver, sizeof(ret->driver));
}

int pci_record_read(const struct vdpad *v, const char *name, struct pci_record *ret)
{
	char path[VDPAD_PATH_SIZE + NAME_MAX];
	json_t *json;
	int r;

	path_of(v, name, path);
	if (access(path, F_OK) < 0)
		return -ENOENT;
	json = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	r = json ? from_json(json, name, ret) : -EINVAL;
	json_decref(json);
	if (r == -EINVAL)
		log_error("%s: not of a form that this vdpad writes; the function stays as it is", path);
	return r;
}

void pci_record_remove(const struct vdpad *v, const char *name)
{
	char path[VDPAD_PATH_SIZE + NAME_MAX];
	int r;

	path_of(v, name, path);
	r = atomicfile_remove(path);
	if (r < 0)
		log_error("%s can't be removed: %s", path, strerror(-r));
}

void pci_records_each(struct vdpad *v, void (*found)(struct vdpad *v, const struct pci_record *record))
{
	char folder[VDPAD_PATH_SIZE];
	struct dirent *entry;
	DIR *dir;

	snprintf(folder, sizeof(folder), "%s/pci", v->state_dir);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir))) {
		char *end = strrchr(entry->d_name, '.');
		struct pci_record record;
		int r;

		if (!end || end == entry->d_name)
			continue;
		/* "0000:00:05.0.json", or ".json.new" of a writer that died */
		if (strcmp(end, ".new") == 0) {
			unlinkat(dirfd(dir), entry->d_name, 0);
			continue;
		}
		*end = '\0';
		r = pci_name_ok(entry->d_name) ? pci_record_read(v, entry->d_name, &record) : -EINVAL;
		if (r == 0)
			found(v, &record);
		else if (r == -ENOENT)
			pci_record_remove(v, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

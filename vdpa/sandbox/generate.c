/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes a header with the filters of policy.c as arrays of BPF instructions. It runs while vdpad
 * is built, so that no process loads libseccomp, nor keeps the memory it took to make a filter.
 */
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/sandbox/policy.h"

static int add_rules(scmp_filter_ctx filter, const struct sandbox_rules *rules)
{
	int r = 0;

	for (size_t i = 0; i < rules->n_calls && r == 0; i++)
		r = seccomp_rule_add_exact(filter, rules->action, rules->calls[i], 0);
	for (size_t i = 0; i < rules->n_conditions && r == 0; i++) {
		const struct sandbox_condition *c = &rules->conditions[i];
		struct scmp_arg_cmp cmp = SCMP_CMP64(c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value);

		r = seccomp_rule_add_exact_array(filter, rules->action, c->call, 1, &cmp);
	}
	return r;
}

/* Return: a file with struct sock_filter, or a negative errno. */
static int make_filter(const struct sandbox_rules *rules)
{
	_cleanup_close_ int fd = memfd_create(rules->name, MFD_CLOEXEC);
	scmp_filter_ctx filter = seccomp_init(rules->otherwise);
	int r;

	if (!filter || fd < 0) {
		seccomp_release(filter);
		return -ENOMEM;
	}
	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0) /* a tree: the cost of a call does not depend on its row */
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_rules(filter, rules);
	if (r == 0)
		r = seccomp_export_bpf(filter, fd);
	seccomp_release(filter);
	return r < 0 ? r : TAKE_FD(fd);
}

static int write_filter(FILE *out, const struct sandbox_rules *rules)
{
	_cleanup_close_ int fd = make_filter(rules);
	struct sock_filter line;
	ssize_t n;

	if (fd < 0)
		return fd;
	fprintf(out, "\nstatic const struct sock_filter %s[] = {\n", rules->name);
	for (off_t at = 0; (n = pread(fd, &line, sizeof(line), at)) == (ssize_t)sizeof(line);
		at += n)
		fprintf(out, "\t{ 0x%02x, %u, %u, 0x%08x },\n", line.code, line.jt, line.jf,
			line.k);
	fprintf(out, "};\n");
	return n == 0 ? 0 : -EIO;
}

int main(int argc, char **argv)
{
	_cleanup_fclose_ FILE *out = NULL;

	if (argc != 2) {
		fputs("usage: sandbox-generate HEADER\n", stderr);
		return 2;
	}
	out = fopen(argv[1], "we");
	if (!out) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	fprintf(out, "/* Made by sandbox-generate from vdpa/sandbox/policy.c. */\n"
		     "#include <linux/filter.h>\n");
	for (size_t i = 0; i < SANDBOX_N_FILTERS; i++) {
		int r = write_filter(out, &sandbox_rules[i]);

		if (r < 0) {
			fprintf(stderr, "%s: %s\n", sandbox_rules[i].name, strerror(-r));
			return 1;
		}
	}
	return fflush(out) == 0 ? 0 : 1;
}

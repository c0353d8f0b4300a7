/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state page: memory that outlives the process that writes it.
 *
 * A page is a file of fixed size, shared by nobody else while a process has it open. It holds
 * sections; for each, the owner works on a copy in its own memory. page_commit() makes all
 * changes of all copies valid by one store, page_rollback() forgets them. A process killed at any
 * instruction leaves the page at its last commit.
 */
#ifndef VDPA_PAGE_H
#define VDPA_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_MAX_SECTIONS 8

#define PAGE_MAX_SPANS 5

/* Bytes of a section. */
struct page_span {
	size_t start;
	size_t size;
};

/**
 * struct page_section - a part of the page and its working copy.
 * @id:      what it is, not 0, unique in the page
 * @version: layouts of one version differ only by members added at the end, zero by default
 * @working: the copy, the caller's, @size bytes
 * @spans:   which bytes of @working mean something as it is, so that a commit looks at no others: at
 *           most PAGE_MAX_SPANS, without overlap. Return: how many. NULL: all mean something
 */
struct page_section {
	uint32_t id;
	uint32_t version;
	void *working;
	size_t size;
	size_t (*spans)(const void *working, struct page_span *ret);
};

struct page {
	uint8_t *base;	 /* the mapped file */
	uint8_t *layout; /* the half of it in use */
	size_t size;
	size_t n_sections;
	struct page_section sections[PAGE_MAX_SECTIONS];
	size_t offsets[PAGE_MAX_SECTIONS]; /* in the layout */
};

/**
 * page_open() - map a page and load the working copies.
 * @p:        to fill; page_close() releases it
 * @fd:       the page's file, lent; @size bytes long at least
 * @size:     of the file
 * @sections: 1..PAGE_MAX_SECTIONS, copied; their working copies must outlive @p
 * @ret_fresh: true when the file was empty: working copies are left as the caller initialised
 *            them, and become the first commit
 *
 * A change that was being committed when the last writer died is completed. What the file says
 * is checked before it is used.
 *
 * Return: 0; -EBADMSG the file is damaged; -EPROTO it was written in a version that can't be
 *         read; -ENOSPC the sections don't fit; an errno of mmap(2).
 */
int page_open(struct page *p, int fd, size_t size, const struct page_section *sections,
	size_t n_sections, bool *ret_fresh);

/** page_close() - unmap; uncommitted changes are lost. Accepts a zeroed @p. */
void page_close(struct page *p);

/** page_commit() - make the working copies the state. Cannot fail. */
void page_commit(struct page *p);

/**
 * page_poke() - make one word valid now, alone, without committing anything else.
 * @member: a naturally aligned word inside a working copy; both it and the file get @value
 */
void page_poke(struct page *p, uint64_t *member, uint64_t value);

/** page_rollback() - make the state the working copies. */
void page_rollback(const struct page *p);

/** page_is_clean() - true when nothing is uncommitted. */
bool page_is_clean(const struct page *p);

#endif

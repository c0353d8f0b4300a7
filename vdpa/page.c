/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state page. A commit compares the working copies, as far as they mean something, with the file
 * in lines of 64 bytes, writes the lines that differ into a journal, makes the journal valid by one
 * store, copies the lines to their places, and invalidates the journal. Whoever opens a page with a
 * valid journal copies the lines again: that changes nothing where they were copied already.
 *
 * Only the death of the process is survived, not that of the machine: memory keeps every store
 * that was executed, in program order as another process sees it after the death. Hence release
 * stores, and no flushing.
 *
 * The journal is as large as all sections together and their line numbers, and a line more for each
 * span, since two may meet in one; so a commit can't fail.
 *
 * The file has room for two layouts. A program whose sections have other sizes than those of the
 * last one writes its own layout into the unused half, and changes over by one store.
 */
#include "vdpa/page.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vdpa/base/bits.h"

#define PAGE_MAGIC 0x3165676150647056ULL
#define LINE	   64
#define ROOT_SIZE  64

struct section_header {
	uint32_t id;
	uint32_t version;
	uint32_t offset;
	uint32_t size;
};

struct page_root {
	uint64_t magic;	 /* of the file */
	uint64_t layout; /* offset of the layout in use; 0: the file is fresh */
};

struct page_header {
	uint32_t n_sections;
	uint32_t journal_offset;
	struct section_header sections[PAGE_MAX_SECTIONS];
};

struct journal_line {
	uint32_t offset; /* in the layout */
	uint32_t size;	 /* 1..LINE */
	uint8_t data[LINE];
};

struct journal {
	uint64_t n_valid; /* lines to copy; 0: no commit is under way */
	struct journal_line lines[];
};

static struct page_root *root_of(const struct page *p)
{
	return (struct page_root *)p->base;
}

static struct page_header *header_of(const struct page *p)
{
	return (struct page_header *)p->layout;
}

static struct journal *journal_of(const struct page *p)
{
	return (struct journal *)(p->layout + header_of(p)->journal_offset);
}

static size_t layout_size(const struct page *p)
{
	return (p->size - ROOT_SIZE) / 2 / LINE * LINE;
}

/* Of the journal, for a section. */
static size_t line_count(size_t bytes)
{
	return (bytes + LINE - 1) / LINE + PAGE_MAX_SPANS;
}

static bool journal_fits(const struct page *p, size_t journal_offset, size_t n_lines)
{
	return journal_offset + sizeof(struct journal) + n_lines * sizeof(struct journal_line) <=
	       layout_size(p);
}

static void journal_replay(const struct page *p)
{
	struct journal *journal = journal_of(p);

	for (uint64_t i = 0; i < journal->n_valid; i++) {
		const struct journal_line *line = &journal->lines[i];

		memcpy(p->layout + line->offset, line->data, line->size);
	}
	__atomic_store_n(&journal->n_valid, 0, __ATOMIC_RELEASE);
}

/* The journal came from a writer that may have been hostile: every line must be in a section. */
static bool journal_sound(const struct page *p)
{
	const struct page_header *header = header_of(p);
	const struct journal *journal = journal_of(p);
	uint64_t n = journal->n_valid;

	if (n > layout_size(p) / sizeof(struct journal_line) ||
		!journal_fits(p, header->journal_offset, n))
		return false;
	for (uint64_t i = 0; i < n; i++) {
		const struct journal_line *line = &journal->lines[i];

		if (line->size == 0 || line->size > LINE || line->offset < sizeof(*header) ||
			line->offset > header->journal_offset - line->size)
			return false;
	}
	return true;
}

/* Lays the sections out in the unused half, with the working copies as content, and uses it. */
static int page_format(struct page *p)
{
	size_t half = p->layout == p->base + ROOT_SIZE ? layout_size(p) : 0;
	size_t offset = align_up(sizeof(struct page_header), LINE), n_lines = 0;
	struct page_header *header;

	p->layout = p->base + ROOT_SIZE + half;
	header = header_of(p);

	for (size_t i = 0; i < p->n_sections; i++) {
		n_lines += line_count(p->sections[i].size);
		p->offsets[i] = offset;
		offset += align_up(p->sections[i].size, LINE);
	}
	if (offset > UINT32_MAX || !journal_fits(p, offset, n_lines))
		return -ENOSPC;

	for (size_t i = 0; i < p->n_sections; i++) {
		header->sections[i] = (struct section_header){
			.id = p->sections[i].id,
			.version = p->sections[i].version,
			.offset = (uint32_t)p->offsets[i],
			.size = (uint32_t)p->sections[i].size,
		};
		memcpy(p->layout + p->offsets[i], p->sections[i].working, p->sections[i].size);
	}
	header->n_sections = (uint32_t)p->n_sections;
	header->journal_offset = (uint32_t)offset;
	journal_of(p)->n_valid = 0;
	root_of(p)->magic = PAGE_MAGIC;
	__atomic_store_n(&root_of(p)->layout, (uint64_t)(p->layout - p->base), __ATOMIC_RELEASE);
	return 0;
}

/* Finds the layout in use; false when the file is damaged. */
static bool layout_sound(struct page *p)
{
	uint64_t offset = root_of(p)->layout;
	const struct page_header *header;

	if (root_of(p)->magic != PAGE_MAGIC ||
		(offset != ROOT_SIZE && offset != ROOT_SIZE + layout_size(p)))
		return false;
	p->layout = p->base + offset;
	header = header_of(p);
	if (header->n_sections == 0 || header->n_sections > PAGE_MAX_SECTIONS ||
		header->journal_offset % LINE || header->journal_offset < sizeof(*header) + LINE ||
		!journal_fits(p, header->journal_offset, 0))
		return false;
	for (size_t i = 0; i < header->n_sections; i++) {
		const struct section_header *section = &header->sections[i];

		if (section->offset < sizeof(*header) || section->offset % LINE ||
			section->offset > header->journal_offset ||
			section->size > header->journal_offset - section->offset)
			return false;
	}
	return true;
}

/* Another program version may have laid the page out; then it is laid out anew with this one's. */
static int page_load(struct page *p)
{
	struct page_header old = *header_of(p);
	bool same_layout = old.n_sections == p->n_sections;
	size_t n_lines = 0;

	for (size_t i = 0; i < p->n_sections; i++) {
		const struct page_section *section = &p->sections[i];
		const struct section_header *found = NULL;

		for (size_t k = 0; k < old.n_sections; k++) {
			if (old.sections[k].id == section->id)
				found = &old.sections[k];
		}
		if (!found || found->version != section->version)
			return -EPROTO;
		memset(section->working, 0, section->size);
		memcpy(section->working, p->layout + found->offset,
			found->size < section->size ? found->size : section->size);
		p->offsets[i] = found->offset;
		same_layout = same_layout && found->size == section->size;
		n_lines += line_count(section->size);
	}
	same_layout = same_layout && journal_fits(p, old.journal_offset, n_lines);
	return same_layout ? 0 : page_format(p);
}

int page_open(struct page *p, int fd, size_t size, const struct page_section *sections,
	size_t n_sections, bool *ret_fresh)
{
	struct stat st;
	int r;

	memset(p, 0, sizeof(*p));
	if (n_sections == 0 || n_sections > PAGE_MAX_SECTIONS || size < 4 * sizeof(struct page_header))
		return -ENOSPC;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < size)
		return -EBADMSG;

	p->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->base == MAP_FAILED) {
		p->base = NULL;
		return -errno;
	}
	p->size = size;
	p->n_sections = n_sections;
	memcpy(p->sections, sections, n_sections * sizeof(*sections));

	*ret_fresh = root_of(p)->layout == 0;
	if (*ret_fresh) {
		r = page_format(p);
	} else if (!layout_sound(p) || !journal_sound(p)) {
		r = -EBADMSG;
	} else {
		journal_replay(p);
		r = page_load(p);
	}
	if (r < 0)
		page_close(p);
	return r;
}

void page_close(struct page *p)
{
	if (p->base)
		munmap(p->base, p->size);
	p->base = NULL;
}

/* Adds the lines of a span that differ from the file to the journal. Return: lines so far. */
static uint64_t journal_add(const struct page *p, size_t i, struct page_span span, uint64_t n_lines)
{
	const struct page_section *section = &p->sections[i];
	const uint8_t *file = p->layout + p->offsets[i], *working = section->working;
	const size_t block = 32 * LINE, end = span.start + span.size;

	for (size_t at = span.start / LINE * LINE; at < end; at += LINE) {
		struct journal_line *line;
		size_t size;

		while (at % block == 0 && end - at > block && memcmp(file + at, working + at, block) == 0)
			at += block;
		size = section->size - at < LINE ? section->size - at : LINE;
		if (memcmp(file + at, working + at, size) == 0)
			continue;
		line = &journal_of(p)->lines[n_lines++];
		line->offset = (uint32_t)(p->offsets[i] + at);
		line->size = (uint32_t)size;
		memcpy(line->data, working + at, size);
	}
	return n_lines;
}

static size_t spans_of(const struct page_section *section, struct page_span ret[PAGE_MAX_SPANS])
{
	if (section->spans)
		return section->spans(section->working, ret);
	ret[0] = (struct page_span){ .size = section->size };
	return 1;
}

void page_commit(struct page *p)
{
	struct page_span spans[PAGE_MAX_SPANS];
	uint64_t n_lines = 0;

	for (size_t i = 0; i < p->n_sections; i++) {
		size_t n = spans_of(&p->sections[i], spans);

		for (size_t k = 0; k < n; k++)
			n_lines = journal_add(p, i, spans[k], n_lines);
	}
	if (n_lines == 0)
		return;
	__atomic_store_n(&journal_of(p)->n_valid, n_lines, __ATOMIC_RELEASE);
	journal_replay(p);
}

void page_poke(struct page *p, uint64_t *member, uint64_t value)
{
	for (size_t i = 0; i < p->n_sections; i++) {
		const struct page_section *section = &p->sections[i];
		size_t at = (size_t)((uint8_t *)member - (uint8_t *)section->working);

		if (at < section->size) {
			*member = value;
			__atomic_store_n((uint64_t *)(p->layout + p->offsets[i] + at), value,
				__ATOMIC_RELEASE);
			return;
		}
	}
	assert(false && "member of no section");
}

void page_rollback(const struct page *p)
{
	for (size_t i = 0; i < p->n_sections; i++)
		memcpy(p->sections[i].working, p->layout + p->offsets[i], p->sections[i].size);
}

bool page_is_clean(const struct page *p)
{
	struct page_span spans[PAGE_MAX_SPANS];

	for (size_t i = 0; i < p->n_sections; i++) {
		const uint8_t *file = p->layout + p->offsets[i], *working = p->sections[i].working;
		size_t n = spans_of(&p->sections[i], spans);

		for (size_t k = 0; k < n; k++) {
			if (memcmp(file + spans[k].start, working + spans[k].start, spans[k].size) != 0)
				return false;
		}
	}
	return true;
}

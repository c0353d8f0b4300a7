/* SPDX-License-Identifier: BSD-2-Clause */
/* Words of a command line: fixed ones, and pairs of a keyword and its value. */
#ifndef VDPA_COMMAND_KEYWORD_H
#define VDPA_COMMAND_KEYWORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum match {
	MATCH_WHOLE,
	MATCH_PREFIX, /* any beginning of the word will do */
};

/* What is left of the command line. */
struct words {
	char **word;
	int n;
};

struct keyword {
	const char *word;
	enum match match;
	const char *key; /* of the fact */

	/* Return: the fact, the caller's, or NULL when @text is none; then it has complained. */
	json_t *(*read)(const struct keyword *keyword, const char *text);
	const char *possible; /* what values there are, for people; choices are read from it */
	unsigned long long min, max; /* of numbers */

	const char *expected; /* what to say when its value is missing */
	const char *required; /* what to say when it is missing itself; NULL: it may be */
};

/* The first row that fits wins, as the last value of one does. They end with an empty row. */
extern const struct keyword keywords_add[], keywords_set[], keywords_upgrade[], keywords_vstats[],
	keywords_dump[];

/** word_matches() - false for the empty @word, whatever @pattern is. */
bool word_matches(const char *word, const char *pattern, enum match match);

/** words_take() - the next word, or NULL when there is none. */
const char *words_take(struct words *words);

/** words_end() - complain when words are left. Return: 0, or -EINVAL. */
int words_end(const struct words *words);

/**
 * text_fact() - a word as a JSON string.
 * @what: what it is, for a complaint
 * Return: the caller's; NULL, after a complaint, when it is empty, too long or no UTF-8.
 */
json_t *text_fact(const char *what, const char *text);

/** handle_fact() - the same for a management device; it is "bus/name" or "name". */
json_t *handle_fact(const char *what, const char *text);

/**
 * keywords_read() - read pairs until no word is left.
 * @facts: gets the values
 * Return: 0, or -EINVAL after a complaint.
 */
int keywords_read(const struct keyword *table, struct words *words, json_t *facts);

#endif

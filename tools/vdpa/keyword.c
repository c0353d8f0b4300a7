/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keywords are tables, and the values' kinds are functions. iproute2 tests its keywords in this
 * order, some by any prefix and some as a whole; words of ours are tested after its own and as a
 * whole, so that no abbreviation means something else here. Where iproute2 refuses a value, its
 * words are used; where it does so silently, ours name keyword, value and what is possible.
 */
#include "tools/vdpa/keyword.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vdpa/text.h"
#include "vdpa/base/etheraddr.h"

#define NO_TEXT	  "String parameter expected"
#define NO_NUMBER "number expected"
#define NO_HANDLE "vdpa identification (\"mgmtdev_bus_name/mgmtdev_name\") expected"

static json_t *impossible(const struct keyword *keyword, const char *text)
{
	complain("%s: \"%s\" is not possible; possible: %s", keyword->word, text,
		keyword->possible);
	return NULL;
}

json_t *text_fact(const char *what, const char *text)
{
	json_t *fact = *text && strlen(text) < PATH_MAX ? json_string(text) : NULL;

	if (!fact)
		complain("%s: \"%s\" is not possible; possible: 1 to %d bytes of UTF-8", what, text,
			PATH_MAX - 1);
	return fact;
}

json_t *handle_fact(const char *what, const char *text)
{
	const char *slash = strchr(text, '/');

	if (slash && strchr(slash + 1, '/')) {
		complain("Wrong vdpa mgmtdev identification string format");
		complain("Expected \"mgmtdev_bus_name/mgmtdev_name\"");
		complain("Expected \"mgmtdev_name\"");
		return NULL;
	}
	return text_fact(what, text);
}

static json_t *read_text(const struct keyword *keyword, const char *text)
{
	return text_fact(keyword->word, text);
}

static json_t *read_path(const struct keyword *keyword, const char *text)
{
	return *text == '/' ? text_fact(keyword->word, text) : impossible(keyword, text);
}

static json_t *read_handle(const struct keyword *keyword, const char *text)
{
	return handle_fact(keyword->word, text);
}

static json_t *read_mac(const struct keyword *keyword, const char *text)
{
	char form[ETHERADDR_TEXT_SIZE];
	uint8_t mac[ETHERADDR_SIZE];

	if (etheraddr_parse(text, mac) < 0) {
		complain("\"%s\" is invalid lladdr.", text);
		return NULL;
	}
	etheraddr_format(mac, form);
	return json_string(form);
}

static json_t *read_number(const struct keyword *keyword, const char *text)
{
	unsigned long long value;

	if (!*text || text[strspn(text, "0123456789")])
		return impossible(keyword, text);
	value = strtoull(text, NULL, 10); /* too much for it is too much for any keyword */
	if (value < keyword->min || value > keyword->max)
		return impossible(keyword, text);
	return json_integer((json_int_t)value);
}

static json_t *read_bits(const struct keyword *keyword, const char *text)
{
	bool prefix = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = prefix ? text + 2 : text;
	unsigned long long value;
	char form[32];

	if (!*digits || digits[strspn(digits, "0123456789abcdefABCDEF")])
		return impossible(keyword, text);
	errno = 0;
	value = strtoull(digits, NULL, 16);
	if (errno)
		return impossible(keyword, text);
	snprintf(form, sizeof(form), "0x%llx", value);
	return json_string(form);
}

static json_t *read_switch(const struct keyword *keyword, const char *text)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return impossible(keyword, text);
	return json_boolean(strcmp(text, "on") == 0);
}

/* @possible is "one|another". */
static json_t *read_choice(const struct keyword *keyword, const char *text)
{
	const char *choice = keyword->possible;
	size_t size = strlen(text);

	for (; choice; choice = strchr(choice, '|')) {
		choice += *choice == '|';
		if (size == strcspn(choice, "|") && strncmp(choice, text, size) == 0)
			return json_string(text);
	}
	return impossible(keyword, text);
}

/* Rows that more than one table has. */
#define ROW_NAME                                                                                   \
	{ .word = "name", .match = MATCH_PREFIX, .key = "name", .read = read_text,                 \
		.expected = NO_TEXT, .required = "device name is not set." }
#define ROW_MAC { .word = "mac", .key = "mac", .read = read_mac, .expected = NO_TEXT }
#define ROW_MTU                                                                                    \
	{ .word = "mtu", .key = "mtu", .read = read_number, .possible = "68 to 65535", .min = 68,  \
		.max = 65535, .expected = NO_NUMBER }
#define ROW_SPOOF_CHECK                                                                            \
	{ .word = "spoof_check", .key = "spoof_check", .read = read_switch,                        \
		.possible = "on|off", .expected = NO_TEXT }

#define ROW_DATAPATH                                                                               \
	{ .word = "datapath", .key = "datapath", .read = read_choice,                              \
		.possible = "direct|relay|sim", .expected = NO_TEXT }

const struct keyword keywords_add[] = {
	{ .word = "mgmtdev", .match = MATCH_PREFIX, .key = "mgmtdev", .read = read_handle,
		.expected = NO_HANDLE, .required = "management device handle not set." },
	ROW_NAME,
	ROW_MAC,
	ROW_MTU,
	{ .word = "max_vqp", .match = MATCH_PREFIX, .key = "max_vqp", .read = read_number,
		.possible = "1 to 65535", .min = 1, .max = 65535, .expected = NO_NUMBER },
	{ .word = "device_features", .key = "features", .read = read_bits,
		.possible = "hexadecimal, 0x0 to 0xffffffffffffffff", .expected = NO_NUMBER },
	{ .word = "socket", .key = "socket", .read = read_path, .possible = "an absolute path",
		.expected = NO_TEXT },
	{ .word = "mode", .key = "mode", .read = read_choice, .possible = "server|client",
		.expected = NO_TEXT },
	{ .word = "vm", .key = "vm", .read = read_text, .expected = NO_TEXT },
	ROW_SPOOF_CHECK,
	{ .word = "ctrl_vq", .key = "ctrl_vq", .read = read_switch, .possible = "on|off",
		.expected = NO_TEXT },
	{ .word = "host_notifier", .key = "host_notifier", .read = read_switch, .possible = "on|off",
		.expected = NO_TEXT },
	{ .word = "bind", .key = "bind", .read = read_switch, .possible = "on|off",
		.expected = NO_TEXT },
	{ .word = "standby", .key = "standby", .read = read_handle, .expected = NO_HANDLE },
	ROW_DATAPATH,
	{ 0 },
};

const struct keyword keywords_set[] = {
	ROW_NAME,
	ROW_MAC,
	ROW_MTU,
	ROW_SPOOF_CHECK,
	{ .word = "log_level", .key = "log_level", .read = read_choice,
		.possible = "error|warning|info|debug", .expected = NO_TEXT },
	{ .word = "link", .key = "link", .read = read_choice, .possible = "up|down",
		.expected = NO_TEXT },
	ROW_DATAPATH,
	{ 0 },
};

const struct keyword keywords_upgrade[] = {
	{ .word = "worker", .key = "worker", .read = read_path, .possible = "an absolute path",
		.expected = NO_TEXT },
	{ 0 },
};

const struct keyword keywords_vstats[] = {
	{ .word = "qidx", .key = "qidx", .read = read_number, .possible = "0 to 4294967295",
		.max = UINT32_MAX, .expected = NO_NUMBER },
	{ 0 },
};

const struct keyword keywords_dump[] = {
	{ .word = "file", .key = "file", .read = read_text, .expected = NO_TEXT },
	{ 0 },
};

bool word_matches(const char *word, const char *pattern, enum match match)
{
	if (match == MATCH_WHOLE)
		return strcmp(word, pattern) == 0;
	return *word && strncmp(word, pattern, strlen(word)) == 0;
}

const char *words_take(struct words *words)
{
	if (words->n == 0)
		return NULL;
	words->n--;
	return *words->word++;
}

int words_end(const struct words *words)
{
	if (words->n == 0)
		return 0;
	complain("Unknown option \"%s\"", words->word[0]);
	return -EINVAL;
}

static const struct keyword *find(const struct keyword *table, const char *word)
{
	for (; table->word; table++) {
		if (word_matches(word, table->word, table->match))
			return table;
	}
	return NULL;
}

static int check_required(const struct keyword *table, const json_t *facts)
{
	for (; table->word; table++) {
		if (table->required && !json_object_get(facts, table->key)) {
			complain("%s", table->required);
			return -EINVAL;
		}
	}
	return 0;
}

int keywords_read(const struct keyword *table, struct words *words, json_t *facts)
{
	const char *word;

	while ((word = words_take(words))) {
		const struct keyword *keyword = find(table, word);
		const char *text = words_take(words);
		json_t *fact;

		if (!keyword) {
			complain("Unknown option \"%s\"", word);
			return -EINVAL;
		}
		if (!text) {
			/* What is not there at all comes first, as it does for iproute2. */
			if (check_required(table, facts) == 0)
				complain("%s: %s", keyword->word, keyword->expected);
			return -EINVAL;
		}
		fact = keyword->read(keyword, text);
		if (!fact || json_object_set_new(facts, keyword->key, fact) < 0)
			return -EINVAL;
	}
	return check_required(table, facts);
}

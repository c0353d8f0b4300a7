/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The grammar is iproute2's: a word is looked up in a menu, row after row, and the first that it is
 * the beginning of wins. So the order of rows is part of the interface, and commands of our own
 * come after iproute2's.
 */
#include "tools/vdpa/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/vdpa/text.h"

static int alone_is_help(struct context *ctx, const struct menu *menu)
{
	menu_help(menu);
	return 0;
}

static int alone_is_wrong(struct context *ctx, const struct menu *menu)
{
	menu_help(menu);
	return -EINVAL;
}

/* The first row. */
static int alone_is_show(struct context *ctx, const struct menu *menu)
{
	struct words none = { 0 };

	return menu->commands->run(ctx, menu->commands, &none);
}

static const struct command mgmtdev_status_commands[] = {
	{ .word = "show", .match = MATCH_PREFIX, .usage = "show [ DEV ]", .run = run_show,
		.view = &view_mgmtdev_status, .name = handle_fact },
	{ 0 },
};
static const struct menu mgmtdev_status_menu = {
	.path = "vdpa mgmtdev status",
	.noun = "Command",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_show,
	.commands = mgmtdev_status_commands,
};

static const struct command mgmtdev_commands[] = {
	{ .word = "show", .alias = "list", .match = MATCH_PREFIX, .usage = "show [ DEV ]",
		.run = run_show, .view = &view_mgmtdev, .name = handle_fact },
	{ .word = "status", .match = MATCH_PREFIX, .menu = &mgmtdev_status_menu },
	{ 0 },
};
static const struct menu mgmtdev_menu = {
	.path = "vdpa mgmtdev",
	.noun = "Command",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_help,
	.commands = mgmtdev_commands,
};

static const struct command config_commands[] = {
	{ .word = "show", .match = MATCH_PREFIX, .usage = "show [ DEV ]", .run = run_show,
		.view = &view_config, .name = text_fact },
	{ 0 },
};
static const struct menu config_menu = {
	.path = "vdpa dev config",
	.noun = "Command",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_show,
	.commands = config_commands,
};

static const struct command vstats_commands[] = {
	{ .word = "show", .usage = "show DEV [qidx QUEUE_INDEX]", .run = run_vstats,
		.keywords = keywords_vstats, .name = text_fact },
	{ 0 },
};
static const struct menu vstats_menu = {
	.path = "vdpa dev vstats",
	.noun = "Command",
	.help_match = MATCH_WHOLE,
	.alone = alone_is_wrong,
	.commands = vstats_commands,
};

static const struct command status_commands[] = {
	{ .word = "show", .match = MATCH_PREFIX, .usage = "show [ DEV ]", .run = run_show,
		.view = &view_status, .name = text_fact },
	{ 0 },
};
static const struct menu status_menu = {
	.path = "vdpa dev status",
	.noun = "Command",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_show,
	.commands = status_commands,
};

static const struct command migration_commands[] = {
	{ .word = "show", .match = MATCH_PREFIX, .usage = "show [ DEV ]", .run = run_show,
		.view = &view_migration, .name = text_fact },
	{ 0 },
};
static const struct menu migration_menu = {
	.path = "vdpa dev migration",
	.noun = "Command",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_show,
	.commands = migration_commands,
};

static const struct command dev_commands[] = {
	{ .word = "show", .alias = "list", .match = MATCH_PREFIX, .usage = "show [ DEV ]",
		.run = run_show, .view = &view_dev, .name = text_fact },
	{ .word = "add", .match = MATCH_PREFIX,
		.usage = "add name NAME mgmtdev MANAGEMENTDEV [ mac MACADDR ] [ mtu MTU ]\n"
			 "                    [ max_vqp MAX_VQ_PAIRS ] [ device_features BITS ]\n"
			 "                    [ socket PATH ] [ mode { server | client } ]\n"
			 "                    [ vm NAME ] [ spoof_check { on | off } ]\n"
			 "                    [ ctrl_vq { on | off } ] [ host_notifier { on | off } ]\n"
			 "                    [ bind { on | off } ] [ standby MANAGEMENTDEV ]\n"
			 "                    [ datapath { direct | relay | sim } ]",
		.run = run_change, .op = OP_DEV_ADD, .keywords = keywords_add },
	{ .word = "del", .match = MATCH_PREFIX, .usage = "del DEV", .run = run_change,
		.op = OP_DEV_DEL, .name = text_fact },
	{ .word = "config", .match = MATCH_PREFIX, .menu = &config_menu },
	{ .word = "vstats", .menu = &vstats_menu },
	{ .word = "set",
		.usage = "set name NAME [ mac MACADDR ] [ mtu MTU ] [ spoof_check { on | off } ]\n"
			 "                    [ log_level { error | warning | info | debug } ]\n"
			 "                    [ link { up | down } ] [ datapath { direct | relay | sim } ]",
		.run = run_change, .op = OP_DEV_SET, .keywords = keywords_set },
	{ .word = "status", .match = MATCH_PREFIX, .menu = &status_menu },
	{ .word = "migration", .match = MATCH_PREFIX, .menu = &migration_menu },
	{ .word = "upgrade", .match = MATCH_PREFIX, .usage = "upgrade DEV [ worker PATH ]",
		.run = run_change, .op = OP_DEV_UPGRADE, .name = text_fact,
		.keywords = keywords_upgrade },
	{ .word = "dump", .match = MATCH_PREFIX, .usage = "dump DEV [ file { PATH | - } ]",
		.run = run_dump, .keywords = keywords_dump, .name = text_fact },
	{ 0 },
};
static const struct menu dev_menu = {
	.path = "vdpa dev",
	.noun = "Command",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_show,
	.commands = dev_commands,
};

static const struct command top_commands[] = {
	{ .word = "mgmtdev", .match = MATCH_PREFIX, .menu = &mgmtdev_menu },
	{ .word = "dev", .match = MATCH_PREFIX, .menu = &dev_menu },
	{ .word = "monitor", .match = MATCH_PREFIX, .usage = "monitor [ DEV ]",
		.run = run_monitor, .name = text_fact },
	{ 0 },
};
const struct menu menu_top = {
	.path = "vdpa",
	.noun = "Object",
	.help_match = MATCH_PREFIX,
	.alone = alone_is_help,
	.commands = top_commands,
};

static void put_usages(const struct menu *menu, const char **start)
{
	for (const struct command *c = menu->commands; c->word; c++) {
		if (c->menu) {
			put_usages(c->menu, start);
			continue;
		}
		fprintf(stderr, "%s %s %s\n", *start, menu->path, c->usage);
		*start = "      ";
	}
}

void menu_help(const struct menu *menu)
{
	const char *start = "Usage:";

	if (menu != &menu_top) {
		put_usages(menu, &start);
		return;
	}
	fputs("Usage: vdpa [ OPTIONS ] OBJECT { COMMAND | help }\n"
	      "where  OBJECT := { mgmtdev | dev | monitor }\n"
	      "       OPTIONS := { -V[ersion] | -j[son] | -p[retty] | -h[elp] | --socket PATH }\n",
		stderr);
}

static bool names(const struct command *command, const char *word)
{
	return word_matches(word, command->word, command->match) ||
	       (command->alias && word_matches(word, command->alias, command->match));
}

int menu_run(struct context *ctx, const struct menu *menu, struct words *words)
{
	const char *word = words_take(words);

	if (!word)
		return menu->alone(ctx, menu);
	if (word_matches(word, "help", menu->help_match)) {
		menu_help(menu);
		return 0;
	}
	for (const struct command *c = menu->commands; c->word; c++) {
		if (!names(c, word))
			continue;
		return c->menu ? menu_run(ctx, c->menu, words) : c->run(ctx, c, words);
	}
	complain("%s \"%s\" not found", menu->noun, word);
	return -ENOENT;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of commands, and what their handlers get. */
#ifndef VDPA_COMMAND_COMMAND_H
#define VDPA_COMMAND_COMMAND_H

#include <stdbool.h>

#include "tools/vdpa/backend.h"
#include "tools/vdpa/json.h"
#include "tools/vdpa/keyword.h"
#include "tools/vdpa/view.h"

struct context {
	struct backend_options options;
	bool json;
	enum json_form form;
	bool printed; /* JSON is out; a handler that prints some sets it */
};

struct command {
	const char *word, *alias; /* no alias: NULL */
	enum match match;
	const char *usage;	 /* what stands after the menu's path */
	const struct menu *menu; /* the next word is looked up there; else: */

	/*
	 * Do it with the words that are left.
	 * Return: 0, or a negative errno when it failed and has said so.
	 */
	int (*run)(struct context *ctx, const struct command *command, struct words *words);
	const struct view *view;	/* for run_show() */
	enum operation op;		/* for run_change() */
	const struct keyword *keywords; /* NULL: none */

	/* Makes the first word the name of what it is about; NULL: no word is that. */
	json_t *(*name)(const char *what, const char *text);
};

struct menu {
	const char *path;      /* of the words that lead here */
	const char *noun;      /* what a word here is, for a complaint */
	enum match help_match;
	int (*alone)(struct context *ctx, const struct menu *menu); /* no word is left */
	const struct command *commands; /* ends with an empty row */
};

extern const struct menu menu_top;

/**
 * menu_run() - find the command that words name, and run it.
 * Return: 0, or a negative errno after a complaint.
 */
int menu_run(struct context *ctx, const struct menu *menu, struct words *words);

/** menu_help() - print the usage of a menu's commands, and of those below them, on stderr. */
void menu_help(const struct menu *menu);

/** report() - say why something failed, on stderr. Return: @error. */
int report(int error, const struct fault *why);

/**
 * take_name() - make the next word a fact, if there is one.
 * @key: of the fact: "name" or "handle"
 * Return: 0, or -EINVAL after a complaint.
 */
int take_name(const struct command *command, struct words *words, const char *key, json_t *facts);

/** take_device() - the same for "name", and a word has to be there. */
int take_device(const struct command *command, struct words *words, json_t *facts);

/** print_section() - print {"SECTION": items}; takes @items. */
void print_section(struct context *ctx, const char *section, json_t *items);

int run_show(struct context *ctx, const struct command *command, struct words *words);
int run_vstats(struct context *ctx, const struct command *command, struct words *words);
int run_change(struct context *ctx, const struct command *command, struct words *words);
int run_dump(struct context *ctx, const struct command *command, struct words *words);
int run_monitor(struct context *ctx, const struct command *command, struct words *words);

#endif

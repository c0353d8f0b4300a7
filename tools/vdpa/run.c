/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers of commands that ask once and print once. With JSON the section is printed even when
 * asking failed, with what is known: a program that reads it always gets an object.
 */
#include <errno.h>
#include <stdio.h>

#include "tools/vdpa/command.h"
#include "tools/vdpa/text.h"

int report(int error, const struct fault *why)
{
	complain("%s", why->text);
	return error;
}

void print_section(struct context *ctx, const char *section, json_t *items)
{
	json_auto_t *object = json_pack("{s:o}", section, items);

	json_print(object, ctx->form, stdout);
	ctx->printed = true;
}

static void print_items(struct context *ctx, const struct view *view, const json_t *list)
{
	json_t *items = ctx->json ? json_object() : NULL, *item;
	size_t i;

	json_array_foreach(list, i, item) {
		if (ctx->json)
			json_object_set_new(items, json_text(item, view->name),
				view_json(view, item));
		else
			view_text(view, item, stdout);
	}
	if (ctx->json)
		print_section(ctx, view->section, items);
}

int take_name(const struct command *command, struct words *words, const char *key, json_t *facts)
{
	const char *word = words_take(words);
	json_t *fact;

	if (!word)
		return 0;
	fact = command->name(key, word);
	if (!fact)
		return -EINVAL;
	return json_object_set_new(facts, key, fact) < 0 ? -EINVAL : 0;
}

int take_device(const struct command *command, struct words *words, json_t *facts)
{
	if (words->n > 0)
		return take_name(command, words, "name", facts);
	complain("String parameter expected");
	return -EINVAL;
}

int run_show(struct context *ctx, const struct command *command, struct words *words)
{
	json_auto_t *facts = json_object(), *list = NULL;
	struct fault why;
	int r = take_name(command, words, command->view->name, facts);

	if (r == 0)
		r = words_end(words);
	if (r < 0)
		return r;
	r = backends_show(&ctx->options, command->view->op, facts, &list, &why);
	print_items(ctx, command->view, list);
	return r < 0 ? report(r, &why) : 0;
}

int run_vstats(struct context *ctx, const struct command *command, struct words *words)
{
	json_auto_t *facts = json_object(), *queues = NULL;
	enum vstats_form form = words->n == 1 ? VSTATS_ALL : VSTATS_ONE;
	json_t *devices;
	const char *name;
	struct fault why;
	int r;

	if (words->n != 1 && words->n != 3) {
		fprintf(stderr, "Usage: vdpa dev vstats %s\n", command->usage);
		return -EINVAL;
	}
	r = take_device(command, words, facts);
	if (r == 0)
		r = keywords_read(command->keywords, words, facts);
	if (r < 0)
		return r;
	name = json_text(facts, "name");
	r = backends_ask(&ctx->options, OP_DEV_VSTATS, facts, &queues, &why);
	if (ctx->json) {
		devices = json_object();
		if (r == 0)
			json_object_set_new(devices, name, vstats_json(queues, form));
		print_section(ctx, "vstats", devices);
	} else if (r == 0) {
		vstats_text(name, queues, form, stdout);
	}
	return r < 0 ? report(r, &why) : 0;
}

int run_change(struct context *ctx, const struct command *command, struct words *words)
{
	json_auto_t *facts = json_object();
	struct fault why;
	int r = command->name ? take_device(command, words, facts) : 0;

	if (r == 0)
		r = command->keywords ? keywords_read(command->keywords, words, facts) :
					words_end(words);
	if (r < 0)
		return r;
	r = backends_ask(&ctx->options, command->op, facts, NULL, &why);
	return r < 0 ? report(r, &why) : 0;
}

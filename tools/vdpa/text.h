/* SPDX-License-Identifier: BSD-2-Clause */
/* Text from elsewhere on somebody's terminal: nothing in it may steer the terminal. */
#ifndef VDPA_COMMAND_TEXT_H
#define VDPA_COMMAND_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/**
 * text_next() - the character that a text begins with.
 * @text: not empty
 * @ret:  its code point, or U+FFFD where there is no UTF-8
 * Return: its size in bytes, at least 1.
 */
size_t text_next(const char *text, uint32_t *ret);

/** text_steers() - true for control characters, and for those that change the direction of text. */
bool text_steers(uint32_t character);

/** text_put() - print with a '?' for each character that steers, and for what is not UTF-8. */
void text_put(const char *text, FILE *file);

/** complain() - a line on stderr, as text_put() prints it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

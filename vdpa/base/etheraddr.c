/* SPDX-License-Identifier: BSD-2-Clause */
/* Ethernet addresses: strict in, one form out. */
#include "vdpa/base/etheraddr.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One or two digits; returns how many were there. */
static int group(const char *text, uint8_t *ret)
{
	int high = digit(text[0]), low;

	if (high < 0)
		return 0;
	low = digit(text[1]);
	*ret = (uint8_t)(low < 0 ? high : high << 4 | low);
	return low < 0 ? 1 : 2;
}

int etheraddr_parse(const char *text, uint8_t ret[ETHERADDR_SIZE])
{
	uint8_t mac[ETHERADDR_SIZE];

	for (int i = 0; i < ETHERADDR_SIZE; i++) {
		int n = group(text, &mac[i]);
		char end = i < ETHERADDR_SIZE - 1 ? ':' : '\0';

		if (n == 0 || text[n] != end)
			return -EINVAL;
		text += n + 1;
	}
	memcpy(ret, mac, sizeof(mac));
	return 0;
}

void etheraddr_format(const uint8_t mac[ETHERADDR_SIZE], char ret[ETHERADDR_TEXT_SIZE])
{
	snprintf(ret, ETHERADDR_TEXT_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
}

bool etheraddr_is_zero(const uint8_t mac[ETHERADDR_SIZE])
{
	static const uint8_t zero[ETHERADDR_SIZE];

	return memcmp(mac, zero, sizeof(zero)) == 0;
}

bool etheraddr_ok_for_device(const uint8_t mac[ETHERADDR_SIZE])
{
	return !etheraddr_is_zero(mac) && !(mac[0] & 1);
}

int etheraddr_random(uint8_t ret[ETHERADDR_SIZE])
{
	uint8_t mac[ETHERADDR_SIZE];

	if (getrandom(mac, sizeof(mac), 0) != (ssize_t)sizeof(mac))
		return -errno;
	mac[0] = (uint8_t)((mac[0] & ~1) | 2);
	memcpy(ret, mac, sizeof(mac));
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost-user messages of a front-end, for measuring back-ends: whatever goes wrong ends the program. */
#ifndef TOOLS_BENCH_MESSAGES_H
#define TOOLS_BENCH_MESSAGES_H

#include <linux/vhost.h>
#include <stddef.h>
#include <stdint.h>

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_LOG_BASE = 6,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	SET_BACKEND_REQ_FD = 21,
	SET_STATUS = 39,
	GET_STATUS = 40,
};

#define PROTOCOL_MQ	   (1ULL << 0)
#define PROTOCOL_LOG_SHMFD (1ULL << 1)
#define PROTOCOL_REPLY_ACK (1ULL << 3)
#define PROTOCOL_BACKEND   (1ULL << 5)
#define PROTOCOL_STATUS	   (1ULL << 16)

#define FLAG_VERSION	1U
#define FLAG_NEED_REPLY 8U

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct {
			uint32_t n, pad;
			uint64_t gpa, size, uva, offset;
		} table;
		struct {
			uint64_t size, offset;
		} log;
	};
} __attribute__((packed));

#define HEADER offsetof(struct message, u64)

/** die() - say what failed, with errno, and end. */
_Noreturn void die(const char *what);

uint64_t now_ns(void);

/** dial() - connect to the back-end at @path. Return: the socket. */
int dial(const char *path);

/** message_send() - send @msg to the back-end at @sock, with @fd unless it is -1. */
void message_send(int sock, const struct message *msg, int fd);

/** message_receive() - the answer to @request. Return: its 64-bit word; 0 when it has none. */
uint64_t message_receive(int sock, uint32_t request);

#endif

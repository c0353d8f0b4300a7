/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handlers that the table names. Each gets a message whose row's preconditions hold, and the
 * index of the ring it is about (0 if none). It changes working copies only; the dispatcher
 * commits them, or rolls them back when the handler returns an error.
 *
 * Return: 0; -EINVAL, -EBUSY, -EOPNOTSUPP, -ENOSPC, -EMFILE: refused; -EIO: the device failed,
 * what the state says about that is kept.
 */
#ifndef PROTOCOL_HANDLERS_H
#define PROTOCOL_HANDLERS_H

#include "protocol/session.h"

/** session_reply() - the body of the reply, copied; @size at most sizeof(struct wire_config). */
void session_reply(struct session *s, const struct message *m, const void *body, size_t size);

/**
 * session_reply_fd() - as session_reply(), with a descriptor.
 * @fd: taken, also on failure. Return: 0; -EMFILE.
 */
int session_reply_fd(struct session *s, const struct message *m, const void *body, size_t size, int fd);

/** session_forget_reply() - none is due. */
void session_forget_reply(struct session *s);

/* negotiate.c */
uint64_t offered_features(const struct session *s);
int on_get_features(struct session *s, struct message *m, uint32_t ring);
int on_set_features(struct session *s, struct message *m, uint32_t ring);
int on_get_protocol_features(struct session *s, struct message *m, uint32_t ring);
int on_set_protocol_features(struct session *s, struct message *m, uint32_t ring);
int on_set_owner(struct session *s, struct message *m, uint32_t ring);
int on_reset_owner(struct session *s, struct message *m, uint32_t ring);
int on_get_queue_num(struct session *s, struct message *m, uint32_t ring);
int on_get_status(struct session *s, struct message *m, uint32_t ring);
int on_set_status(struct session *s, struct message *m, uint32_t ring);
int on_reset_device(struct session *s, struct message *m, uint32_t ring);

/* memory.c */
int check_mem_table_size(const struct message *m);
int on_set_mem_table(struct session *s, struct message *m, uint32_t ring);
int on_get_max_mem_slots(struct session *s, struct message *m, uint32_t ring);
int on_add_mem_reg(struct session *s, struct message *m, uint32_t ring);
int on_rem_mem_reg(struct session *s, struct message *m, uint32_t ring);

/* rings.c */
int on_set_vring_num(struct session *s, struct message *m, uint32_t ring);
int on_set_vring_addr(struct session *s, struct message *m, uint32_t ring);
int on_set_vring_base(struct session *s, struct message *m, uint32_t ring);
int on_get_vring_base(struct session *s, struct message *m, uint32_t ring);
int on_set_vring_kick(struct session *s, struct message *m, uint32_t ring);
int on_set_vring_call(struct session *s, struct message *m, uint32_t ring);
int on_set_vring_err(struct session *s, struct message *m, uint32_t ring);
int on_set_vring_enable(struct session *s, struct message *m, uint32_t ring);

/* inband.c */
int on_vring_kick(struct session *s, struct message *m, uint32_t ring);

/* logging.c */
int on_set_log_base(struct session *s, struct message *m, uint32_t ring);
int on_set_log_fd(struct session *s, struct message *m, uint32_t ring);

/* iotlb.c */
int check_iotlb_size(const struct message *m);
int on_iotlb_msg(struct session *s, struct message *m, uint32_t ring);

/* inflight.c */
int check_inflight_size(const struct message *m);
int on_get_inflight_fd(struct session *s, struct message *m, uint32_t ring);
int on_set_inflight_fd(struct session *s, struct message *m, uint32_t ring);

/* transfer.c */
int on_set_device_state_fd(struct session *s, struct message *m, uint32_t ring);
int on_check_device_state(struct session *s, struct message *m, uint32_t ring);

/* postcopy.c */
int on_postcopy_advise(struct session *s, struct message *m, uint32_t ring);
int on_postcopy_listen(struct session *s, struct message *m, uint32_t ring);
int on_postcopy_end(struct session *s, struct message *m, uint32_t ring);

/** postcopy_answer_table() - a memory table while the front-end listens. Return: as a handler. */
int postcopy_answer_table(struct session *s, const struct message *m, const struct memory_table *table);

/** postcopy_answer_region() - one region, which is in the device's table, as postcopy_answer_table(). */
int postcopy_answer_region(struct session *s, const struct message *m, const struct memory_region *region);

/** postcopy_expects_ack() - is @m, whatever it is, to be taken for postcopy_take_ack()? */
bool postcopy_expects_ack(const struct session *s, const struct message *m);

/** postcopy_take_ack() - what has to follow that answer. Return: 0; -EBADMSG it is none; -EIO. */
int postcopy_take_ack(struct session *s, const struct message *m);

/** postcopy_deadline_ns() - until when it has to be there, CLOCK_MONOTONIC; 0: it is not awaited. */
uint64_t postcopy_deadline_ns(const struct session *s);

/* net.c */
int check_config_size(const struct message *m);
int on_send_rarp(struct session *s, struct message *m, uint32_t ring);
int on_net_set_mtu(struct session *s, struct message *m, uint32_t ring);
int on_set_backend_req_fd(struct session *s, struct message *m, uint32_t ring);
int on_get_config(struct session *s, struct message *m, uint32_t ring);
int on_set_config(struct session *s, struct message *m, uint32_t ring);

#endif

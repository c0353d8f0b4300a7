/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests of our own to the front-end. Source: vhost-user, "Back-end message types". */
#ifndef PROTOCOL_BACKEND_H
#define PROTOCOL_BACKEND_H

/**
 * backend_config_change() - BACKEND_CONFIG_CHANGE_MSG.
 * @sock: the channel of SET_BACKEND_REQ_FD; -1: there is none
 *
 * Never waits, asks for no reply; a front-end that reads nothing loses the message.
 */
void backend_config_change(int sock);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What concerns a network device as such: its MAC, MTU, configuration space, and the channel on
 * which the front-end is told of changes.
 *
 * Source: vhost-user specification, VHOST_USER_SEND_RARP, _NET_SET_MTU, _SET_BACKEND_REQ_FD,
 * _GET_CONFIG, _SET_CONFIG; virtio 1.2, 5.1.4 "Device configuration layout".
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/handlers.h"
#include "vdpa/base/bits.h"

#define MTU_MIN 68

static bool mac_ok(const uint8_t mac[6])
{
	static const uint8_t none[6];

	return !(mac[0] & 1) && memcmp(mac, none, sizeof(none)) != 0;
}

int on_send_rarp(struct session *s, struct message *m, uint32_t ring)
{
	return mac_ok(m->payload.bytes) ? device_announce(s->device, m->payload.bytes) : -EINVAL;
}

int on_net_set_mtu(struct session *s, struct message *m, uint32_t ring)
{
	uint64_t mtu = m->payload.u64;

	if (mtu < MTU_MIN || mtu > UINT16_MAX)
		return -EINVAL;
	return device_set_mtu(s->device, (uint16_t)mtu);
}

static int socket_option(int fd, int option)
{
	socklen_t size = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

int on_set_backend_req_fd(struct session *s, struct message *m, uint32_t ring)
{
	int slot;

	if (socket_option(m->fds[0], SO_TYPE) != SOCK_STREAM ||
		socket_option(m->fds[0], SO_DOMAIN) != AF_UNIX)
		return -EINVAL;
	slot = fdstore_add(s->transaction.fds, message_take_fd(m, 0));
	if (slot < 0)
		return slot;
	fdstore_remove(s->transaction.fds, s->state->backend_slot);
	s->state->backend_slot = slot;
	return 0;
}

int check_config_size(const struct message *m)
{
	uint32_t size = m->payload.config.size;

	return size <= WIRE_MAX_CONFIG && m->header.size == WIRE_CONFIG_HEAD + size ? 0 : -EBADMSG;
}

/* Where a message's bytes lie in the configuration. Return: 0; -EINVAL: not all in it. */
static int check_config_range(const struct wire_config *config)
{
	return (uint64_t)config->offset + config->size <= sizeof(struct virtio_net_config)
		       ? 0
		       : -EINVAL;
}

/* Only a driver that has a control queue of ours can acknowledge it. */
static bool must_announce(const struct session *s, const struct driver_net_config *config)
{
	return config->announce && device_control_ring(s->device) != UINT32_MAX &&
	       s->device->state->features & BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE);
}

static int read_config(struct session *s, struct virtio_net_config *ret)
{
	struct driver_net_config config;
	int r = device_net_config(s->device, &config);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->mac, config.mac, sizeof(ret->mac));
	ret->status = htole16((uint16_t)((config.link_up ? VIRTIO_NET_S_LINK_UP : 0) |
					 (must_announce(s, &config) ? VIRTIO_NET_S_ANNOUNCE : 0)));
	ret->max_virtqueue_pairs = htole16((uint16_t)device_pairs(s->device));
	ret->mtu = htole16(config.mtu);
	ret->speed = htole32((uint32_t)-1); /* unknown */
	ret->duplex = UINT8_MAX;	    /* unknown */
	return 0;
}

int on_get_config(struct session *s, struct message *m, uint32_t ring)
{
	struct wire_config reply = m->payload.config;
	struct virtio_net_config config;
	int r = check_config_range(&reply);

	if (r == 0)
		r = read_config(s, &config);
	if (r < 0)
		return r;
	memcpy(reply.bytes, (uint8_t *)&config + reply.offset, reply.size);
	session_reply(s, m, &reply, WIRE_CONFIG_HEAD + reply.size);
	return 0;
}

/*
 * The configuration of a modern network device has no field that its driver may write. A migration
 * may repeat what is there already; anything else would be a device that differs from the
 * configured one.
 */
int on_set_config(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_config *wire = &m->payload.config;
	struct virtio_net_config config;
	int r = check_config_range(wire);

	if (r < 0 || wire->flags != WIRE_CONFIG_F_MIGRATION)
		return -EINVAL;
	r = read_config(s, &config);
	if (r < 0)
		return r;
	return memcmp(wire->bytes, (uint8_t *)&config + wire->offset, wire->size) == 0 ? 0 : -EINVAL;
}

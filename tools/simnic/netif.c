/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A packet socket that receives nothing: it stands for our membership among those who want all
 * frames of the interface, and carries requests about its state. The interface keeps its name in
 * it: one that is deleted and made again is another one, and reads as gone until then.
 */
#include "tools/simnic/netif.h"

#include <dirent.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

/* For a ring of 512 frames of 2048 bytes, and what the kernel counts besides for each; it doubles this. */
#define SEND_BUFFER (2 << 20)

int netif_open(struct netif *n, unsigned int index)
{
	const struct packet_mreq all = { .mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC };
	_cleanup_close_ int sock = -1;

	n->sock = -1;
	if (index == 0)
		return 0;
	sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (sock < 0 || !if_indextoname(index, n->name) ||
		setsockopt(sock, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0)
		return -errno;
	n->sock = TAKE_FD(sock);
	return 0;
}

static void enlarge_buffer(int fd)
{
	int domain, size = SEND_BUFFER;
	socklen_t n = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 || domain != AF_PACKET)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		log_warning("the uplink may hold frames back until others follow: %s", strerror(errno));
}

void netif_let_all_be_sent(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		enlarge_buffer(atoi(entry->d_name));
	if (dir)
		closedir(dir);
}

void netif_close(struct netif *n)
{
	n->sock = close_keep_errno(n->sock);
}

bool netif_running(const struct netif *n)
{
	const short all = IFF_UP | IFF_RUNNING;
	struct ifreq r = { 0 };

	memcpy(r.ifr_name, n->name, sizeof(n->name));
	return ioctl(n->sock, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & all) == all;
}

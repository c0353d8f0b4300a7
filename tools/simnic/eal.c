/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DPDK's environment, kept small: no huge pages unless asked for, no PCI scan unless the uplink is
 * a PCI device, no files and no telemetry socket. The main thread may run on any CPU; data threads
 * are made by us and registered later.
 *
 * Frames live in the switch for one burst only, so the memory for them is a burst of the largest
 * ones for each thread, and what an uplink's receive ring holds.
 */
#include "tools/simnic/eal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include "tools/simnic/frame.h"
#include "tools/simnic/nic.h"

#define FRAMES_PER_THREAD 2048
#define FRAMES_OF_UPLINK  2048
#define FRAMES_CACHED	  256
#define FRAME_MEMORY	  4096	 /* a frame, and no frame lies in two pages */
#define OTHER_MEMORY_MB	  16	 /* DPDK's own, and a port's */

static unsigned int n_frames(const struct options *o)
{
	unsigned int n = (o->threads + 1) * FRAMES_PER_THREAD;

	if (o->uplink >= UPLINK_TAP)
		n += FRAMES_OF_UPLINK;
	return n;
}

/* Memory of the heap in MiB: what was asked for, or more when the frames need it. */
static unsigned int memory_mb(const struct options *o)
{
	unsigned int least = (unsigned int)((uint64_t)n_frames(o) * FRAME_MEMORY >> 20) +
			     OTHER_MEMORY_MB;

	return o->memory_mb > least ? o->memory_mb : least;
}

/* An address on the PCI bus, as in 0000:03:00.0; other devices are virtual ones of DPDK. */
static bool is_pci(const struct options *o)
{
	size_t name = strcspn(o->uplink_arg ? o->uplink_arg : "", ",");

	return o->uplink == UPLINK_DEV && memchr(o->uplink_arg, ':', name) &&
	       strspn(o->uplink_arg, "0123456789abcdefABCDEF:.") >= name;
}

/* The port's option and its value, the latter in @text or NULL. */
static const char *port_option(const struct options *o, char *text, size_t size)
{
	switch (o->uplink) {
	case UPLINK_TAP:
		snprintf(text, size, "net_tap0,iface=%s", o->uplink_arg);
		return "--vdev";
	case UPLINK_AF_PACKET:
		snprintf(text, size, "net_af_packet0,iface=%s", o->uplink_arg);
		return "--vdev";
	case UPLINK_DEV:
		snprintf(text, size, "%s", o->uplink_arg);
		return is_pci(o) ? "-a" : "--vdev";
	case UPLINK_NONE:
	case UPLINK_LOOP:
		break;
	}
	return NULL;
}

int eal_start(const struct options *o, struct rte_mempool **ret)
{
	char lcores[32], memory[16], prefix[32], port[SIM_NAME_SIZE * 5];
	const char *argv[20] = { "simnic" };
	const char *option = port_option(o, port, sizeof(port));
	int argc = 1, r;

	snprintf(lcores, sizeof(lcores), "0@(0-%ld)", sysconf(_SC_NPROCESSORS_CONF) - 1);
	snprintf(memory, sizeof(memory), "%u", memory_mb(o));
	snprintf(prefix, sizeof(prefix), "simnic%d", (int)getpid());
	argv[argc++] = "--lcores";
	argv[argc++] = lcores;
	argv[argc++] = "-m";
	argv[argc++] = memory;
	argv[argc++] = "--no-telemetry";
	argv[argc++] = "--file-prefix";
	argv[argc++] = prefix;
	argv[argc++] = "--log-level";
	argv[argc++] = o->log_level == LOG_LEVEL_DEBUG ? "lib.eal:info" : "*:error";
	if (o->hugepages)
		argv[argc++] = "--in-memory";
	else
		argv[argc++] = "--no-huge";
	if (!o->hugepages)
		argv[argc++] = "--no-shconf";
	if (!is_pci(o))
		argv[argc++] = "--no-pci";
	if (option) {
		argv[argc++] = option;
		argv[argc++] = port;
	}

	r = rte_eal_init(argc, (char **)(uintptr_t)argv);
	if (r < 0) {
		log_error("DPDK does not start: %s%s", rte_strerror(rte_errno),
			o->hugepages ? "; are huge pages set up (vm.nr_hugepages)?" : "");
		if (option)
			log_error("uplink %s: does the interface or device exist?",
				o->uplink_text);
		return -rte_errno;
	}
	*ret = rte_pktmbuf_pool_create("frames", n_frames(o), FRAMES_CACHED, 0, FRAME_DATA_ROOM,
		SOCKET_ID_ANY);
	if (!*ret) {
		log_error("no memory for %u frames: %s; try a larger --memory", n_frames(o),
			rte_strerror(rte_errno));
		return -rte_errno;
	}
	return 0;
}

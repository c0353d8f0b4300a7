/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interface of simnic, the software SmartNIC: what a datasheet is to a piece of hardware.
 *
 * Two kinds of SOCK_SEQPACKET sockets carry fixed-form messages; each request gets exactly one
 * reply, in order, with the same @seq:
 *
 *   admin    RUN/sim/NAME.sock, used by vdpad only: functions are added, removed and changed.
 *   mailbox  one per function, handed out by the admin replies: the sim driver programs queues.
 *
 * And one shared memory file per function, its BAR: doorbells, and registers that the device
 * writes (queue positions, counters, state). Numbers are in host byte order.
 *
 * Guest memory: the device reaches only what SIM_MAP made known to this function. All ring
 * addresses and buffer addresses are IOVAs looked up in that table, over their full length. An
 * access outside it stops that queue with SIM_QUEUE_ERROR and signals its err eventfd.
 *
 * With VIRTIO_F_ACCESS_PLATFORM there is a stage before that: what the guest's driver calls an address
 * is looked up in the function's IOTLB, filled by SIM_IOTLB_UPDATE, whose entries lead to addresses in
 * that table. A queue that needs an address which is not there waits, says so in its struct sim_miss,
 * and goes on after the next SIM_IOTLB_UPDATE; frames for it wait too, as far as there is room. One that
 * may not access what is there so is stopped as above. The device forgets the oldest entries, but those
 * of rings that are prepared, when it has no room for more.
 *
 * A function whose features have VIRTIO_NET_F_CTRL_VQ has one queue more, its control queue, which is the
 * last one: index 2 * pairs, whatever a guest's driver negotiates. What the driver sets there holds
 * until SIM_RESET or SIM_SET_CONTROL, has effect as far as its features were negotiated, and is to be
 * read in the BAR.
 *
 * Events: the device may send a message with command SIM_EVENT and seq 0 on the mailbox at any
 * time (link or configuration changed, queue error).
 *
 * A mailbox whose last descriptor is closed resets its function. SIM_ADMIN_ATTACH replaces the
 * mailbox: the function is reset and the old mailbox reads end-of-file.
 */
#ifndef DRIVERS_SIM_MAILBOX_H
#define DRIVERS_SIM_MAILBOX_H

#include <stdint.h>

#include "vdpa/base/bits.h"

#define SIM_INTERFACE_VERSION 1

#define SIM_MAX_PAIRS  64
#define SIM_MAX_QUEUES (2 * SIM_MAX_PAIRS) /* even: receive, odd: transmit (virtio-net) */
#define SIM_MAX_CONTROL_PAIRS (SIM_MAX_PAIRS - 1) /* of a function with a control queue, a queue too */
#define SIM_MAX_QUEUE_SIZE 32768
#define SIM_MAX_REGIONS (509 + SIM_MAX_QUEUES) /* all of a guest's memory slots, and a shadow ring for each queue */
#define SIM_NAME_SIZE  64 /* with the ending zero byte */

/* ---------------------------------------------------------------- the BAR */

#define SIM_BAR_REGS_OFFSET	4096	 /* struct sim_regs */
#define SIM_BAR_CONTROL_OFFSET	16384	 /* struct sim_control_regs */
#define SIM_BAR_SIZE		(32 * 1024)

/* The doorbell page is a file of its own, SIM_DOORBELL_SIZE bytes, since a guest may write to all of it.
 * What is written there, and where, does not matter, and wakes nobody: the device polls a function whose
 * SIM_DOORBELL is on. */
#define SIM_DOORBELL_SIZE 4096

enum sim_queue_status {
	SIM_QUEUE_DISABLED = 0,
	SIM_QUEUE_PREPARED,	/* programmed, does not touch memory */
	SIM_QUEUE_RUNNING,
	SIM_QUEUE_ERROR,	/* a ring broke the rules, or memory failed; needs SIM_STOP */
};

/*
 * One queue's registers, a cache line, written by the device only.
 *
 * A position is one word. Split: bits 0-15 next available index, bits 16-31 next used index, both
 * free-running. Packed: as vhost-user's vring base: bits 0-14 available position, bit 15 its wrap
 * counter, bits 16-30 used position, bit 31 its wrap counter.
 *
 * The device stores @next_position before it publishes completions in the ring and @position
 * after. When it dies between the two, the ring tells which one holds: split, the used index in
 * the ring; packed, whether the descriptor at @position's used position is marked used with
 * @position's used wrap counter. What is not published was not consumed, and the available position
 * to resume from is the used position, unless there are chains in flight: where these are in the
 * ring nobody knows but the device. SIM_STOP gives them back first.
 */
struct sim_queue_regs {
	uint32_t status;	/* enum sim_queue_status */
	uint32_t position;
	uint32_t next_position;
	uint32_t in_flight;	/* chains that were taken, and come back in any order */
	uint64_t received_desc;	 /* chains taken from the available ring */
	uint64_t completed_desc; /* chains given back */
	uint64_t bytes;		 /* payload, without the virtio-net header */
	uint64_t drops;		 /* frames lost at this queue: no buffer, bad chain */
	uint64_t errors;	 /* ring errors */
	uint64_t calls;		 /* call eventfd signalled */
};

enum sim_function_status {
	SIM_FUNCTION_OK = 0,
	SIM_FUNCTION_FAILED = 1,  /* memory vanished under it (truncated file); needs SIM_RESET */
};

enum sim_miss_state {
	SIM_MISS_NONE = 0,
	SIM_MISS_WAITS,	  /* for SIM_IOTLB_UPDATE with @iova, for @perm */
	SIM_MISS_REFUSED, /* stopped: @iova is there, and not for @perm */
};

/* What a queue could not translate. */
struct sim_miss {
	uint64_t iova;
	uint32_t perm;	/* SIM_PERM_ */
	uint32_t state; /* enum sim_miss_state, written last */
};

struct sim_regs {
	uint32_t version;	/* SIM_INTERFACE_VERSION */
	uint32_t status;	/* enum sim_function_status */
	uint32_t link_up;	/* 0 or 1 */
	uint32_t config_generation;
	uint64_t rx_frames, rx_bytes;	/* towards the guest */
	uint64_t tx_frames, tx_bytes;	/* from the guest */
	uint64_t spoof_drops;	/* frames whose source MAC is not the function's */
	uint64_t flood_drops;	/* frames beyond the flood limit */
	uint64_t no_queue_drops; /* frames for a function without a running receive queue */
	uint64_t last_spoof_mac; /* bytes 0-5: source of the last spoofed frame */
	uint64_t filter_drops;	/* frames that the guest's driver does not want, see struct sim_control */
	uint8_t pad[64 - 24];
	struct sim_queue_regs queues[SIM_MAX_QUEUES];
	struct sim_miss misses[SIM_MAX_QUEUES];
};

#define SIM_CONTROL_MACS  64   /* addresses of each of the two tables */
#define SIM_CONTROL_VLANS 4096 /* VLAN identifiers */

#define SIM_CONTROL_PROMISC	   BIT(0) /* modes: virtio 1.2, 5.1.6.5.1 */
#define SIM_CONTROL_ALLMULTI	   BIT(1)
#define SIM_CONTROL_ALLUNI	   BIT(2)
#define SIM_CONTROL_NOMULTI	   BIT(3)
#define SIM_CONTROL_NOUNI	   BIT(4)
#define SIM_CONTROL_NOBCAST	   BIT(5)
#define SIM_CONTROL_MORE_UNICAST   BIT(6) /* the table is longer than ours: all of that kind pass */
#define SIM_CONTROL_MORE_MULTICAST BIT(7)
#define SIM_CONTROL_FILTERS	   BIT(8) /* addresses matter: the driver set a mode or a table */
#define SIM_CONTROL_MAC		   BIT(9) /* @mac was set */
#define SIM_CONTROL_OFFLOADS	   BIT(10) /* @offloads were set */
#define SIM_CONTROL_ANNOUNCE	   BIT(11) /* the guest is asked to announce itself */
#define SIM_CONTROL_ALL		   (BIT(12) - 1)

/* What a guest's driver set through the control queue; zeros: nothing. */
struct sim_control {
	uint32_t flags;	      /* SIM_CONTROL_ */
	uint16_t pairs;	      /* that frames are spread over; 0: not set, which is one */
	uint16_t n_unicast;   /* SIM_CONTROL_MACS at most */
	uint16_t n_multicast;
	uint8_t mac[6];
	uint64_t offloads;    /* virtio feature bits */
	uint64_t vlans[SIM_CONTROL_VLANS / 64];
	uint8_t unicast[SIM_CONTROL_MACS][6];
	uint8_t multicast[SIM_CONTROL_MACS][6];
};

/* The device writes the copy that is not in use, and then @current, so that it may die at any time. */
struct sim_control_regs {
	uint32_t current; /* index into @copies */
	uint32_t pad;
	struct sim_control copies[2];
};

/* ----------------------------------------------------------- the messages */

enum sim_command {
	/* mailbox */
	SIM_HELLO = 1,	   /* reply: sim_hello_reply, fd: BAR */
	SIM_MAP,	   /* sim_map, fd: memory; same request again is accepted. While there is
			    * a log, a writable range beyond it is refused with EINVAL */
	SIM_UNMAP,	   /* sim_map (iova and size of one SIM_MAP); fails with EBUSY while a
			    * running queue's ring lies in it; a prepared queue there becomes
			    * SIM_QUEUE_DISABLED. What is not mapped is accepted */
	SIM_SET_FEATURES,  /* sim_u64: virtio features the driver negotiated; no queue running */
	SIM_PREPARE,	   /* one sim_queue_setup, or up to SIM_PREPARE_MAX with SIM_HELLO_SETS; fds:
			    * those that each one's have_fds names, in its bit order. All or nothing.
			    * A running queue accepts the facts it runs with (position aside), and
			    * refuses others with EBUSY */
	SIM_START,	   /* sim_queue_set; reply: none. All or nothing */
	SIM_STOP,	   /* sim_queue_set; reply: sim_positions. When the reply is sent the device
			    * touches neither ring nor buffers of these queues, which are then
			    * SIM_QUEUE_PREPARED at that position. Queues that do not run answer
			    * their last position */
	SIM_SET_FDS,	   /* sim_queue_fds, fds: those that have_fds names; also while running */
	SIM_GET_CONFIG,	   /* reply: sim_config */
	SIM_SET_MTU,	   /* sim_u64: largest payload, 68..65535 */
	SIM_ANNOUNCE,	   /* sim_u64: MAC in bytes 0-5; the device sends a RARP to the switch */
	SIM_DOORBELL,	   /* sim_u64: 1 polls the function; reply: none, fd: the doorbell page. 0: does
			    * not, and no fd */
	SIM_RESET,	   /* back to the state after SIM_ADMIN_ADD; memory unmapped, no log */
	SIM_SET_LOG,	   /* sim_log, fd: the log; or zeros and no fd: no log. Also while queues run,
			    * see @set_log of vdpa/driver.h. The same request again is accepted */

	/* mailbox: memory whose pages are on their way, where SIM_HELLO_PAGE_FAULTS is set */
	SIM_POSTCOPY_ADVISE, /* reply: none, fd: a userfaultfd for whoever provides the pages. Again:
			      * another one, and the one before is closed; EBUSY once memory is mapped */
	SIM_POSTCOPY_MAP,    /* as SIM_MAP; reply: sim_u64, the address that faults of this memory
			      * will have. Missing pages are not touched, and not asked for yet.
			      * The same request again gets the same answer. EBUSY while there is a
			      * log, or a queue runs in other memory */
	SIM_POSTCOPY_REGISTER, /* from now on missing pages are asked for */
	SIM_POSTCOPY_END,    /* all memory is complete, and is as that of SIM_MAP. Without
			      * SIM_POSTCOPY_ADVISE: accepted, without effect */

	/* mailbox: the function's IOTLB, where SIM_HELLO_IOTLB is set. Refused with EINVAL unless
	 * VIRTIO_F_ACCESS_PLATFORM was negotiated, and with EBUSY when a running queue's ring would be
	 * elsewhere by it; a prepared queue becomes SIM_QUEUE_DISABLED then. SIM_SET_FEATURES forgets
	 * all entries */
	SIM_IOTLB_UPDATE,    /* sim_iotlb: holds from now on, whatever was there */
	SIM_IOTLB_INVALIDATE, /* sim_iotlb (iova and size, which may be UINT64_MAX for all that follows):
			       * when the reply is sent the device uses nothing of it any more */

	/* mailbox: functions with a control queue */
	SIM_SET_CONTROL = 32, /* sim_control: as if the guest's driver had set it, in the place of all that
			      * it did set. EINVAL: counts, flags, or pairs are out of range */

	/* admin */
	SIM_ADMIN_INFO = 64, /* reply: sim_nic_info */
	SIM_ADMIN_ADD,	     /* sim_function; reply: none, fd: the mailbox */
	SIM_ADMIN_ATTACH,    /* sim_function (name counts); reply: none, fd: a new mailbox */
	SIM_ADMIN_DEL,	     /* sim_function (name counts) */
	SIM_ADMIN_SET,	     /* sim_function: mac, mtu, spoof_check, link_up take effect; others must
			      * be as they are */
	SIM_ADMIN_LIST,	     /* sim_u64: index from 0; reply: sim_function, or ENOENT at the end */

	/* device to driver, seq 0, no reply */
	SIM_EVENT = 128,     /* sim_event */
};

struct sim_header {
	uint32_t command; /* enum sim_command; a reply repeats it */
	uint32_t seq;	  /* chosen by the requester, not 0; a reply repeats it */
	int32_t status;	  /* replies: 0 or a negative errno; requests: 0 */
	uint32_t size;	  /* payload bytes that follow, exactly those of the command */
};

struct sim_u64 {
	uint64_t value;
};

struct sim_hello_reply {
	uint32_t version;	/* SIM_INTERFACE_VERSION */
	uint32_t n_queues;	/* 2 * pairs of this function; the control queue does not count */
	uint32_t max_queue_size;
	uint32_t flags;		/* SIM_HELLO_ */
	uint64_t features;	/* virtio features this function offers */
};

#define SIM_HELLO_DIRTY_LOG	1 /* SIM_SET_LOG is there */
#define SIM_HELLO_SHUFFLED	2 /* chains come back in any order */
#define SIM_HELLO_START_INITIAL 4 /* SIM_PREPARE takes the position of a fresh ring only, and SIM_START
				   * no queue that was stopped elsewhere: EINVAL */

#define SIM_HELLO_PAGE_FAULTS 8 /* SIM_POSTCOPY_ commands are there */
#define SIM_HELLO_SETS 16 /* SIM_PREPARE takes several */
#define SIM_HELLO_IOTLB 32 /* SIM_IOTLB_ commands are there */
#define SIM_HELLO_DOORBELL 64 /* SIM_DOORBELL gives a page */
#define SIM_HELLO_SILENT_STOP 128 /* SIM_STOP says no positions: all are 0 */
#define SIM_HELLO_LOG_BUFFERS 512 /* with SIM_HELLO_DIRTY_LOG: what is written of rings is not marked */
#define SIM_HELLO_TOGETHER 256 /* SIM_START of more queues than run, and SIM_STOP of fewer: EOPNOTSUPP */

#define SIM_PERM_READ  1
#define SIM_PERM_WRITE 2

struct sim_map {
	uint64_t iova;
	uint64_t size;	 /* bytes, not 0 */
	uint64_t offset; /* in the file */
	uint32_t perm;	 /* SIM_PERM_ */
	uint32_t pad;
};

struct sim_iotlb {
	uint64_t iova;
	uint64_t size;	  /* bytes, not 0 */
	uint64_t address; /* of SIM_MAP's, where @iova is */
	uint32_t perm;	  /* SIM_PERM_ */
	uint32_t pad;
};

#define SIM_LOG_PAGE 4096 /* bytes of IOVA that one bit stands for */

struct sim_log { /* IOVA a: bit n % 8 of byte n / 8, n = a / SIM_LOG_PAGE */
	uint64_t offset; /* in the file */
	uint64_t size;	 /* bytes */
};

#define SIM_FD_KICK 1 /* bits of have_fds, in this order */
#define SIM_FD_CALL 2
#define SIM_FD_ERR  4

struct sim_queue_setup {
	uint32_t queue;
	uint32_t size;	   /* descriptors */
	uint64_t desc;	   /* IOVA of the descriptor table, or of the packed ring */
	uint64_t driver;   /* available ring, or driver event area */
	uint64_t device;   /* used ring, or device event area */
	uint32_t position; /* see sim_queue_regs; split: the used half must be the ring's. In
			    * memory of SIM_POSTCOPY_MAP it is not looked at: the device takes
			    * it from the ring when that is there */
	uint32_t have_fds; /* SIM_FD_; a missing kick means polling, a missing call no interrupt */
};

#define SIM_PREPARE_MAX 16 /* queues of one SIM_PREPARE */

struct sim_queue_fds {
	uint32_t queue;
	uint32_t change;   /* SIM_FD_ that are replaced by this message */
	uint32_t have_fds; /* SIM_FD_ that come with a descriptor; others of change are removed */
	uint32_t pad;
};

struct sim_queue_set {
	uint64_t bits[SIM_MAX_QUEUES / 64];
};

struct sim_positions {
	uint32_t position[SIM_MAX_QUEUES]; /* as sim_queue_regs; valid for the queues asked for */
};

struct sim_config { /* what virtio-net's configuration space is made from */
	uint8_t mac[6];
	uint16_t mtu;
	uint16_t max_pairs;
	uint16_t link_up;
	uint32_t flags;		/* SIM_CONFIG_ */
};

#define SIM_CONFIG_ANNOUNCE 1 /* the guest is to announce itself, and to acknowledge that */

#define SIM_FUNCTION_SPOOF_CHECK 1 /* flags of sim_function */
#define SIM_FUNCTION_LINK_UP	 2

struct sim_function {
	char name[SIM_NAME_SIZE];
	uint8_t mac[6];
	uint16_t mtu;	    /* 68..65535 */
	uint16_t max_pairs; /* 1..SIM_MAX_PAIRS */
	uint16_t pad;
	uint32_t flags;	    /* SIM_FUNCTION_ */
	uint64_t features;  /* virtio features to offer: a subset of sim_nic_info's; with
			     * VIRTIO_NET_F_CTRL_VQ SIM_MAX_CONTROL_PAIRS are the most */
};

struct sim_nic_info {
	uint32_t version;
	uint32_t max_pairs;
	uint32_t max_queue_size;
	uint32_t n_functions;
	uint64_t features; /* all that a function can offer */
	uint32_t uplink;   /* 0 none, 1 up, 2 down */
	uint32_t pid;
	char uplink_name[SIM_NAME_SIZE];
};

enum sim_event_kind {
	SIM_EVENT_CONFIG = 1, /* mac, mtu or link changed: read SIM_GET_CONFIG */
	SIM_EVENT_QUEUE_ERROR,
	SIM_EVENT_FUNCTION_FAILED,
	SIM_EVENT_MISS, /* a queue waits, see sim_miss */
};

struct sim_event {
	uint32_t kind;	/* enum sim_event_kind */
	uint32_t queue; /* for SIM_EVENT_QUEUE_ERROR and SIM_EVENT_MISS */
};

union sim_payload {
	struct sim_u64 u64;
	struct sim_hello_reply hello;
	struct sim_map map;
	struct sim_iotlb iotlb;
	struct sim_log log;
	struct sim_queue_setup setups[SIM_PREPARE_MAX];
	struct sim_queue_fds fds;
	struct sim_queue_set set;
	struct sim_positions positions;
	struct sim_config config;
	struct sim_control control;
	struct sim_function function;
	struct sim_nic_info info;
	struct sim_event event;
};

struct sim_message {
	struct sim_header header;
	union sim_payload payload;
};

#endif

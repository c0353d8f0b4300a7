/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a vDPA driver implements.
 *
 * One instance drives one device (a virtio-net function of a NIC) for one virtual machine. The
 * core calls it from one thread. A driver has never heard of vhost-user: it gets IOVAs that it
 * mapped before, descriptors that the core owns, and positions as virtio defines them.
 *
 * States of a queue, and the calls that move it:
 *
 *   (unknown) --prepare--> PREPARED --start--> RUNNING --stop--> PREPARED
 *
 * Every call is idempotent: a worker that dies in the middle of one is replaced by another that
 * repeats it. Repeating prepare with the same facts, start of a running queue, stop of a stopped
 * one, map of what is mapped, all succeed and change nothing.
 *
 * Every call returns 0 or a negative errno. -ENODEV says that the device is gone: the core waits for
 * it to come back. -ETIMEDOUT, -EIO and -EPROTO say that it is broken: the core marks it failed until
 * a reset works. Any other error says that the request was refused and that nothing changed. No call
 * takes longer than its deadline in enum driver_deadline.
 */
#ifndef VDPA_DRIVER_H
#define VDPA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "vdpa/control.h"
#include "vdpa/queue.h"

#define DRIVER_MAX_DEVICE_FDS 4

/* A driver's instance; each driver embeds it in its own structure. */
struct driver_device {
	const struct driver_ops *ops;
};

/* Where a device can begin in a ring. */
enum driver_start_position {
	DRIVER_START_ANY,	/* wherever the core says */
	DRIVER_START_INITIAL,	/* only at the position of a fresh ring: @prepare with another one,
				 * and @start of a queue that was stopped at another one, are
				 * refused with -EINVAL */
};

/* What a device marks in a log of its own, see @set_log. */
enum driver_dirty_log {
	DRIVER_LOG_NONE,    /* nothing: it has none */
	DRIVER_LOG_BUFFERS, /* buffers; the core marks what is written of a ring, all of it, when the ring
			     * stops, and when another log or none follows */
	DRIVER_LOG_ALL,	    /* all that it writes */
};

/**
 * struct driver_caps - what the device can do; constant while the instance lives.
 * @features:       virtio feature bits the device offers
 * @n_queues:       queues, receive and transmit together; 2..QUEUE_MAX
 * @control_queue:  there is one queue more, of index @n_queues: virtio-net's control queue, which the
 *                  device serves itself. @features have VIRTIO_NET_F_CTRL_VQ then, and only then
 * @max_queue_size: descriptors, a power of two
 * @start_position: enum driver_start_position
 * @ring_positions: @stop does not say where queues stand, and @lost_position does, by the used ring, also
 *                  after @stop. It can't by a packed ring: the core never gives such a device a guest's
 *                  packed ring, but one of its own
 * @together:       all queues start together, and stop together. @start of others while some run, and
 *                  @stop of some while others run on, are refused with -EOPNOTSUPP
 * @forgets_fds:    an instance that is opened on queues that run knows none of their eventfds, and passes
 *                  no kicks on, until @set_queue_fd has told it
 * @in_order:       the device completes chains in the order it took them, always; a device that
 *                  does not, never offers VIRTIO_F_IN_ORDER
 * @announces:      the device sends what its guest did not, see @announce
 * @page_faults:    the device can work in memory whose pages are still on their way, see
 *                  @postcopy_advise
 * @dirty_log:      enum driver_dirty_log
 * @doorbell:       the device has a page in which a guest may ring itself, see @doorbell
 * @iotlb:          the device translates what the guest's driver calls an address, by a table that the
 *                  core fills, and asks for what is missing; a device that does not, never offers
 *                  VIRTIO_F_ACCESS_PLATFORM. See @iotlb_update
 */
struct driver_caps {
	uint64_t features;
	uint32_t n_queues;
	bool control_queue;
	uint32_t max_queue_size;
	enum driver_start_position start_position;
	bool ring_positions;
	bool together;
	bool forgets_fds;
	bool in_order;
	bool announces;
	bool page_faults;
	enum driver_dirty_log dirty_log;
	bool doorbell;
	bool iotlb;
};

/* The part of virtio-net's configuration that the device decides. */
struct driver_net_config {
	uint8_t mac[6];	    /* as the guest's driver set it last, where it may */
	uint16_t mtu;	    /* bytes of payload; 68..65535 */
	uint16_t max_pairs; /* receive and transmit pairs */
	bool link_up;
	bool announce;	    /* the guest is to announce itself, see CONTROL_ANNOUNCE */
};

#define DRIVER_PERM_READ  1U
#define DRIVER_PERM_WRITE 2U

/**
 * struct driver_map - one range of memory the device may reach.
 * @iova:   first address, as the device sees it
 * @size:   bytes, not 0; @iova + @size does not wrap
 * @fd:     the file behind it; the core's, only lent for the call
 * @offset: where in the file the range begins
 * @perm:   DRIVER_PERM_ bits
 */
struct driver_map {
	uint64_t iova;
	uint64_t size;
	int fd;
	uint64_t offset;
	uint32_t perm;
};

/**
 * struct driver_iotlb - one translation.
 * @iova:    first address, as the guest's driver calls it
 * @size:    bytes, not 0; neither range wraps
 * @address: the same in what @map made known
 * @perm:    DRIVER_PERM_ bits
 */
struct driver_iotlb {
	uint64_t iova;
	uint64_t size;
	uint64_t address;
	uint32_t perm;
};

/**
 * struct driver_miss - an address that a queue could not translate.
 * @iova:    the first one that was needed
 * @perm:    what for, DRIVER_PERM_ bits
 * @refused: it is known, and not for this; the queue was given up. Else the queue waits
 */
struct driver_miss {
	uint64_t iova;
	uint32_t perm;
	bool refused;
};

#define DRIVER_LOG_PAGE 4096U /* bytes of IOVA that one bit of a log stands for */

/**
 * struct driver_log - where the device marks the memory that it writes.
 * @fd:     a memory file (memfd, tmpfs, hugetlbfs), writable; the core's, only lent for the call
 * @offset: where in the file the bits begin, bytes; need not be aligned
 * @size:   bytes, not 0; @offset + @size does not wrap and lies in the file
 *
 * IOVA a is bit n % 8 of byte n / 8, n = a / DRIVER_LOG_PAGE. A bit is set with an atomic OR after
 * the data was written, so that whoever takes the bits with an atomic exchange and reads the pages
 * then, misses nothing. Only the reader clears bits.
 */
struct driver_log {
	int fd;
	uint64_t offset;
	uint64_t size;
};

/**
 * struct driver_queue - all that a queue needs to run.
 * @index:    0 .. n_queues-1; even receives, odd transmits. n_queues: the control queue, which may
 *            have another number for the guest
 * @size:     descriptors, 1..max_queue_size; a power of two unless packed
 * @desc:     IOVA of the descriptor table (packed: of the ring); with VIRTIO_F_ACCESS_PLATFORM, here
 *            and in descriptors, an address that the IOTLB translates to one
 * @driver:   IOVA of the available ring (packed: driver event area)
 * @device:   IOVA of the used ring (packed: device event area)
 * @position: where to begin
 * @kick_fd:  eventfd the guest signals; -1: the device has to poll
 * @call_fd:  eventfd the device signals; -1: it never does
 * @err_fd:   eventfd the device signals when it gives the ring up; -1: none
 *
 * Descriptors are lent for the call; the driver duplicates what it keeps.
 */
struct driver_queue {
	uint16_t index;
	uint32_t size;
	uint64_t desc;
	uint64_t driver;
	uint64_t device;
	struct queue_position position;
	int kick_fd;
	int call_fd;
	int err_fd;
};

enum driver_queue_fd {
	DRIVER_FD_KICK,
	DRIVER_FD_CALL,
	DRIVER_FD_ERR,
};

/* One queue's figures as they stand now. */
struct driver_queue_stats {
	uint64_t received_desc;	 /* chains taken from the ring */
	uint64_t completed_desc; /* chains given back */
	uint64_t bytes;
	uint64_t drops;
	uint64_t errors;
	uint64_t calls;
	struct queue_position position; /* unless caps say @ring_positions */
	bool running;
	bool failed;		 /* the ring broke the rules and was given up */
};

/* The device's own figures as they stand now. */
struct driver_device_stats {
	uint64_t rx_frames, rx_bytes; /* towards the guest */
	uint64_t tx_frames, tx_bytes;
	uint64_t spoof_drops;	      /* source address was not the device's */
	uint64_t flood_drops;
	uint64_t no_queue_drops;
	uint8_t last_spoof_mac[6];
};

enum driver_event_kind {
	DRIVER_EVENT_CONFIG,	  /* driver_net_config changed */
	DRIVER_EVENT_QUEUE_ERROR, /* @queue was given up */
	DRIVER_EVENT_FAILED,	  /* device does not work any more, but answers */
	DRIVER_EVENT_GONE,	  /* device was removed or reset behind our back, or is to be; it reaches
				   * nothing any more */
	DRIVER_EVENT_MISS,	  /* @queue waits for a translation: see @queue_miss */
	DRIVER_EVENT_REPLACED,	  /* first of an instance: queues ran on another device than the one that is
				   * there; @reopen with the same @fds is due, and nothing else may be asked */
};

struct driver_event {
	enum driver_event_kind kind;
	uint16_t queue;
};

/**
 * struct driver_keeper - what the core does for a driver: it keeps what outlives the worker, and knows rings.
 * @state: bytes that the next worker finds again; changes count from the core's next commit
 * @state_size: how many; at least 256; zero for a new device
 * @keep_fd: hand a duplicate of @fd over for safekeeping.
 *           Return: a number >= 0 to put into @state, or a negative errno
 * @get_fd:  the kept descriptor for that number, lent; -1 when there is none
 * @drop_fd: not needed any more
 * @next_available: where the next buffers of a queue that runs will be put, by the ring that the device works
 *           on: for devices that want to hear so with each kick. NULL: this core knows no rings.
 *           Return: 0 with @avail and @avail_wrap of @ret; -ENOENT nobody knows; -EBUSY, -EFAULT the ring
 *           can't be read
 */
struct driver_keeper {
	void *state;
	size_t state_size;
	int (*keep_fd)(struct driver_keeper *keeper, int fd);
	int (*get_fd)(struct driver_keeper *keeper, int number);
	void (*drop_fd)(struct driver_keeper *keeper, int number);
	int (*next_available)(struct driver_keeper *keeper, uint16_t queue, struct queue_position *ret);
};

struct driver_ops {
	const char *name; /* as in `mgmtdev`'s first part: "sim" */

	/**
	 * @open: take a device over, whatever state the last worker left it in.
	 * @fds, @n_fds: what vdpad opened for this driver; lent, valid while the instance lives
	 * @keeper: see above; lives as long as the instance
	 * @ret: the instance, released by @close
	 *
	 * Changes nothing on the device: queues that run go on running.
	 *
	 * Without descriptors: an instance of a device that is gone, by what @keeper has of it. It answers
	 * @caps, @lost_position, @get_control and the figures as they were; all else fails with -ENODEV,
	 * until @reopen. Return: 0; -ENODEV also when nothing was kept; -EOPNOTSUPP of a driver that keeps
	 * nothing: then the next worker of a device with a standby waits for it.
	 * Return: 0; -ENODEV gone; -EPROTO speaks another version; -ETIMEDOUT.
	 */
	int (*open)(const int *fds, size_t n_fds, struct driver_keeper *keeper,
		struct driver_device **ret);

	/** @close: release the instance. The device goes on as it is. Accepts NULL. */
	void (*close)(struct driver_device *device);

	/**
	 * @reopen: the device was replaced behind @fds (it was reset, or its process restarted):
	 * begin anew with the same instance. No map, feature, queue, or log of before is there any
	 * more; positions of before can still be asked for with @lost_position.
	 *
	 * Without any @fds there is no device for now, and the kernel may wait for all to let go of the
	 * one before: descriptors and mappings of it are given up, and -ENODEV is returned.
	 */
	int (*reopen)(struct driver_device *device, const int *fds, size_t n_fds);

	/** @caps: what the device can do; never fails. */
	const struct driver_caps *(*caps)(struct driver_device *device);

	/**
	 * @reset: stop all queues, unmap all memory, end logging, forget features and what was set
	 * through the control queue. Deadline covers an FLR.
	 */
	int (*reset)(struct driver_device *device);

	/**
	 * @set_features: what the guest's driver accepted; a subset of caps' features. No queue
	 * runs. Prepared queues must be prepared again.
	 */
	int (*set_features)(struct driver_device *device, uint64_t features);

	/**
	 * @map: let the device reach a range. Ranges do not overlap.
	 * Return: 0; -EEXIST overlaps; -ENOSPC too many; -EINVAL the file is no memory or too
	 * short, or the range is writable and beyond what the log covers that is in force.
	 */
	int (*map)(struct driver_device *device, const struct driver_map *map);

	/**
	 * @unmap: take a range back, whole as it was mapped; what is not mapped is fine.
	 * Afterwards the device does not reach it; a prepared queue whose ring lay in it has to be
	 * prepared again. Return: 0; -EBUSY when a running queue's ring lies in it.
	 */
	int (*unmap)(struct driver_device *device, uint64_t iova, uint64_t size);

	/**
	 * @set_log: mark all memory that the device writes, or write to another log from now on.
	 * Called only when caps say @dirty_log; may be NULL otherwise. Any queue may run.
	 * @log: NULL: no logging any more; when there is none, that is fine
	 *
	 * From the return on, every write of the device to memory is marked, a receive buffer by
	 * the length that was written: buffers, used entries and indices of split rings,
	 * descriptors of packed ones, event suppression areas. Memory that is mapped meanwhile is
	 * covered as well. A mark of a ring's area may come a moment after its write; all have come
	 * when @stop or @set_log returns. A buffer is marked before it is given back; so of a device
	 * that was lost (see @reopen) only the areas of rings may have pages that were written and
	 * not marked.
	 * With DRIVER_LOG_BUFFERS all this is so of buffers, and of nothing else.
	 *
	 * Afterwards the device writes nothing to the log of before. What it wrote during the call
	 * is marked in one of the two. What was marked stays: the new log is not cleared, and
	 * nothing is copied into it.
	 *
	 * A file that is truncated later fails this device, no other one: DRIVER_EVENT_FAILED, as
	 * with guest memory.
	 *
	 * Return: 0; -EINVAL the file is no memory, is not writable, or is too short, the range is
	 * empty or wraps, or it does not cover a range that is mapped for writing; then the log of
	 * before is still in force.
	 */
	int (*set_log)(struct driver_device *device, const struct driver_log *log);

	/**
	 * @postcopy_advise, @postcopy_map, @postcopy_register, @postcopy_end: memory whose pages
	 * come while the device works already, the ones it asks for first. Called, in this order,
	 * only when caps say @page_faults; may be NULL otherwise.
	 *
	 * A page that is missing and needed stops that queue, and nothing else, until it has come;
	 * who provides the pages reads from a userfaultfd which ones are needed, in addresses of the
	 * process that touches them. The device never makes a missing page itself. @reset forgets
	 * all of this, at once, also when pages never come.
	 *
	 * @postcopy_advise: @ret_fd: the userfaultfd, the caller's. Again: another one; nothing of
	 * the one before is left. Return: 0; -EBUSY memory is mapped by @postcopy_map.
	 *
	 * @postcopy_map: as @map. Nothing is asked for yet, and no page touched. @ret_address: of
	 * the range's first byte, as the userfaultfd will call it. The same range again has the same
	 * address. Ranges are unmapped as ever. Return: as @map; -EINVAL also for memory that can't
	 * be waited for; -EBUSY a queue runs, or there is a log.
	 *
	 * @postcopy_register: from now on pages are asked for. Again after more ranges were mapped.
	 *
	 * Queues that are prepared between @postcopy_map and @postcopy_end take the used index of a
	 * split ring from the ring, once it is there: nobody knows it before. Until then @stop answers
	 * the available index for both.
	 *
	 * @postcopy_end: all pages have come; ranges are as if mapped by @map, queues go on. Without
	 * anything before: no effect.
	 */
	int (*postcopy_advise)(struct driver_device *device, int *ret_fd);
	int (*postcopy_map)(struct driver_device *device, const struct driver_map *map,
		uint64_t *ret_address);
	int (*postcopy_register)(struct driver_device *device);
	int (*postcopy_end)(struct driver_device *device);

	/**
	 * @iotlb_update, @iotlb_invalidate, @queue_miss: the table of translations. Called only when
	 * caps say @iotlb, and the update only with VIRTIO_F_ACCESS_PLATFORM; may be NULL otherwise.
	 * The table is empty after @set_features, @reset and @reopen. The device may forget entries, but
	 * none of prepared queues' rings.
	 *
	 * @iotlb_update: @entry holds from now on, whatever held before for its range. All queues that
	 * wait look again. Return: 0; -EINVAL; -EBUSY a running queue's ring would lie elsewhere by it, or
	 * where the device may not do what it does; a prepared queue has to be prepared again then. Rings
	 * that stay where they are run on.
	 *
	 * @iotlb_invalidate: nothing in [@iova, @iova + @size) is translated any more; @size may reach
	 * beyond the end of the address space. From the return on the device uses nothing of it.
	 * Return: 0; -EBUSY a running queue's ring lies there.
	 *
	 * @queue_miss: what a queue waits for, or was given up for. A queue that waits says so by
	 * DRIVER_EVENT_MISS, once; whoever opens the instance has to ask. A queue that waits can be
	 * stopped. Return: 0; -ENOENT nothing.
	 */
	int (*iotlb_update)(struct driver_device *device, const struct driver_iotlb *entry);
	int (*iotlb_invalidate)(struct driver_device *device, uint64_t iova, uint64_t size);
	int (*queue_miss)(struct driver_device *device, uint16_t queue, struct driver_miss *ret);

	/**
	 * @doorbell: let guests kick all queues by writing to a page, or not any more; their kick eventfds
	 * work as well. Called only when caps say @doorbell; may be NULL otherwise. Off after @reset and
	 * @reopen.
	 * @ret_fd, @ret: with @on: the file, the caller's, and where in it the page of @queue is, one of
	 * the host's pages. Whoever maps it reaches nothing but this device.
	 */
	int (*doorbell)(struct driver_device *device, bool on, uint16_t queue, int *ret_fd,
		uint64_t *ret);

	/**
	 * @prepare: make queues ready, outside any downtime. May be slow.
	 * Return: 0; -EFAULT a ring is not in mapped memory; -EINVAL; -EBUSY one is running with
	 * other facts. After an error queues before the failing one may be prepared.
	 */
	int (*prepare)(struct driver_device *device, const struct driver_queue *queues, size_t n);

	/** @start: run prepared queues. All or none. Incoming flows spread over the receive queues
	 * that run; with VIRTIO_NET_F_CTRL_VQ over those of the pairs that the guest's driver set. */
	int (*start)(struct driver_device *device, const struct queue_set *set);

	/**
	 * @stop: suspend queues, as a set, and say where they stand.
	 * @ret: QUEUE_MAX positions; those of @set's queues are written, unless caps say
	 *       @ring_positions. Afterwards the device
	 *       touches neither ring, buffers, nor call eventfd of these queues. Queues that do
	 *       not run answer their last position. A queue unknown to the device is untouched in
	 *       @ret.
	 *
	 * Chains that the device took from the ring are all given back first, in whatever order it
	 * works; or it takes the last ones back, such that the available position counts those that
	 * were given back and no others. Chains are taken back only from the end: none that was
	 * given back lies behind one that was not. Where a log is in force, all that was written
	 * is marked in it.
	 */
	int (*stop)(struct driver_device *device, const struct queue_set *set,
		struct queue_position *ret);

	/** @set_queue_fd: replace one eventfd, also of a running queue; @fd -1 for none. */
	int (*set_queue_fd)(struct driver_device *device, uint16_t queue, enum driver_queue_fd which,
		int fd);

	/**
	 * @lost_position: where a queue that ran stood when the device was lost. Asked when it is
	 * gone, or after @reopen and before the queue is started again; with @ring_positions of caps
	 * also after @stop.
	 * @queue:  as it was prepared
	 * @packed: ring layout
	 * @ring:   the used ring's or packed ring's bytes in our memory, @size entries, readable;
	 *          hostile
	 * @ret:    written on success only
	 * Return: 0; -ENOENT not known, as when chains were in flight that could have come back in
	 * any order.
	 */
	int (*lost_position)(struct driver_device *device, const struct driver_queue *queue,
		bool packed, const void *ring, struct queue_position *ret);

	/**
	 * @get_control, @set_control: what the guest's driver set through the control queue. Called
	 * only when caps say @control_queue; may be NULL otherwise.
	 *
	 * It has effect as far as its features were negotiated, survives a stop of all queues and
	 * other features, and ends with @reset. A command takes effect before its chain is given back.
	 *
	 * @get_control: as it is now, without waiting for the device; of a device that is lost as it was,
	 * until @reopen. Return: 0; -ENOENT not known.
	 * @set_control: as if the driver had set @state, in the place of all before: for a guest that
	 * arrives, for a device that begins anew, and for another driver that begins, or goes without. The
	 * control queue does not run; others may. What the device may not give to this
	 * guest, as an address that is another's, it keeps and does not use.
	 * Return: 0; -EINVAL counts, pairs, or flags that no driver can set.
	 */
	int (*get_control)(struct driver_device *device, struct control_state *ret);
	int (*set_control)(struct driver_device *device, const struct control_state *state);

	/** @get_config: MAC, MTU, pairs and link as they are now. */
	int (*get_config)(struct driver_device *device, struct driver_net_config *ret);

	/** @set_mtu: largest payload, 68..65535 bytes. Return: 0; -EINVAL beyond the device's. */
	int (*set_mtu)(struct driver_device *device, uint16_t mtu);

	/**
	 * @announce: tell the network where @mac is now (a broadcast RARP).
	 * Called only when caps say @announces; may be NULL otherwise.
	 */
	int (*announce)(struct driver_device *device, const uint8_t mac[6]);

	/** @queue_stats, @device_stats: read without waiting for the device. */
	int (*queue_stats)(struct driver_device *device, uint16_t queue,
		struct driver_queue_stats *ret);
	int (*device_stats)(struct driver_device *device, struct driver_device_stats *ret);

	/**
	 * @event_fd: a descriptor that is readable when @next_event has something; the driver's.
	 * @next_event: take one event without waiting. Return: 0; -EAGAIN none. A driver may use the
	 * call for what it has to do itself, as to pass kicks on to a device that does not look at
	 * eventfds: whoever waits for the device has to call it whenever @event_fd is readable.
	 */
	int (*event_fd)(struct driver_device *device);
	int (*next_event)(struct driver_device *device, struct driver_event *ret);
};

/* Longest time a call may take before the device counts as failed, milliseconds. */
enum driver_deadline {
	DRIVER_DEADLINE_COMMAND = 1000, /* any call but those below */
	DRIVER_DEADLINE_MAP = 5000,	/* pinning gigabytes */
	DRIVER_DEADLINE_RESET = 2000,	/* an FLR takes 100 ms */
};

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the device model share among themselves. */
#ifndef VDPA_DEVICE_INTERNAL_H
#define VDPA_DEVICE_INTERNAL_H

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/device.h"

/** ring_state_init() - nothing is known of it. */
void ring_state_init(struct ring_state *ring);

/**
 * device_section_forget() - what was about a front-end and its guest. What the driver keeps is about the
 * device, whoever used it; figures go on; and the record of a migration is to be read.
 */
void device_section_forget(struct device_section *state);

/**
 * device_check() - sort a driver's error.
 * Return: 0 when the device is gone, which @d notes; -EIO when it failed; else @r, a refusal.
 */
int device_check(struct device *d, int r, const char *what);

/**
 * device_broke() - as device_fail(), where it is the device's fault: if it has a standby that is well, the
 * device counts as lost, and the standby takes over. Return: 0 then; -EIO.
 */
int device_broke(struct device *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** device_make_offer() - what all sides that there are can. */
void device_make_offer(struct device *d, uint64_t features, uint16_t max_pairs);

/** device_signal() - an eventfd that a front-end gave; one that can't be told now is full, or of no use. */
void device_signal(int fd);

/** device_running_rings() - all of them. */
struct queue_set device_running_rings(const struct device *d);

/** device_stop_set() - the front-end takes rings back that run: stop them, and note where they stand. Return: 0 or -EIO. */
int device_stop_set(struct device *d, const struct queue_set *set);

/**
 * device_pause_set() - as device_stop_set(), but the front-end has not taken them back: those that are wanted run
 * again with the next device_update(), as the device then can.
 */
int device_pause_set(struct device *d, const struct queue_set *set);

/** device_pause_all() - device_pause_set() of all rings that run. */
int device_pause_all(struct device *d);

/**
 * device_ring_lost() - a running ring's device is away: find out where it stood, and mark what it wrote there
 * last and may not have marked.
 */
void device_ring_lost(struct device *d, uint32_t index);

/**
 * device_recover() - reset a device that failed, and give it features and memory again.
 * Return: 0: it works, or it is gone, which @d notes; -EIO: it stays failed.
 */
int device_recover(struct device *d);

/* device_failover.c */

/** failover_init() - at device_init(): there is no standby. */
void failover_init(struct device *d);

/** failover_note_failure() - the side that serves does not work; @reason in words. Another one will. */
void failover_note_failure(struct device *d, const char *reason);

/** failover_can() - is there another side that is well? */
bool failover_can(const struct device *d);

/** failover_follow() - change sides if it is due. Return: 0; -EIO when nothing works. */
int failover_follow(struct device *d);

/** failover_announce() - tell the network, once rings run. */
void failover_announce(struct device *d);

/** failover_wants_relay() - rings are relayed because the operator wants it. */
bool failover_wants_relay(const struct device *d);

/* device_control.c */

/** control_init() - at device_init(), when pairs and features are known. */
void control_init(struct device *d);

/** ring_has_use() - is it a queue, with what was negotiated? */
bool ring_has_use(const struct device *d, uint32_t index);

/**
 * rings_prepare(), rings_start(), rings_stop(), ring_set_fd(), ring_stats(), ring_miss(), ring_doorbell(),
 * ring_lost_position() - the driver's calls, for rings by their numbers. Nothing else calls these.
 */
int rings_prepare(struct device *d, const struct driver_queue *rings, size_t n);
int rings_start(struct device *d, const struct queue_set *rings);
int rings_stop(struct device *d, const struct queue_set *rings, struct queue_position *ret);
int ring_set_fd(struct device *d, uint32_t ring, enum driver_queue_fd which, int fd);
int ring_stats(const struct device *d, uint32_t ring, struct driver_queue_stats *ret);
int ring_miss(const struct device *d, uint32_t ring, struct driver_miss *ret);
int ring_doorbell(struct device *d, uint32_t ring, int *ret_fd, uint64_t *ret);
int ring_lost_position(struct device *d, const struct driver_queue *ring, const void *area,
	struct queue_position *ret);

/** control_forget() - another driver begins: nothing is set. */
void control_forget(struct device *d);

/** control_keep() - take what is set out of a device that is lost, before @reopen, or that another replaces. */
void control_keep(struct device *d);

/** control_restore() - give it to the device that came. Return: 0, or a driver's error. */
int control_restore(struct device *d);

/**
 * control_load() - for device_load(). Return: 0; -EOPNOTSUPP there is no control queue; -EBUSY the device is
 * away; -EIO; a refusal. On failure nothing has changed.
 */
int control_load(struct device *d, const struct control_state *state);

/* device_memory.c */

/** memory_driver_map() - a region as a driver wants to know it. */
struct driver_map memory_driver_map(const struct device *d, const struct memory_region *region);

/**
 * memory_give_all() - give features, memory and log to a device that has nothing. Return: 0, or a driver's
 * error.
 */
int memory_give_all(struct device *d);

/** memory_map_all() - let a device that has no memory reach all of it. Return: as @map. */
int memory_map_all(struct device *d);

/* device_postcopy.c */

/** postcopy_map() - map memory that lacks pages. Return: as @postcopy_map. */
int postcopy_map(struct device *d, const struct driver_map *map);

/** postcopy_hides_memory() - the device must not reach any now. */
bool postcopy_hides_memory(const struct device *d);

/** postcopy_holds_rings() - no ring may run now. */
bool postcopy_holds_rings(const struct device *d);

/**
 * postcopy_makes_wait() - a ring needs a relay, which can't wait for pages: it waits for all of them.
 * Return: false: it does not start now.
 */
bool postcopy_makes_wait(struct device *d);

/** postcopy_note_loss() - the device has forgotten all it was told. */
void postcopy_note_loss(struct device *d);

/* device_iotlb.c */

/** device_can_translate() - may such a device be offered with VIRTIO_F_ACCESS_PLATFORM? */
bool device_can_translate(const struct driver_caps *caps);

/** device_translates() - are addresses the driver's, and need a translation? */
bool device_translates(const struct device *d);

/** iotlb_forget() - nothing is translated; the device's own table is empty, or will be. */
void iotlb_forget(struct device *d);

/**
 * iotlb_locate() - where a range is in guest-physical space, in one piece.
 * @perm: DRIVER_PERM_ bits. Return: 0; -EFAULT not known, or not for @perm.
 */
int iotlb_locate(const struct device *d, uint64_t iova, uint64_t size, uint32_t perm, uint64_t *ret);

/** iotlb_ask_for() - have the front-end asked for the first address of a range that is missing. */
void iotlb_ask_for(struct device *d, uint64_t iova, uint64_t size, uint32_t perm);

/**
 * iotlb_memory_changes() - memory that translations lead to is about to go: forget them all. Rings
 * stop, and run again when the front-end has answered once more. Return: 0; -EIO.
 */
int iotlb_memory_changes(struct device *d);

/** iotlb_rings_stopped() - some were, for good; if it was the last one, nothing is translated any more. */
int iotlb_rings_stopped(struct device *d);

/* device_log.c */

/** device_logs_itself() - does it mark what it writes, whatever it does? */
bool device_logs_itself(const struct device *d);

/** log_is_missing() - logging is wanted and there is no log: no ring may run. */
bool log_is_missing(const struct device *d);

/** device_set_features() - the features' part of device_negotiate(). */
int device_set_features(struct device *d, uint64_t features);

/** device_set_logging() - the logging's part of device_negotiate(). */
int device_set_logging(struct device *d, bool on);

/** log_covers_memory() - would the log do for @table, if logging is wanted? */
bool log_covers_memory(const struct device *d, const struct memory_table *table);

/**
 * log_renew() - a device that has nothing gets its log again, also while it counts as away.
 * Return: 0, or a driver's error.
 */
int log_renew(struct device *d);

/** log_note_start() - rings run as is wanted. For the record. */
void log_note_start(struct device *d);

/** log_note_stop() - some rings were stopped, since @begun_ns. For the record. */
void log_note_stop(struct device *d, uint64_t begun_ns);

/** log_mark_ring() - mark all that the device writes of a ring, in the log that holds. */
void log_mark_ring(struct device *d, uint32_t index);

/* device_inflight.c */

/** inflight_part() - where chains of @index are to be noted; NULL: nowhere. */
uint8_t *inflight_part(const struct device *d, uint32_t index);

/** inflight_is_lost() - the area's file was cut short. */
bool inflight_is_lost(const struct device *d);

/* device_relay.c */

/** ring_is_relayed() - or was, when it was stopped the device was away. */
bool ring_is_relayed(const struct device *d, uint32_t index);

/** ring_wants_relay() - does a ring that is to start at @position need a relay? */
bool ring_wants_relay(const struct device *d, uint32_t index, struct queue_position position);

/** ring_runs_wrongly() - runs directly and ought to be relayed, or the other way round. */
bool ring_runs_wrongly(const struct device *d, uint32_t index);

/**
 * ring_relay_start() - make a shadow for a ring.
 * @q: in: the guest's ring, with its position; out: the shadow, for the driver
 * Nothing moves before device_relay_run(), which is not called before this is lasting.
 * Return: 0; a refusal, a driver's error; then the caller has that noted, and what there is forgotten.
 */
int ring_relay_start(struct device *d, uint32_t index, struct driver_queue *q);

/**
 * ring_relay_stop() - the device has stopped: give the guest's ring back.
 * @device: where it stands in the shadow; NULL: nobody knows
 * @ret:    where it stands in the guest's ring; written on success
 * The relay is gone afterwards, and the caller makes that lasting. Return: 0; -EPROTO, -EFAULT,
 * -EBADMSG: nobody knows where it stands.
 */
int ring_relay_stop(struct device *d, uint32_t index, const struct queue_position *device,
	struct queue_position *ret);

/** ring_relay_forget() - throw a relay away. */
void ring_relay_forget(struct device *d, uint32_t index);

/** ring_relay_set_fd() - an eventfd of the guest's was replaced. */
void ring_relay_set_fd(struct device *d, uint32_t index, enum driver_queue_fd which, int old_fd,
	int fd);

/** relays_memory_changed() - map the table that holds now. Return: 0, or as guestmem_set(). */
int relays_memory_changed(struct device *d);

/** relays_forget_known() - rings may be other queues of the device from now on; none runs. */
void relays_forget_known(struct device *d);

/** relays_sync_log() - tell relays where to mark pages now. */
void relays_sync_log(struct device *d);

/** relay_window_is_hit() - would @next have memory where a shadow ring is? */
bool relay_window_is_hit(const struct device *d, const struct memory_table *next);

/** device_checkpoint() - make the state lasting now; a process that can't has failed its device. */
int device_checkpoint(struct device *d);

#endif

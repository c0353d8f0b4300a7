# SPDX-License-Identifier: BSD-2-Clause
"""The oracle's proof on the product itself: of all that marks pages one call is left out, and that is
caught, by the campaign that the program with it passes.

What only counts after a crash is not here: tests/unit/test_relay_crash.c. Nor is what a device may have
written to without giving it back, which simnic does not do: tests/unit/test_relay_faults.c.
"""
import pytest

import migration
from campaign import migrate_often
from patched import Change, make_patched
from stands import SimnicStand, VdpadStand
from traffic import Shape

SEED = 20
MIGRATIONS = 12  # at most; most are caught in the first one

SPLIT, PACKED = Shape(), Shape(packed=True)
SPLIT_EVENT, PACKED_EVENT = Shape(event_idx=True), Shape(packed=True, event_idx=True)
SPLIT_TABLES, PACKED_TABLES = Shape(indirect=True), Shape(packed=True, indirect=True)

RELAY = ("vdpa/relay_split.c", "vdpa/relay_packed.c")  # what marks buffers is inlined there


def worker(source, old, new="", compiled=()):
    return Change("worker/vdpa-worker", source, old, new, compiled)


def simnic(source, old, new="", compiled=()):
    return Change("simnic/simnic", source, old, new, compiled)


RELAYED_BUFFERS = worker("vdpa/relay_internal.h", """\
	if (r->log)
		relay_log_chain(r, id, size);
""", compiled=RELAY)
RELAYED_REST = worker("vdpa/relay_internal.h", """\
	else
		relay_log_buffers(r, id, size);
""", compiled=RELAY)
RELAYED_RING = worker("vdpa/relay.c", """\
	r->layout->log_returned(r, &next);
""")
RELAYED_SPLIT_HINT = worker("vdpa/relay_split.c", """\
	relay_log(r, r->log_addr + offset, sizeof(uint16_t));
""")
RELAYED_PACKED_HINT = worker("vdpa/relay_packed.c", """\
	ask(r->device, kicks);
	relay_log(r, r->log_addr, sizeof(struct vring_packed_desc_event));
""", """\
	ask(r->device, kicks);
""")
BUFFERS = simnic("tools/simnic/ring.c", """\
	if (log)
		mark_chains(log, b, n);
""")
SPLIT_RING = simnic("tools/simnic/ring_split.c", """\
	mark_used(q, before, n_entries);
""")
PACKED_RING = simnic("tools/simnic/ring_packed.c", """\
	mark_used(q, before, q->at);
""")
SPLIT_HINT = simnic("tools/simnic/ring_split.c", """\
	if (log)
		dirty_mark(log, q->device_iova + (uint64_t)((uint8_t *)at - (uint8_t *)q->device),
			sizeof(*at));
""")
PACKED_HINT = simnic("tools/simnic/ring_packed.c", """\
	if (log)
		dirty_mark(log, q->device_iova, sizeof(*event));
""")
STOPPED_RING = worker("vdpa/device_stop.c", """\
	log_mark_ring(d, index);
""")

# What is written when a device falls asleep lies beside what it wrote last. To be told from it, it has
# to come later than a copy of that, on a busy host too; and the next copy waits for it.
SPIN = "vdpa/base/spin.h", "s->in_vain < SPIN_HALVES ? longest >> s->in_vain : 0", "1000 * longest"
WAKEFUL_RELAY = worker(*SPIN, ("tools/worker/relay_link.c",))
WAKEFUL_NIC = simnic(*SPIN, ("tools/simnic/thread.c",))
WAKEFUL_NAP = 0.2  # seconds

# Name: what is left out, how pages become known, the guests that notice, and where.
LEFT_OUT = {
    "relay-buffers": ((RELAYED_BUFFERS,), "relay", (SPLIT, PACKED), "receive buffers"),
    "relay-buffers-in-tables": ((RELAYED_REST,), "relay", (SPLIT_TABLES, PACKED_TABLES),
                                "receive buffers"),
    "relay-used-ring": ((RELAYED_RING,), "relay", (SPLIT, SPLIT_EVENT), "used ring"),
    "relay-descriptor-ring": ((RELAYED_RING,), "relay", (PACKED,), "descriptor ring"),
    "relay-used-flags": ((RELAYED_SPLIT_HINT, WAKEFUL_RELAY), "relay", (SPLIT,), "used ring"),
    "relay-available-event": ((RELAYED_SPLIT_HINT, WAKEFUL_RELAY), "relay", (SPLIT_EVENT,),
                              "used ring"),
    "relay-event-area": ((RELAYED_PACKED_HINT, WAKEFUL_RELAY), "relay", (PACKED, PACKED_EVENT),
                         "device event area"),
    "simnic-buffers": ((BUFFERS,), "simnic", (SPLIT, PACKED), "receive buffers"),
    "simnic-buffers-in-tables": ((BUFFERS,), "simnic", (SPLIT_TABLES, PACKED_TABLES),
                                 "receive buffers"),
    "simnic-used-ring": ((SPLIT_RING,), "simnic", (SPLIT, SPLIT_EVENT), "used ring"),
    "simnic-descriptor-ring": ((PACKED_RING,), "simnic", (PACKED,), "descriptor ring"),
    "simnic-used-flags": ((SPLIT_HINT, WAKEFUL_NIC), "simnic", (SPLIT,), "used ring"),
    "simnic-available-event": ((SPLIT_HINT, WAKEFUL_NIC), "simnic", (SPLIT_EVENT,), "used ring"),
    "simnic-event-area": ((PACKED_HINT, WAKEFUL_NIC), "simnic", (PACKED, PACKED_EVENT),
                          "device event area"),
}

# A ring is marked as a whole when it stops. It counts where marks are missing because a process died
# between a store and its mark: here, always.
DIES = {
    "relay-used-ring": ((RELAYED_RING, RELAYED_SPLIT_HINT), "relay", SPLIT, "used ring"),
    "relay-descriptor-ring": ((RELAYED_RING, RELAYED_PACKED_HINT), "relay", PACKED,
                              "descriptor ring"),
    "simnic-used-ring": ((SPLIT_RING, SPLIT_HINT), "hardware log", SPLIT, "used ring"),
    "simnic-descriptor-ring": ((PACKED_RING, PACKED_HINT), "hardware log", PACKED,
                               "descriptor ring"),
    # A device that never marks rings does as one that died each time.
    "buffers-used-ring": ((), "log of buffers", SPLIT, "used ring"),
    "buffers-descriptor-ring": ((), "log of buffers", PACKED, "descriptor ring"),
}


def campaign(method, shape, folder=None, **facts):
    build = {"build": folder} if folder else {}
    stand = (SimnicStand(shape.pairs, **build) if method == "simnic"
             else VdpadStand(shape.pairs, method, **build))
    try:
        migrate_often(stand, shape, SEED, MIGRATIONS, failing=0, **facts)
    finally:
        stand.stop()


def catches(kind):
    return pytest.raises(AssertionError, match=rf"pages differ(?s:.*), the {kind} of queue")


@pytest.mark.parametrize("method, wakeful", [("relay", WAKEFUL_RELAY), ("simnic", WAKEFUL_NIC)],
                         ids=["relay", "simnic"])
def test_with_nothing_left_out_all_pages_are_named(method, wakeful, monkeypatch):
    monkeypatch.setattr(migration, "NAP", WAKEFUL_NAP)
    folder = make_patched(f"{method}-wakeful", wakeful)
    for changes, shape in {(wakeful in changes, shape): None
                           for changes, by, shapes, _ in LEFT_OUT.values() if by == method
                           for shape in shapes}:
        campaign(method, shape, folder if changes else None)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_one_call_left_out_is_caught(name, monkeypatch):
    monkeypatch.setattr(migration, "REST", 2)  # nobody is going to mark it, wait as long as you like
    monkeypatch.setattr(migration, "NAP", WAKEFUL_NAP)
    changes, method, shapes, kind = LEFT_OUT[name]
    folder = make_patched(name, *changes)
    for shape in shapes:
        with catches(kind):
            campaign(method, shape, folder)


@pytest.mark.parametrize("name", DIES)
def test_a_ring_that_stops_is_marked_whatever_was_not(name):
    changes, method, shape, kind = DIES[name]
    campaign(method, shape, make_patched(f"dies-{name}", *changes), resting=0)
    with catches(kind):
        campaign(method, shape, make_patched(f"stopped-{name}", *changes, STOPPED_RING), resting=0)

# SPDX-License-Identifier: BSD-2-Clause
"""A relay looks at one ring after the other, and a guest uses them meanwhile. What it offered to receive
before it sent a frame is there for that frame."""
import pytest
from patched import Change, make_patched
from inflight_area import begin, get_area, go_on

SOURCE = "vdpa/device_relay.c"
N = 200  # frames; without the order one of the first ones is lost, mostly


def worker(old, new):
    return Change("worker/vdpa-worker", SOURCE, old, new)


# Between receive rings and transmit rings there is time for a guest to use both.
PAUSE = (
    worker('#include "vdpa/base/log.h"\n', '#include "vdpa/base/clock.h"\n#include "vdpa/base/log.h"\n'),
    worker("		for (uint32_t i = first; i < d->n_queues; i += 2)\n", """\
		for (uint64_t end = clock_now_ns() + 200000; first == 1 && clock_now_ns() < end;)
			;
		for (uint32_t i = first; i < d->n_queues; i += 2)
"""))


def exchange(stand, packed, program):
    stand.shim.restart(str(program / "tools/worker/vdpa-worker"))
    guest = stand.guest(packed=packed)
    begin(guest)
    get_area(guest.fe)  # from here on relayed
    go_on(guest)
    receive, transmit = guest.rings
    for _ in range(N):
        receive.offer(writable=2048)
        receive.notify()
        guest.transmit()
        receive.wait()
    assert transmit.take() is None


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_frame_finds_the_buffer_that_was_offered_before_it(make_shuffled_stand, packed):
    exchange(make_shuffled_stand(), packed, make_patched("pause", *PAUSE))

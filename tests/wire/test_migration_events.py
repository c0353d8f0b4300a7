# SPDX-License-Identifier: BSD-2-Clause
"""What people are told of a migration: that pages are logged, that it stopped, how it ended."""
import os
import re

import pytest
from frontend import F_LOG_ALL, u64
from iommu import BASE, INVALIDATE, IommuGuest, iotlb
from looks import running
from test_set_log_base import Log, answer, log_all
from waiting import wait_for

ON = "migration logging"


@pytest.fixture
def guest(stand):
    return stand.guest().setup()


@pytest.fixture
def log(guest):
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    yield log
    os.close(log.fd)


def told(stand):
    """The names of all news so far, after everything that was asked was done."""
    stand.shim.dump()
    return [name for name, _ in stand.shim.events if name.startswith("migration")]


def wait_told(stand, *names):
    wait_for(lambda: told(stand)[-1:] == list(names[-1:]), f"{names}")
    assert told(stand) == list(names)


def words(stand, name):
    return next(text for event, text in stand.shim.events if event == name)


def take_back(guest):
    for ring in guest.rings:
        guest.fe.vring_base(ring.index)


def test_nothing_is_told_while_nothing_is_logged(stand, guest, log):
    guest.exchange(2)
    take_back(guest)
    assert told(stand) == []


def test_a_cancelled_migration_is_told_with_what_it_took(stand, guest, log):
    log_all(guest)
    wait_told(stand, ON)
    assert re.fullmatch(r"pages are logged \(relay, switch \d+\.\d{3} ms\)", words(stand, ON))
    log_all(guest, False)
    wait_told(stand, ON, "migration cancelled")
    assert re.fullmatch(r"pages are not logged any more \(relay, switch [\d.]+ ms, logging [\d.]+ ms\)",
                        words(stand, "migration cancelled"))
    log_all(guest)
    wait_told(stand, ON, "migration cancelled", ON)


def test_a_migration_that_is_handed_over_is_told_with_what_it_took(stand, guest, log):
    log_all(guest)
    take_back(guest)
    wait_told(stand, ON, "migration stopped")
    assert re.fullmatch(r"all queues were taken back \(relay, switch [\d.]+ ms, logging [\d.]+ ms, "
                        r"stop [\d.]+ ms\)", words(stand, "migration stopped"))
    guest.fe.close()
    wait_told(stand, ON, "migration stopped", "migration handed over")
    assert re.fullmatch(r"the front-end left \(relay, switch [\d.]+ ms, logging [\d.]+ ms, "
                        r"stop [\d.]+ ms, leave [\d.]+ ms\)", words(stand, "migration handed over"))


def test_a_front_end_that_leaves_in_the_middle_is_told(stand, guest, log):
    log_all(guest)
    guest.fe.close()
    wait_told(stand, ON, "migration broken off")


def test_a_guest_that_goes_on_after_the_stop_is_told(stand, guest, log):
    log_all(guest)
    take_back(guest)
    for ring in guest.rings:
        guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
    wait_told(stand, ON, "migration stopped", "migration resumed")


@pytest.fixture
def iommu_guest(logging_stand):
    guest = IommuGuest(logging_stand).configure()
    guest.serve_until(lambda: all(running(logging_stand)[:2]), "rings to run")
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    guest.log_all()
    wait_told(logging_stand, ON)
    yield guest
    os.close(log.fd)


def pause(stand, guest):
    assert guest.tell(iotlb(INVALIDATE, BASE, 1 << 32))
    assert not any(running(stand)) and told(stand) == [ON]


def test_rings_that_wait_for_a_translation_were_not_taken_back(logging_stand, iommu_guest):
    pause(logging_stand, iommu_guest)
    iommu_guest.serve_until(lambda: all(running(logging_stand)[:2]), "rings to run")
    assert told(logging_stand) == [ON]
    take_back(iommu_guest)
    wait_told(logging_stand, ON, "migration stopped")


def test_rings_that_wait_for_a_translation_are_taken_back_too(logging_stand, iommu_guest):
    pause(logging_stand, iommu_guest)
    take_back(iommu_guest)
    wait_told(logging_stand, ON, "migration stopped")


@pytest.mark.parametrize("own_nic_stand", [True], ids=["device"], indirect=True)
def test_the_method_is_told(own_nic_stand):
    guest = own_nic_stand.guest().setup()
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    wait_told(own_nic_stand, ON)
    assert "(device, " in words(own_nic_stand, ON)
    assert "switch 0.000 ms" not in words(own_nic_stand, ON)
    os.close(log.fd)


def test_a_new_worker_tells_nothing_again(stand, guest, log):
    log_all(guest)
    wait_told(stand, ON)
    for _ in range(3):
        stand.shim.restart()
        assert told(stand) == [ON]
    take_back(guest)
    wait_told(stand, ON, "migration stopped")  # or it may be told twice
    stand.shim.restart()
    guest.fe.close()
    wait_told(stand, ON, "migration stopped", "migration handed over")


def test_a_new_worker_tells_what_the_one_before_did_not(stand, guest, log):
    """It died between its answer and its word to the shim: the health block is as of before."""
    stand.shim.dump()
    health = os.pread(stand.shim.slots[1], 64 * 1024, 0)
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    wait_told(stand, ON)
    stand.shim.kill()
    os.pwrite(stand.shim.slots[1], health, 0)
    stand.shim.start()
    wait_told(stand, ON, ON)

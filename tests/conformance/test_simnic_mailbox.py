# SPDX-License-Identifier: BSD-2-Clause
"""Every command of the mailbox and the admin socket: accepted, refused, and a driver that lies."""
import errno
import os
import select
import socket
import struct
import tempfile

import pytest

import simnic_client as sim
from hostile import hostile
from simnic_client import bits
from slow_file import slow_file
from waiting import wait_for

BASE = bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)


def refused(code, call, *args, **kwargs):
    with pytest.raises(sim.Refused) as info:
        call(*args, **kwargs)
    assert info.value.errno == code, errno.errorcode[info.value.errno]


@pytest.fixture
def function(nic):
    return nic.add("f", pairs=2)


@pytest.fixture
def memory():
    memory = sim.Memory()
    yield memory
    memory.close()


# --------------------------------------------------------------------------------- admin

def test_info_says_what_the_nic_is(nic):
    version, pairs, size, n, features, uplink, pid, name = struct.unpack(
        "<IIIIQII64s", nic.admin.call(sim.INFO)[0])
    assert (version, pairs, size, n, uplink) == (1, 64, 32768, 0, 0)
    assert features == sim.OFFERED | sim.CONTROL
    assert pid == nic.process.pid
    assert name.rstrip(b"\0") == b"none"


def test_functions_are_added_listed_and_deleted(nic):
    packed = [sim.pack_function(f"f{i}", mac=sim.mac(i), pairs=i) for i in (1, 2, 3)]
    for p in packed:
        nic.admin.call(sim.ADD, p)
    listed = [nic.admin.call(sim.LIST, struct.pack("<Q", i))[0] for i in range(3)]
    assert listed == packed
    refused(errno.ENOENT, nic.admin.call, sim.LIST, struct.pack("<Q", 3))
    nic.admin.call(sim.DEL, packed[1])
    assert nic.admin.call(sim.LIST, struct.pack("<Q", 1))[0] == packed[2]
    refused(errno.ENOENT, nic.admin.call, sim.LIST, struct.pack("<Q", 2))
    refused(errno.ENOENT, nic.admin.call, sim.DEL, packed[1])
    nic.admin.call(sim.ADD, packed[1])


@pytest.mark.parametrize("what,kwargs", [
    ("no pairs", {"pairs": 0}),
    ("too many pairs", {"pairs": 65}),
    ("a small MTU", {"mtu": 67}),
    ("a group MAC", {"mac": sim.BROADCAST}),
    ("a zero MAC", {"mac": bytes(6)}),
    ("an unknown flag", {"flags": 4}),
    ("a feature nobody has", {"features": 1 << 63}),
])
def test_add_refuses(nic, what, kwargs):
    refused(errno.EINVAL, nic.admin.call, sim.ADD, sim.pack_function("f", **kwargs))
    refused(errno.ENOENT, nic.admin.call, sim.LIST, struct.pack("<Q", 0))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a\n", "x" * 64])
def test_add_refuses_names_that_are_no_names(nic, name):
    refused(errno.EINVAL, nic.admin.call, sim.ADD, sim.pack_function(name))


def test_add_refuses_a_name_twice_and_counts_to_its_limit(nic):
    nic.add("f")
    refused(errno.EEXIST, nic.admin.call, sim.ADD, sim.pack_function("f"))
    for i in range(1023):
        _, (fd,) = nic.admin.call(sim.ADD, sim.pack_function(f"f{i}", features=0))
        os.close(fd)
    refused(errno.ENOSPC, nic.admin.call, sim.ADD, sim.pack_function("more"))


def test_set_changes_mac_check_and_link_and_nothing_else(nic, function):
    nic.admin.call(sim.SET, sim.pack_function("f", mac=sim.mac(9), pairs=2, flags=0))
    assert function.channel.next_event() == (sim.EVENT_CONFIG, 0)
    assert function.config() == {"mac": sim.mac(9), "mtu": 1500, "pairs": 2, "link": 0,
                                 "announce": 0}
    assert function.register("config_generation") == 1
    for wrong in ({"pairs": 1}, {"features": 0}):
        kwargs = {"pairs": 2, **wrong}
        refused(errno.EINVAL, nic.admin.call, sim.SET, sim.pack_function("f", **kwargs))
    refused(errno.ENOENT, nic.admin.call, sim.SET, sim.pack_function("g", pairs=2))
    assert function.config()["mac"] == sim.mac(9)


def test_only_what_a_guest_sees_is_told_as_a_change(nic, function):
    for flags, mtu in ((sim.SPOOF_CHECK, 1500), (sim.SPOOF_CHECK, 1500), (0, 1500)):
        nic.admin.call(sim.SET, sim.pack_function("f", pairs=2, mtu=mtu, flags=flags | sim.LINK_UP))
    assert function.register("config_generation") == 0
    nic.admin.call(sim.SET, sim.pack_function("f", pairs=2, mtu=9000))
    assert function.channel.next_event() == (sim.EVENT_CONFIG, 0)
    assert function.config()["mtu"] == 9000
    assert function.register("config_generation") == 1


@pytest.mark.parametrize("command,payload,size", [
    (sim.INFO, b"x", None), (sim.ADD, b"", None), (sim.ADD, bytes(87), None),
    (sim.LIST, bytes(7), None), (sim.INFO, b"", 8), (sim.LIST, bytes(8), 0),
    (sim.ADD, bytes(4000), None),
])
def test_admin_requests_of_a_wrong_size_are_nonsense(nic, command, payload, size):
    refused(errno.EBADMSG, nic.admin.call, command, payload, size=size)
    nic.admin.call(sim.INFO)


def test_admin_knows_no_other_command_and_takes_no_descriptors(nic):
    for command in (0, sim.HELLO, 70, 127, sim.EVENT, 2**32 - 1):
        refused(errno.EOPNOTSUPP, nic.admin.call, command)
    refused(errno.EBADMSG, nic.admin.call, sim.INFO, b"", [0])
    n = len(os.listdir(f"/proc/{nic.process.pid}/fd"))
    for _ in range(10):
        refused(errno.EBADMSG, nic.admin.call, sim.INFO, b"", [0, 1, 2])
    assert len(os.listdir(f"/proc/{nic.process.pid}/fd")) == n


def test_a_message_without_a_header_ends_that_connection_only(nic):
    other = sim.Channel(nic.connect())
    other.send_raw(b"short")
    assert other.is_closed()
    nic.admin.call(sim.INFO)


def test_only_root_and_the_owner_may_connect(nic):
    os.chmod(nic.path, 0o777)
    os.chmod(os.path.dirname(nic.path), 0o755)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(os.path.dirname(nic.path))  # whatever is above need not be open to others
            os.setgid(65534)
            os.setuid(65534)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.connect(os.path.basename(nic.path))
            os._exit(0 if sim.Channel(sock).is_closed() else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "turned away" in nic.log()


# --------------------------------------------------------------------------- attach, end

def test_attach_ends_the_old_mailbox_and_resets_the_function(nic, make_guest):
    guest = make_guest(nic.add("a"))
    guest.send(sim.frame(sim.mac(9), sim.mac(1)))
    guest.sent()
    guest.function.queue(1)
    fd = nic.attach(guest.function)
    assert guest.function.channel.is_closed()
    again = sim.Function(nic, "a", fd, {})
    nic.functions.append(again)
    assert again.queue(1)["status"] == sim.QUEUE_DISABLED
    refused(errno.EINVAL, again.start, 0, 1)
    assert guest.function.queue(1)["status"] == sim.QUEUE_RUNNING, "the old BAR is the last word"
    assert guest.function.queue(1)["position"] == 1 << 16 | 1
    assert again.queue(1)["completed_desc"] == 1, "counters go on"


def test_a_driver_that_is_gone_resets_its_function(nic, make_guest):
    a, b = (make_guest(nic.add(f"f{i}", mac=sim.mac(i))) for i in (1, 2))
    a.offer()
    a.function.close()
    wait_for(lambda: "its driver is gone" in nic.log(), "the reset")
    nic.admin.call(sim.INFO)  # it does one thing after the other: the reset is over
    b.send(sim.frame(sim.mac(1), sim.mac(2)))
    b.sent()
    assert a.nothing_received()
    n_maps = open(f"/proc/{nic.process.pid}/maps").read().count("memfd:guest")
    assert n_maps == 1, "only b's memory is mapped"


def test_a_deleted_functions_mailbox_reads_end_of_file(nic, function):
    nic.admin.call(sim.DEL, sim.pack_function("f"))
    assert function.channel.is_closed()


def test_a_driver_that_reads_no_replies_is_given_up(nic, function):
    with pytest.raises((OSError, TimeoutError)):
        for _ in range(100000):
            function.channel.send(sim.GET_CONFIG)
    wait_for(lambda: "does not take replies" in nic.log(), "simnic to give it up")
    nic.admin.call(sim.INFO)


# --------------------------------------------------------------------------- mailbox, form

def test_hello_names_version_queues_features_and_gives_the_bar(function):
    assert (function.version, function.n_queues, function.max_queue_size) == (1, 4, 32768)
    assert function.offered == sim.OFFERED
    assert function.register("version") == 1
    assert function.register("link_up") == 1


def test_nobody_can_make_the_bar_shorter(nic, function):
    _, (fd,) = function.call(sim.HELLO)
    for size in (0, 4096, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    os.close(fd)


SIZES = {sim.HELLO: 0, sim.MAP: 32, sim.UNMAP: 32, sim.SET_FEATURES: 8, sim.PREPARE: 40,
         sim.START: 16, sim.STOP: 16, sim.SET_FDS: 16, sim.GET_CONFIG: 0, sim.SET_MTU: 8,
         sim.ANNOUNCE: 8, sim.DOORBELL: 8, sim.RESET: 0, sim.SET_LOG: 16,
         sim.POSTCOPY_ADVISE: 0, sim.POSTCOPY_MAP: 32, sim.POSTCOPY_REGISTER: 0, sim.POSTCOPY_END: 0,
         sim.IOTLB_UPDATE: 32, sim.IOTLB_INVALIDATE: 32,
         sim.SET_CONTROL: sim.CONTROL_SIZE}


@pytest.mark.parametrize("command", SIZES)
def test_requests_of_a_wrong_size_are_nonsense(nic, function, command):
    right = SIZES[command]
    for size in {max(right - 1, 0), right + 1, right + 8, 1000} - {right}:
        refused(errno.EBADMSG, function.call, command, bytes(size))
    refused(errno.EBADMSG, function.call, command, bytes(right), size=right + 1)
    refused(errno.EBADMSG, function.call, command, bytes(right), size=2**32 - 1)
    assert function.config()["mtu"] == 1500


@pytest.mark.parametrize("command", SIZES)
def test_descriptors_that_do_not_belong_are_nonsense_and_closed(nic, function, command):
    n = len(os.listdir(f"/proc/{nic.process.pid}/fd"))
    for count in (1, 2, 3, 4, 10):
        if count > 1 or command not in (sim.MAP, sim.SET_LOG, sim.POSTCOPY_MAP):
            refused(errno.EBADMSG, function.call, command, bytes(SIZES[command]), [0] * count)
    if command == sim.MAP:
        refused(errno.EBADMSG, function.call, command, bytes(32))
    assert len(os.listdir(f"/proc/{nic.process.pid}/fd")) == n


def test_prepare_and_set_fds_want_exactly_the_descriptors_they_name(function):
    for have in (1, 2, 4, 3, 7, 8, 2**32 - 1):
        payload = struct.pack("<IIQQQII", 0, 8, 0, 0, 0, 0, have)
        refused(errno.EBADMSG, function.call, sim.PREPARE, payload)
        refused(errno.EBADMSG, function.call, sim.SET_FDS, struct.pack("<IIII", 0, 7, have, 0))


def test_unknown_commands_are_not_supported(function):
    for command in (0, 21, 63, sim.INFO, sim.ADD, sim.EVENT, 2**32 - 1):
        refused(errno.EOPNOTSUPP, function.call, command)


def test_a_request_needs_a_number_and_no_status(function):
    for header in (struct.pack("<IIiI", sim.GET_CONFIG, 0, 0, 0),
                   struct.pack("<IIiI", sim.GET_CONFIG, 5, -1, 0)):
        function.channel.send_raw(header)
        data, _ = function.channel.receive()
        assert struct.unpack("<IIiI", data)[2] == -errno.EBADMSG


# ------------------------------------------------------------------------------- memory

def test_memory_is_mapped_twice_the_same_and_unmapped_twice(nic, function, memory):
    for _ in range(2):
        function.map(0x1000, 0x2000, memory.fd, 0x1000)
    assert open(f"/proc/{nic.process.pid}/maps").read().count("memfd:guest") == 1
    for _ in range(2):
        function.unmap(0x1000, 0x2000)
    assert open(f"/proc/{nic.process.pid}/maps").read().count("memfd:guest") == 0


@pytest.mark.parametrize("what,iova,size,offset,perm", [
    ("nothing", 0, 0, 0, 3),
    ("a range that wraps", 2**64 - 0x1000, 0x2000, 0, 3),
    ("a file offset that wraps", 0, 0x2000, 2**64 - 0x1000, 3),
    ("a file offset that is negative", 0, 0x2000, 2**63, 3),
    ("more than the file", 0, (8 << 20) + 1, 0, 3),
    ("beyond the file's end", 0, 0x1000, 8 << 20, 3),
    ("just beyond the file's end", 0, 0x1001, (8 << 20) - 0x1000, 3),
    ("no permission", 0, 0x1000, 0, 0),
    ("an unknown permission", 0, 0x1000, 0, 4),
])
def test_map_refuses(function, memory, what, iova, size, offset, perm):
    refused(errno.EINVAL, function.map, iova, size, memory.fd, offset, perm)


def test_map_refuses_descriptors_that_are_no_memory(function):
    r, w = os.pipe()
    fds = [os.eventfd(0), r, w, os.open("/dev/zero", os.O_RDWR), os.open("/", os.O_RDONLY),
           os.open("/proc/self/maps", os.O_RDONLY), socket.socket().detach()]
    for fd in fds:
        refused(errno.EINVAL, function.map, 0, 0x1000, fd)
        os.close(fd)


@hostile(40)
def test_map_refuses_a_file_whose_pages_may_be_slow_to_come(function):
    with slow_file(0x1000) as f:
        refused(errno.EINVAL, function.map, 0, 0x1000, f.fileno())


def test_map_refuses_a_descriptor_that_may_not_be_written(function):
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as f:
        f.truncate(0x1000)
        fd = os.open(f.name, os.O_RDONLY)
        refused(errno.EACCES, function.map, 0, 0x1000, fd)
        function.map(0, 0x1000, fd, perm=sim.READ)
        os.close(fd)


def test_map_refuses_overlaps_and_takes_neighbours(function, memory):
    function.map(0x10000, 0x4000, memory.fd, 0)
    for iova, size in ((0x10000, 0x1000), (0x13000, 0x1000), (0xf000, 0x1001), (0x13fff, 1),
                       (0, 0x100000), (0x10000, 0x4001)):
        refused(errno.EEXIST, function.map, iova, size, memory.fd)
    refused(errno.EEXIST, function.map, 0x10000, 0x4000, memory.fd, 0x1000)
    refused(errno.EEXIST, function.map, 0x10000, 0x4000, memory.fd, 0, sim.READ)
    function.map(0xf000, 0x1000, memory.fd)
    function.map(0x14000, 0x1000, memory.fd)
    function.map(2**64 - 0x1000, 0x1000, memory.fd)


def test_map_counts_to_its_limit(function, memory):
    """All memory slots that a front-end may use, and a shadow ring for each queue."""
    for i in range(509 + 128):
        function.map(0x10000 * i, 0x1000, memory.fd)
    refused(errno.ENOSPC, function.map, 1 << 40, 0x1000, memory.fd)
    function.unmap(0x10000 * 77, 0x1000)
    function.map(1 << 40, 0x1000, memory.fd)


@hostile(92)
def test_map_limits_what_one_function_takes_of_the_address_space(function):
    fd = os.memfd_create("large")
    os.ftruncate(fd, 1 << 42)
    function.map(0, 1 << 42, fd)
    refused(errno.ENOSPC, function.map, 1 << 42, 0x1000, fd)
    os.close(fd)


def test_unmap_of_a_part_changes_nothing(function, memory):
    function.map(0x10000, 0x4000, memory.fd)
    for iova, size in ((0x10000, 0x1000), (0x11000, 0x1000), (0xf000, 0x6000)):
        function.unmap(iova, size)
    refused(errno.EEXIST, function.map, 0x10000, 0x1000, memory.fd)
    refused(errno.EINVAL, function.unmap, 0, 0)
    refused(errno.EINVAL, function.unmap, 2**64 - 1, 2)


def test_unmap_is_refused_under_a_running_ring_and_disables_a_prepared_one(nic, make_guest):
    guest = make_guest(nic.add("a"))
    memory, function = guest.memory, guest.function
    refused(errno.EBUSY, function.unmap, memory.base, memory.size)
    function.stop(0)
    refused(errno.EBUSY, function.unmap, memory.base, memory.size)
    function.stop(1)
    assert function.queue(0)["status"] == sim.QUEUE_PREPARED
    function.unmap(memory.base, memory.size)
    assert function.queue(0)["status"] == function.queue(1)["status"] == sim.QUEUE_DISABLED
    refused(errno.EINVAL, function.start, 0)
    refused(errno.EFAULT, guest.queues[0].prepare)


def test_buffers_may_be_unmapped_while_queues_run_and_are_not_reached_then(nic, make_guest):
    a, b = (make_guest(nic.add(f"f{i}", mac=sim.mac(i))) for i in (1, 2))
    extra = sim.Memory(base=0x200000000)
    b.function.map(extra.base, extra.size, extra.fd)
    b.queues[0].ring.add([(extra.base, 2048, True)])
    b.function.unmap(extra.base, extra.size)
    a.send(sim.frame(sim.mac(2), sim.mac(1)))
    a.sent()
    assert b.function.channel.next_event() == (sim.EVENT_QUEUE_ERROR, 0)
    assert extra.read(extra.base, 2048) == bytes(2048)
    extra.close()


# -------------------------------------------------------------------- features and config

def test_features_must_be_offered_and_cannot_change_under_running_queues(nic, make_guest):
    function = nic.add("a", features=BASE)
    refused(errno.EINVAL, function.set_features, bits(sim.F_VERSION_1, sim.F_PACKED))
    guest = make_guest(function, BASE)
    refused(errno.EBUSY, function.set_features, bits(sim.F_VERSION_1))
    function.set_features(BASE)
    function.stop(0, 1)
    function.set_features(BASE)
    assert function.queue(0)["status"] == sim.QUEUE_PREPARED, "the same features change nothing"
    function.set_features(bits(sim.F_VERSION_1))
    assert function.queue(0)["status"] == sim.QUEUE_DISABLED
    refused(errno.EINVAL, function.start, 0)
    guest.queues[0].prepare()


def test_mtu_has_limits_and_reset_takes_it_back(function):
    for mtu in (0, 67, 65536, 2**64 - 1):
        refused(errno.EINVAL, function.u64, sim.SET_MTU, mtu)
    for mtu in (68, 65535):
        function.u64(sim.SET_MTU, mtu)
        assert function.config()["mtu"] == mtu
    function.call(sim.RESET)
    assert function.config()["mtu"] == 1500


def test_announce_wants_a_unicast_address(function):
    for value in (0, 1, 2**48 - 1, 1 << 48, 2**64 - 1):
        refused(errno.EINVAL, function.u64, sim.ANNOUNCE, value)


def test_doorbell_is_on_or_off(function):
    refused(errno.EINVAL, function.u64, sim.DOORBELL, 2)
    for value in (1, 1, 0, 0):
        function.u64(sim.DOORBELL, value)


def test_reset_takes_everything_back(nic, make_guest):
    guest = make_guest(nic.add("a"))
    guest.function.call(sim.RESET)
    assert guest.function.queue(0)["status"] == sim.QUEUE_DISABLED
    assert "memfd:guest" not in open(f"/proc/{nic.process.pid}/maps").read()
    refused(errno.EINVAL, guest.function.start, 0)
    n = len(os.listdir(f"/proc/{nic.process.pid}/fd"))
    for _ in range(20):
        guest = make_guest(guest.function)
        guest.function.call(sim.RESET)
    assert len(os.listdir(f"/proc/{nic.process.pid}/fd")) == n


# -------------------------------------------------------------------------------- queues

@pytest.mark.parametrize("what,kwargs", [
    ("an unknown queue", {"queue": 4}),
    ("a queue far away", {"queue": 2**32 - 1}),
    ("size 0", {"size": 0}),
    ("size too large", {"size": 65536}),
    ("a size that is no power of two", {"size": 24}),
    ("a descriptor table out of line", {"desc": 8}),
    ("an available ring out of line", {"driver": 1}),
    ("a used ring out of line", {"device": 2}),
    ("more in flight than the ring holds", {"position": 65}),
])
def test_prepare_refuses(function, memory, what, kwargs):
    function.set_features(BASE)
    function.map(0, memory.size, memory.fd)
    facts = {"queue": 0, "size": 64, "desc": 0, "driver": 0x1000, "device": 0x2000,
             "position": 0, "fds": (), **kwargs}
    refused(errno.EINVAL, function.prepare, **facts)
    assert function.queue(0)["status"] == sim.QUEUE_DISABLED


@pytest.mark.parametrize("kwargs", [
    {"size": 0}, {"size": 32769}, {"desc": 8}, {"driver": 2}, {"device": 2},
    {"position": 0x80008018}, {"position": 0x80188000}, {"position": 0xffffffff},
])
def test_prepare_of_a_packed_ring_refuses(function, memory, kwargs):
    function.set_features(BASE | bits(sim.F_PACKED))
    function.map(0, memory.size, memory.fd)
    facts = {"queue": 0, "size": 24, "desc": 0, "driver": 0x1000, "device": 0x2000,
             "position": 0x80008000, "fds": ()}
    refused(errno.EINVAL, function.prepare, **{**facts, **kwargs})
    function.prepare(**facts)


@pytest.mark.parametrize("area", ["desc", "driver", "device"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_ring_must_lie_in_mapped_memory_over_its_full_length(function, memory, area, packed):
    """The ring of 64 entries fits at the end of a region, and not 16 bytes further."""
    function.set_features(BASE | (bits(sim.F_PACKED) if packed else 0))
    function.map(0x100000, 0x10000, memory.fd)
    end = 0x110000
    size = {"desc": 64 * 16, "driver": 4 if packed else 6 + 128,
            "device": 4 if packed else 6 + 512}[area]
    good = {"queue": 0, "size": 64, "desc": 0x100000, "driver": 0x101000, "device": 0x102000,
            "position": 0x80008000 if packed else 0, "fds": ()}
    fits = (end - size) & ~15
    function.prepare(**{**good, area: fits})
    for wrong in (fits + 16, end, 0, 0x100000 - 16, 2**64 - 16):
        refused(errno.EFAULT, function.prepare, **{**good, area: wrong})


def test_a_ring_needs_the_permission_it_is_used_with(function, memory):
    function.set_features(BASE)
    function.map(0, 0x10000, memory.fd, 0, sim.READ)
    function.map(0x10000, 0x10000, memory.fd, 0x10000, sim.WRITE)
    good = {"queue": 0, "size": 64, "desc": 0, "driver": 0x1000, "device": 0x10000,
            "position": 0, "fds": ()}
    function.prepare(**good)
    for area, wrong in (("desc", 0x10000), ("driver", 0x11000), ("device", 0x2000)):
        refused(errno.EFAULT, function.prepare, **{**good, area: wrong})


@hostile(32)
def test_only_eventfds_are_taken_for_notifications(nic, make_guest):
    guest = make_guest(nic.add("a"), start=False)
    r, w = os.pipe()
    for fds in ((w, None, None), (None, w, None), (None, None, r), (guest.memory.fd, None, None)):
        ring = guest.queues[0].ring
        refused(errno.EINVAL, guest.function.prepare, 0, ring.size, ring.desc, ring.driver,
                ring.device, 0, fds)
        refused(errno.EINVAL, guest.function.set_fds, 0, 7, sim.KICK, [w])
    os.close(r)
    os.close(w)


def test_many_queues_are_prepared_by_one_command(nic, make_guest):
    guest = make_guest(nic.add("a", pairs=8), pairs=8, start=False)
    setups = [queue.setup() for queue in guest.queues]
    assert len(setups) == 16
    guest.function.prepare_all(setups)
    guest.function.start(*range(16))
    guest.function.prepare_all(setups)  # the same again, while they run
    for _ in range(3):
        guest.send(sim.frame(sim.mac(9), sim.mac(1)))
        guest.sent()
    refused(errno.EBADMSG, guest.function.prepare_all, [*setups, setups[0]])
    refused(errno.EBADMSG, guest.function.prepare_all, [])


def test_preparing_many_is_all_or_nothing(nic, make_guest):
    guest = make_guest(nic.add("a", pairs=2), pairs=2, start=False)
    n = len(os.listdir(f"/proc/{nic.process.pid}/fd"))
    before = [guest.function.queue(q) for q in range(4)]
    good = [queue.setup(7) for queue in guest.queues]
    index, size, desc, driver, device, position, fds = good[3]
    r, w = os.pipe()
    for error, bad in ((errno.EFAULT, (index, size, 0x40000000, driver, device, position, fds)),
                       (errno.EINVAL, (index, size + 1, desc, driver, device, position, fds)),
                       (errno.EINVAL, (4, size, desc, driver, device, position, fds)),
                       (errno.EINVAL, (index, size, desc, driver, device, position, (w, None, None)))):
        refused(error, guest.function.prepare_all, [*good[:3], bad])
        refused(error, guest.function.prepare_all, [bad, *good[:3]])
    os.close(r)
    os.close(w)
    assert [guest.function.queue(q) for q in range(4)] == before
    assert len(os.listdir(f"/proc/{nic.process.pid}/fd")) == n


def test_start_is_all_or_nothing(nic, make_guest):
    guest = make_guest(nic.add("a", pairs=2), start=False)
    refused(errno.EINVAL, guest.function.start, 0, 1, 2)
    refused(errno.EINVAL, guest.function.start, 0, 1, 4)
    refused(errno.EINVAL, guest.function.start, 0, 127)
    for q in (0, 1):
        assert guest.function.queue(q)["status"] == sim.QUEUE_PREPARED
    guest.function.start(0, 1)
    guest.function.start(0, 1)
    guest.function.start()
    for q in (0, 1):
        assert guest.function.queue(q)["status"] == sim.QUEUE_RUNNING


def test_prepare_of_a_running_queue_accepts_only_what_it_runs_with(nic, make_guest):
    guest = make_guest(nic.add("a"))
    queue = guest.queues[1]
    guest.send(sim.frame(sim.mac(9), sim.mac(1)))
    guest.sent()
    queue.prepare()
    assert guest.function.queue(1)["status"] == sim.QUEUE_RUNNING
    ring = queue.ring
    for size, desc in ((32, ring.desc), (64, ring.desc + 16)):
        refused(errno.EBUSY, guest.function.prepare, 1, size, desc, ring.driver, ring.device, 0,
                ())
    guest.send(sim.frame(sim.mac(9), sim.mac(1)))
    guest.sent()
    assert guest.function.stop(1) == [2 << 16 | 2]


def test_stop_tells_positions_and_the_queue_goes_on_from_there(nic, make_guest, layout):
    guest = make_guest(nic.add("a"), BASE | layout, size=8)
    ring = guest.queues[1].ring
    for n in range(1, 30):
        guest.send(sim.frame(sim.mac(9), sim.mac(1)), split=(12, 20))
        guest.sent()
        position, = guest.function.stop(1)
        assert position == (ring.word() if layout else n << 16 | n)
        assert guest.function.stop(1) == [position]
        assert guest.function.queue(1)["status"] == sim.QUEUE_PREPARED
        assert guest.function.queue(1)["position"] == position
        guest.send(sim.frame(sim.mac(9), sim.mac(1)), split=(12, 20))
        assert not ring.has_used()
        if n % 2:
            guest.queues[1].prepare(position)
        guest.function.start(1)
        guest.sent()
        ring_position, = guest.function.stop(1)
        guest.queues[1].prepare(ring_position)
        guest.function.start(1)
        if not layout:
            assert ring_position == (n + 1) << 16 | (n + 1)
            guest.function.stop(1)
            ring.avail = ring.used = n
            guest.memory.put("<H", ring.driver + 2, n)
            guest.memory.put("<H", ring.device + 2, n)
            guest.queues[1].prepare(n << 16 | n)
            guest.function.start(1)


def test_stop_of_what_never_ran_and_of_unknown_queues(function):
    assert function.stop(0, 3) == [0, 0]
    refused(errno.EINVAL, function.stop, 4)
    assert function.stop() == []


def test_descriptors_change_while_the_queue_runs(nic, make_guest):
    guest = make_guest(nic.add("a"))
    queue = guest.queues[1]
    wait_for(queue.ring.wants_kicks, "sleep")
    new_kick, new_call = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
    guest.function.set_fds(1, sim.KICK | sim.CALL, sim.KICK | sim.CALL, [new_kick, new_call])
    guest.send(sim.frame(sim.mac(9), sim.mac(1)), notify=False)
    os.eventfd_write(new_kick, 1)
    guest.sent()
    wait_for(lambda: select.select([new_call], [], [], 0)[0], "a call")
    assert queue.called() == 0
    guest.function.set_fds(1, sim.KICK | sim.CALL, 0, [])
    guest.send(sim.frame(sim.mac(9), sim.mac(1)), notify=False)
    guest.sent()  # without a kick descriptor the queue is polled
    refused(errno.EINVAL, guest.function.set_fds, 2, 1, 0, [])
    refused(errno.EINVAL, guest.function.set_fds, 1, 8, 0, [])
    refused(errno.EINVAL, guest.function.set_fds, 1, 2, 1, [new_kick])
    os.close(new_kick)
    os.close(new_call)


def test_a_kick_that_came_before_the_descriptor_changed_is_not_lost(nic, make_guest):
    guest = make_guest(nic.add("a"))
    queue = guest.queues[1]
    for _ in range(20):
        wait_for(queue.ring.wants_kicks, "sleep")
        guest.send(sim.frame(sim.mac(9), sim.mac(1)), notify=False)
        guest.function.set_fds(1, sim.KICK, sim.KICK, [queue.kick])
        guest.sent()


def test_a_doorbell_is_heard_without_kicks(nic, make_guest):
    guest = make_guest(nic.add("a"))
    wait_for(guest.queues[1].ring.wants_kicks, "sleep")
    guest.function.u64(sim.DOORBELL, 1)
    for _ in range(5):
        guest.send(sim.frame(sim.mac(9), sim.mac(1)), notify=False)
        struct.pack_into("<I", guest.function.bar, 4 * 1, 1)
        guest.sent()
    guest.function.u64(sim.DOORBELL, 0)
    wait_for(guest.queues[1].ring.wants_kicks, "sleep")

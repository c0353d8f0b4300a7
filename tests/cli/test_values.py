# SPDX-License-Identifier: BSD-2-Clause
"""Values of keywords: what is taken, and what is refused before the daemon is asked."""
import pytest

ADD = "dev add name vm1 mgmtdev sim/nic0".split()
SET = "dev set name vm1".split()

TAKEN = [
    (ADD, "mac", "52:54:00:AA:bb:1", {"mac": "52:54:00:aa:bb:01"}),
    (ADD, "mtu", "68", {"mtu": 68}),
    (ADD, "mtu", "65535", {"mtu": 65535}),
    (ADD, "mtu", "0001500", {"mtu": 1500}),
    (ADD, "max_vqp", "1", {"max_vqp": 1}),
    (ADD, "max_vqp", "65535", {"max_vqp": 65535}),
    (ADD, "device_features", "0x300020000", {"features": "0x300020000"}),
    (ADD, "device_features", "300020000", {"features": "0x300020000"}),
    (ADD, "device_features", "0XfF", {"features": "0xff"}),
    (ADD, "device_features", "0", {"features": "0x0"}),
    (ADD, "device_features", "ffffffffffffffff", {"features": "0xffffffffffffffff"}),
    (ADD, "socket", "/run/vm1.sock", {"socket": "/run/vm1.sock"}),
    (ADD, "mode", "server", {"mode": "server"}),
    (ADD, "mode", "client", {"mode": "client"}),
    (ADD, "vm", "Größe", {"vm": "Größe"}),
    (ADD, "spoof_check", "on", {"spoof_check": True}),
    (ADD, "spoof_check", "off", {"spoof_check": False}),
    (ADD, "ctrl_vq", "on", {"ctrl_vq": True}),
    (ADD, "ctrl_vq", "off", {"ctrl_vq": False}),
    (ADD, "bind", "on", {"bind": True}),
    (ADD, "bind", "off", {"bind": False}),
    (ADD, "standby", "sim/nic1", {"standby": "sim/nic1"}),
    (ADD, "datapath", "sim", {"datapath": "sim"}),
    (SET, "datapath", "relay", {"datapath": "relay"}),
    (SET, "mac", "2:0:0:0:0:1", {"mac": "02:00:00:00:00:01"}),
    (SET, "mtu", "9000", {"mtu": 9000}),
    (SET, "spoof_check", "off", {"spoof_check": False}),
    (SET, "log_level", "error", {"log_level": "error"}),
    (SET, "log_level", "debug", {"log_level": "debug"}),
    (SET, "link", "up", {"link": "up"}),
    (SET, "link", "down", {"link": "down"}),
]


@pytest.mark.parametrize("command, keyword, value, fact", TAKEN)
def test_values_are_taken(vdpa, daemon, command, keyword, value, fact):
    assert vdpa(*command, keyword, value) == (0, b"", "")
    given = {"name": "vm1"} | ({"mgmtdev": "sim/nic0"} if command is ADD else {})
    assert daemon.asked() == [(f"dev.{command[1]}", given | fact)]


def test_all_keywords_at_once(vdpa, daemon):
    assert vdpa(*("dev add spoof_check off vm two mode client socket /s device_features 20 "
                  "max_vqp 2 mtu 9000 mac 2:0:0:0:0:1 mgmtdev sim/nic0 name vm1").split()) == (0, b"", "")
    assert daemon.asked() == [("dev.add", {
        "name": "vm1", "mgmtdev": "sim/nic0", "mac": "02:00:00:00:00:01", "mtu": 9000, "max_vqp": 2,
        "features": "0x20", "socket": "/s", "mode": "client", "vm": "two", "spoof_check": False})]
    assert vdpa(*"dev set name vm1 link down log_level info spoof_check on mac 2:0:0:0:0:1".split()
                ) == (0, b"", "")
    assert daemon.asked()[1] == ("dev.set", {
        "name": "vm1", "link": "down", "log_level": "info", "spoof_check": True,
        "mac": "02:00:00:00:00:01"})


MTU, VQP = "68 to 65535", "1 to 65535"
BITS = "hexadecimal, 0x0 to 0xffffffffffffffff"

# The keyword, its values, and what is possible.
IMPOSSIBLE = [
    (ADD, "mtu", ["", "67", "65536", "0x5dc", "1500k", "-1", "+1500", " 1500", "1500 ", "1.5", "zz",
                  "18446744073709551616", "99999999999999999999999"], MTU),
    (ADD, "max_vqp", ["", "0", "65536", "0x1", "one", "-1"], VQP),
    (ADD, "device_features", ["", "0x", "zz", "0x10000000000000000", "-1", "+1", "0x0x1", "1 "],
     BITS),
    (ADD, "socket", ["", "relative", "./a"], "an absolute path"),
    (ADD, "mode", ["", "serve", "servers", "server|client", "|", "Server"], "server|client"),
    (ADD, "spoof_check", ["", "yes", "true", "1", "On"], "on|off"),
    (SET, "mtu", ["67", "65536", "x"], MTU),
    (ADD, "ctrl_vq", ["", "yes", "0", "ON"], "on|off"),
    (SET, "spoof_check", ["of"], "on|off"),
    (SET, "log_level", ["", "err", "3", "warn"], "error|warning|info|debug"),
    (SET, "link", ["", "u", "on"], "up|down"),
    ("dev upgrade vm1".split(), "worker", ["", "worker"], "an absolute path"),
    ("dev vstats show vm1".split(), "qidx", ["", "x", "0x1", "-1", "4294967296"],
     "0 to 4294967295"),
]


@pytest.mark.parametrize("command, keyword, value, possible", [
    (command, keyword, value, possible)
    for command, keyword, values, possible in IMPOSSIBLE for value in values])
def test_impossible_values_are_refused_with_what_is_possible(vdpa, daemon, command, keyword, value,
                                                             possible):
    assert vdpa.complaint("--", *command, keyword, value) == (
        f'{keyword}: "{value}" is not possible; possible: {possible}\n')
    assert daemon.requests == []


@pytest.mark.parametrize("command", [ADD, SET])
@pytest.mark.parametrize("mac", [
    "", "zz", "1:2", "52:54:00:00:00", "52:54:00:00:00:00:01", "52:54:00:00:00:001", "1.2.3.4",
    "52-54-00-00-00-01", "52:54:00:00:00:0g", "52:54::00:00:01", "52:54:00:00:00:01 "])
def test_an_address_has_six_groups(vdpa, daemon, command, mac):
    assert vdpa.complaint(*command, "mac", mac) == f'"{mac}" is invalid lladdr.\n'
    assert daemon.requests == []


def test_a_handle_has_one_slash_at_most(vdpa, daemon):
    for handle in ("a/b/c", "//", "a//b"):
        assert vdpa.complaint("dev", "add", "name", "x", "mgmtdev", handle) == (
            "Wrong vdpa mgmtdev identification string format\n"
            'Expected "mgmtdev_bus_name/mgmtdev_name"\nExpected "mgmtdev_name"\n')
    assert vdpa.complaint("mgmtdev", "show", "a/b/c").startswith("Wrong vdpa mgmtdev")
    assert daemon.requests == []


# Which names are good is for those to say who have devices. They have to be text.
@pytest.mark.parametrize("words", [
    "dev add mgmtdev nic0 name {}", "dev add name x mgmtdev {}", "dev add name x mgmtdev y vm {}",
    "dev add name x mgmtdev y socket /{}", "dev set name {}", "dev del {}", "dev show {}",
    "dev config show {}", "dev status show {}", "dev vstats show {}", "dev upgrade {}",
    "dev dump {}", "mgmtdev show {}", "mgmtdev status show {}", "monitor {}"])
def test_names_have_to_be_text(vdpa, daemon, words):
    for bad in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc1\x81", b"\xf4\x90\x80\x80",
                b"x" * 4096):
        filled = [word.encode().replace(b"{}", bad) for word in words.split()]
        err = vdpa.complaint(*filled)
        assert err.endswith('" is not possible; possible: 1 to 4095 bytes of UTF-8\n')
        if b"/" not in filled[-1] and words.endswith("{}"):
            filled[-1] = b""
            assert vdpa.complaint(*filled).endswith("possible: 1 to 4095 bytes of UTF-8\n")
    assert daemon.requests == []


@pytest.mark.parametrize("name", ["-a", ".a", "a b", "x" * 33, "a/b", "\x1b[31m"])
def test_other_names_go_to_the_daemon_as_they_are(vdpa, daemon, name):
    assert vdpa("--", "dev", "add", "mgmtdev", "nic0", "name", name) == (0, b"", "")
    assert daemon.asked() == [("dev.add", {"name": name, "mgmtdev": "nic0"})]


def test_complaints_steer_no_terminal(vdpa):
    assert vdpa.complaint("\x1b[31m\n") == 'Object "?[31m?" not found\n'

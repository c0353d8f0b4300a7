# SPDX-License-Identifier: BSD-2-Clause
"""Words, prefixes and options: iproute2's, and ours after them."""
import os
import subprocess

import pytest

import samples

ALL, VM1 = {}, {"name": "vm1"}

# Words, and what the daemon is then asked for.
UNDERSTOOD = [
    ("mgmtdev show", "mgmtdev.show", ALL),
    ("mgmtdev list", "mgmtdev.show", ALL),
    ("m s", "mgmtdev.show", ALL),
    ("mg l sim/nic0", "mgmtdev.show", {"handle": "sim/nic0"}),
    ("mgmtdev status", "mgmtdev.show", ALL),
    ("m st", "mgmtdev.show", ALL),
    ("mgmtdev status show sim/nic0", "mgmtdev.show", {"handle": "sim/nic0"}),
    ("m stat s nic0", "mgmtdev.show", {"handle": "nic0"}),
    ("dev", "dev.show", ALL),
    ("d", "dev.show", ALL),
    ("dev show", "dev.show", ALL),
    ("dev list", "dev.show", ALL),
    ("d s", "dev.show", ALL),
    ("de l vm1", "dev.show", VM1),
    ("dev config", "dev.config", ALL),
    ("dev c", "dev.config", ALL),
    ("dev config show", "dev.config", ALL),
    ("d c s vm1", "dev.config", VM1),
    ("dev vstats show vm1", "dev.vstats", VM1),
    ("dev vstats show vm1 qidx 3", "dev.vstats", VM1 | {"qidx": 3}),
    ("dev add name vm1 mgmtdev sim/nic0", "dev.add", VM1 | {"mgmtdev": "sim/nic0"}),
    ("dev a n vm1 m nic0", "dev.add", VM1 | {"mgmtdev": "nic0"}),
    ("dev a ma 4 mg nic0 na vm1", "dev.add", VM1 | {"mgmtdev": "nic0", "max_vqp": 4}),
    ("dev add name x mgmtdev nic0 name vm1", "dev.add", VM1 | {"mgmtdev": "nic0"}),
    ("dev del vm1", "dev.del", VM1),
    ("d d vm1", "dev.del", VM1),
    ("dev set name vm1 mac 2:0:0:0:0:1", "dev.set", VM1 | {"mac": "02:00:00:00:00:01"}),
    ("dev set n vm1", "dev.set", VM1),
    ("dev status", "dev.status", ALL),
    ("dev st", "dev.status", ALL),
    ("dev status show", "dev.status", ALL),
    ("dev stat s vm1", "dev.status", VM1),
    ("dev upgrade vm1", "dev.upgrade", VM1),
    ("dev u vm1 worker /w", "dev.upgrade", VM1 | {"worker": "/w"}),
    ("dev dump vm1 file -", "dev.dump", VM1),
    ("dev du vm1 file -", "dev.dump", VM1),
]


@pytest.mark.parametrize("words, method, params", UNDERSTOOD)
def test_words_are_understood(vdpa, daemon, words, method, params):
    daemon.answers = samples.ANSWERS
    status, _, err = vdpa(*words.split())
    assert (status, err) == (0, "")
    assert daemon.asked() == [(method, params)]


# Words, and the complaint.
REFUSED = [
    ("nosuch", 'Object "nosuch" not found'),
    ("M s", 'Object "M" not found'),
    ("mgmtdevs", 'Object "mgmtdevs" not found'),
    ("mgmtdev nosuch", 'Command "nosuch" not found'),
    ("mgmtdev shows", 'Command "shows" not found'),
    ("mgmtdev status list", 'Command "list" not found'),
    ("dev nosuch", 'Command "nosuch" not found'),
    ("dev v show vm1", 'Command "v" not found'),
    ("dev vstat show vm1", 'Command "vstat" not found'),
    ("dev se name vm1", 'Command "se" not found'),
    ("dev config list", 'Command "list" not found'),
    ("dev vstats s vm1", 'Command "s" not found'),
    ("dev vstats h", 'Command "h" not found'),
    ("dev status list", 'Command "list" not found'),
    # iproute2 does not look at a single word too many; two are an error there, too.
    ("mgmtdev show sim/nic0 more", 'Unknown option "more"'),
    ("mgmtdev status show sim/nic0 more", 'Unknown option "more"'),
    ("dev show vm1 more", 'Unknown option "more"'),
    ("dev config show vm1 more words", 'Unknown option "more"'),
    ("dev status show vm1 more", 'Unknown option "more"'),
    ("dev del vm1 vm2", 'Unknown option "vm2"'),
    ("dev del vm1 vm2 vm3", 'Unknown option "vm2"'),
    ("dev vstats show vm1 qid 0", 'Unknown option "qid"'),
    ("dev upgrade vm1 /worker", 'Unknown option "/worker"'),
    ("dev upgrade vm1 work /worker", 'Unknown option "work"'),
    ("dev dump vm1 /file", 'Unknown option "/file"'),
    ("dev add name vm1 mgmtdev nic0 more", 'Unknown option "more"'),
    ("dev add name vm1 mgmtdev nic0 mt 1500", 'Unknown option "mt"'),
    ("dev add name vm1 mgmtdev nic0 qidx 1", 'Unknown option "qidx"'),
    ("dev add name vm1 mgmtdev nic0 spoof on", 'Unknown option "spoof"'),
    ("dev add name vm1 mgmtdev nic0 link up", 'Unknown option "link"'),
    ("dev set name vm1 max_vqp 2", 'Unknown option "max_vqp"'),
    ("monitor vm1 vm2", 'Unknown option "vm2"'),
    ("dev del", "String parameter expected"),
    ("dev upgrade", "String parameter expected"),
    ("dev dump", "String parameter expected"),
    ("dev add", "management device handle not set."),
    ("dev add name vm1", "management device handle not set."),
    ("dev add mgmtdev nic0", "device name is not set."),
    ("dev set", "device name is not set."),
    ("dev set mac 2:0:0:0:0:1", "device name is not set."),
]


@pytest.mark.parametrize("words, complaint", REFUSED)
def test_words_are_refused_and_the_daemon_is_not_asked(vdpa, daemon, words, complaint):
    assert vdpa.complaint(*words.split()) == complaint + "\n"
    assert daemon.requests == []


def test_no_word_begins_with_nothing(vdpa):
    assert vdpa.complaint("") == 'Object "" not found\n'
    assert vdpa.complaint("dev", "") == 'Command "" not found\n'
    assert vdpa.complaint("dev", "add", "", "x") == 'Unknown option ""\n'


# A keyword at the end: what is missing altogether is said first, as iproute2 does.
@pytest.mark.parametrize("words, complaint", [
    ("dev add mgmtdev nic0 name", "device name is not set."),
    ("dev add name", "management device handle not set."),
    ("dev add name vm1 mgmtdev", "management device handle not set."),
    ("dev add name vm1 mgmtdev nic0 mac", "mac: String parameter expected"),
    ("dev add name vm1 mgmtdev nic0 mtu", "mtu: number expected"),
    ("dev add name vm1 mgmtdev nic0 ma", "max_vqp: number expected"),
    ("dev add name vm1 mgmtdev nic0 device_features", "device_features: number expected"),
    ("dev add name vm1 mgmtdev nic0 socket", "socket: String parameter expected"),
    ("dev add name vm1 mgmtdev nic0 name", "name: String parameter expected"),
    ("dev add name vm1 mgmtdev nic0 mgmtdev",
     'mgmtdev: vdpa identification ("mgmtdev_bus_name/mgmtdev_name") expected'),
    ("dev set name vm1 link", "link: String parameter expected"),
    ("dev upgrade vm1 worker", "worker: String parameter expected"),
    ("dev dump vm1 file", "file: String parameter expected"),
])
def test_a_keyword_without_a_value_is_refused(vdpa, daemon, words, complaint):
    assert vdpa.complaint(*words.split()) == complaint + "\n"
    assert daemon.requests == []


@pytest.mark.parametrize("words", ["dev vstats show", "dev vstats show vm1 qidx",
                                   "dev vstats show vm1 qidx 0 more"])
def test_vstats_takes_one_word_or_three(vdpa, daemon, golden, words):
    golden(vdpa.complaint(*words.split()).encode(), "help-dev-vstats.txt")
    assert daemon.requests == []


@pytest.mark.parametrize("words, name", [
    ("", "help"), ("help", "help"), ("h", "help"), ("help more", "help"), ("-h", "help"),
    ("--help", "help"), ("--he", "help"), ("dev -h", "help"),
    ("mgmtdev", "help-mgmtdev"), ("mgmtdev help", "help-mgmtdev"), ("m h", "help-mgmtdev"),
    ("mgmtdev status help", "help-mgmtdev-status"), ("m st h", "help-mgmtdev-status"),
    ("dev help", "help-dev"), ("d he", "help-dev"),
    ("dev config help", "help-dev-config"), ("dev c h", "help-dev-config"),
    ("dev vstats help", "help-dev-vstats"), ("dev status h", "help-dev-status"),
    ("monitor help", "help-monitor"),
])
def test_help_needs_no_daemon_and_goes_to_stderr(vdpa, golden, words, name):
    status, out, err = vdpa(*words.split())
    assert (status, out) == (0, b"")
    golden(err.encode(), f"{name}.txt")


def test_vstats_alone_is_help_and_a_failure(vdpa, golden):
    golden(vdpa.complaint("dev", "vstats").encode(), "help-dev-vstats.txt")


@pytest.mark.parametrize("option", ["-V", "--Version", "--V", "-jV"])
def test_the_version_goes_to_stdout(vdpa, option):
    status, out, err = vdpa(option)
    assert (status, err) == (0, "")
    assert out.startswith(b"vdpa utility, vdpad-")
    assert out.count(b"\n") == 1


@pytest.mark.parametrize("option, said", [
    ("-n", "vdpa: invalid option -- 'n'\n"),
    ("-s", ""),
    ("--nosuch", "vdpa: unrecognized option '--nosuch'\n"),
    ("--socket", "vdpa: option '--socket' requires an argument\n"),
])
def test_unknown_options_are_refused(vdpa, golden, option, said):
    err = vdpa.complaint(option)
    assert err.startswith(f"{said}Unknown option.\n")
    golden(err[len(said) + len("Unknown option.\n"):].encode(), "help.txt")


@pytest.mark.parametrize("words", [
    "-j dev show", "dev -j show", "dev show -j", "--json dev show", "--js dev show",
    "dev show --j", "-j -- dev show", "-j -j dev show"])
def test_options_may_stand_anywhere(vdpa, daemon, golden, words):
    daemon.answers = samples.ANSWERS
    golden(vdpa(*words.split())[1], "dev.json")


@pytest.mark.parametrize("words", [
    "-jp dev show", "-pj dev show", "-p dev -j show", "dev show --json --pretty"])
def test_options_may_stand_together(vdpa, daemon, golden, words):
    daemon.answers = samples.ANSWERS
    golden(vdpa(*words.split())[1], "dev.pretty.json")


def test_pretty_alone_does_nothing(vdpa, daemon, golden):
    daemon.answers = samples.ANSWERS
    golden(vdpa("-p", "dev", "show")[1], "dev.txt")


def test_what_follows_two_dashes_is_no_option(vdpa, daemon):
    daemon.answers = samples.ANSWERS
    assert vdpa("dev", "show", "--", "-j")[0] == 0
    assert daemon.asked() == [("dev.show", {"name": "-j"})]


@pytest.mark.parametrize("words, status", [
    ("help", 0), ("dev add name vm1 mgmtdev nic0", 0), ("dev del vm1", 0),
    ("dev set name vm1 mac 2:0:0:0:0:1", 0), ("dev upgrade vm1", 0),
    ("nosuch", 1), ("dev del", 1), ("dev show a b", 1)])
def test_json_without_an_object_is_an_empty_line(vdpa, daemon, words, status):
    assert vdpa("-j", *words.split())[:2] == (status, b"\n")
    assert vdpa(*words.split())[:2] == (status, b"")


def test_the_option_for_the_socket_wins_over_the_environment(vdpa, daemon):
    daemon.answers = samples.ANSWERS
    nowhere = {"environment": {"VDPAD_SOCKET": "/nowhere/a.sock"}}
    assert "/nowhere/a.sock" in vdpa.complaint("dev", **nowhere)
    assert vdpa("dev", f"--socket={vdpa.socket}", **nowhere)[0] == 0
    assert vdpa("--socket", vdpa.socket, "dev", **nowhere)[0] == 0
    assert vdpa("--so", vdpa.socket, "dev", **nowhere)[0] == 0
    assert len(daemon.requests) == 3


@pytest.mark.skipif(os.path.exists("/run/vdpad/control.sock"), reason="vdpad runs here")
def test_the_default_socket_is_in_run(vdpa):
    assert "/run/vdpad/control.sock" in vdpa.complaint("dev", environment={"VDPAD_SOCKET": ""})


def test_output_that_gets_lost_is_a_failure(vdpa, daemon):
    daemon.answers = samples.ANSWERS
    with open("/dev/full", "wb") as full:
        process = vdpa.start("dev", "show", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == b"can't write the output: No space left on device\n"


def test_a_reader_that_is_gone_ends_it(vdpa, daemon):
    daemon.answers = samples.ANSWERS
    reader, writer = os.pipe()
    os.close(reader)
    process = vdpa.start("dev", "show", stdout=writer)
    os.close(writer)
    process.communicate(timeout=60)
    assert process.returncode != 0


def test_program_is_installed_with_no_privileges(vdpa):
    # It is not set-user-id: whoever runs it is who the daemon sees.
    from conftest import PROGRAM
    assert PROGRAM.stat().st_mode & 0o6000 == 0
    assert subprocess.run([PROGRAM, "-V"], capture_output=True, check=True).stderr == b""

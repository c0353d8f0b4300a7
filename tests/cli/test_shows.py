# SPDX-License-Identifier: BSD-2-Clause
"""What shows print, byte by byte: iproute2's forms, and ours."""
import json

import pytest

import samples

SHOWS = [
    ("mgmtdev show", "mgmtdev", "mgmtdevs", "mgmtdev.show"),
    ("mgmtdev status show", "mgmtdev_status", "mgmtdevs", "mgmtdev.show"),
    ("dev show", "dev", "devs", "dev.show"),
    ("dev config show", "config", "devs", "dev.config"),
    ("dev status show", "status", "devs", "dev.status"),
    ("dev migration show", "migration", "devs", "dev.migration"),
]
FORMS = [([], "txt"), (["-j"], "json"), (["-jp"], "pretty.json")]


@pytest.mark.parametrize("options, ending", FORMS)
@pytest.mark.parametrize("command, section, key, method", SHOWS)
def test_several_are_shown(vdpa, daemon, golden, command, section, key, method, options, ending):
    daemon.answers = samples.ANSWERS
    status, out, err = vdpa(*options, *command.split())
    assert (status, err) == (0, "")
    assert daemon.asked() == [(method, {})]
    golden(out, f"{section}.{ending}")


@pytest.mark.parametrize("options, ending", FORMS)
@pytest.mark.parametrize("command, section, key, method", SHOWS)
def test_one_is_asked_for_by_its_name(vdpa, daemon, golden, command, section, key, method, options,
                                      ending):
    first = samples.ANSWERS[method][key][0]
    handle = "handle" if key == "mgmtdevs" else "name"
    daemon.answers = {method: {key: [first]}}
    status, out, err = vdpa(*options, *command.split(), first[handle])
    assert (status, err) == (0, "")
    assert daemon.asked() == [(method, {handle: first[handle]})]
    golden(out, f"{section}-one.{ending}")


@pytest.mark.parametrize("command, section, key, method", SHOWS)
def test_none_is_an_empty_object_or_no_text(vdpa, daemon, command, section, key, method):
    daemon.answers = {method: {key: []}}
    assert vdpa(*command.split()) == (0, b"", "")
    assert vdpa("-j", *command.split()) == (0, b'{"%s":{}}\n' % section.encode(), "")
    assert vdpa("-jp", *command.split()) == (0, b'{\n    "%s": {}\n}\n' % section.encode(), "")


@pytest.mark.parametrize("command, section, key, method", SHOWS)
def test_what_is_printed_is_json(vdpa, daemon, command, section, key, method):
    daemon.answers = samples.ANSWERS
    compact = json.loads(vdpa("-j", *command.split())[1])
    assert compact == json.loads(vdpa("-jp", *command.split())[1])
    items = samples.ANSWERS[method][key]
    handle = "handle" if key == "mgmtdevs" else "name"
    assert list(compact) == [section]
    assert list(compact[section]) == [item[handle] for item in items]


def test_status_in_json_has_all_that_the_daemon_says_in_its_order(vdpa, daemon):
    item = samples.STATUS[0] | {"of_later": {"nobody": ["knows", None, 1.5]}}
    daemon.answers = {"dev.status": {"devs": [item]}}
    shown = json.loads(vdpa("-j", "dev", "status", "show")[1])["status"]["vm1"]
    assert list(shown.items()) == [pair for pair in item.items() if pair[0] != "name"]


@pytest.mark.parametrize("command, section, key, method",
                         [show for show in SHOWS if show[1] in ("mgmtdev", "dev", "config")])
def test_keys_of_later_daemons_change_nothing_of_iproute2s_forms(vdpa, daemon, golden, command,
                                                                 section, key, method):
    items = [item | {"of_later": [{}]} for item in samples.ANSWERS[method][key]]
    daemon.answers = {method: {key: items, "more": 1}}
    golden(vdpa(*command.split())[1], f"{section}.txt")
    golden(vdpa("-j", *command.split())[1], f"{section}.json")


@pytest.mark.parametrize("options, ending", FORMS)
def test_counters_of_one_queue(vdpa, daemon, golden, options, ending):
    daemon.answers = {"dev.vstats": {"queues": samples.QUEUES[:1]}}
    status, out, err = vdpa(*options, *"dev vstats show vm1 qidx 0".split())
    assert (status, err) == (0, "")
    assert daemon.asked() == [("dev.vstats", {"name": "vm1", "qidx": 0})]
    golden(out, f"vstats-one.{ending}")


@pytest.mark.parametrize("options, ending", FORMS)
def test_counters_of_all_queues(vdpa, daemon, golden, options, ending):
    daemon.answers = samples.ANSWERS
    status, out, err = vdpa(*options, *"dev vstats show vm1".split())
    assert (status, err) == (0, "")
    assert daemon.asked() == [("dev.vstats", {"name": "vm1"})]
    golden(out, f"vstats.{ending}")


def test_counters_of_all_queues_have_one_form_however_many_there_are(vdpa, daemon):
    daemon.answers = {"dev.vstats": {"queues": samples.QUEUES[:1]}}
    status, out, _ = vdpa("-j", *"dev vstats show vm1".split())
    assert status == 0
    assert json.loads(out)["vstats"]["vm1"]["queues"][0]["qidx"] == 0


def test_no_spoofed_address_is_named_when_the_daemon_names_none(vdpa, daemon):
    item = samples.STATUS[0] | {"counters": samples.STATUS[0]["counters"] | {"spoof_drops": 1}}
    daemon.answers = {"dev.status": {"devs": [item]}}
    assert (b"  dropped 1 frame from the guest: source address was not the device's "
            b"(52:54:00:00:00:01); give the guest the device's MAC, or: vdpa dev set name vm1 "
            b"spoof_check off\n") in vdpa("dev", "status")[1]


def test_why_a_device_is_relayed_is_said_below_its_state(vdpa, daemon):
    daemon.answers = {"dev.status": {"devs": [samples.STATUS[0] | {
        "datapath": "relay", "datapath_reason": "it has to be"}]}}
    lines = vdpa("dev", "status", "show", "vm1")[1].decode().splitlines()
    assert lines[0].startswith("vm1: running relay, ")
    assert lines[1] == "  relayed: it has to be"


@pytest.mark.parametrize("seconds, text", [
    (1, "1s"), (59, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86399, "23h59m"),
    (86400, "1d00h"), (100 * 86400 + 3 * 3600, "100d03h")])
def test_times_have_two_units(vdpa, daemon, seconds, text):
    daemon.answers = {"dev.status": {"devs": [samples.STATUS[0] | {"uptime_s": seconds}]}}
    assert vdpa("dev", "status")[1].decode().split("\n")[0].endswith(f", up {text}")


def test_a_thousand_devices_in_pieces_of_any_size(vdpa, daemon):
    devs = [samples.STATUS[0] | {"name": f"vm{i}", "vm": "x" * (i % 97)} for i in range(1000)]
    daemon.answers = {"dev.status": {"devs": devs}}
    daemon.piece = 4099
    status, out, err = vdpa("-j", "dev", "status")
    assert (status, err) == (0, "")
    assert list(json.loads(out)["status"]) == [dev["name"] for dev in devs]
    status, out, err = vdpa("dev", "status")
    assert (status, err) == (0, "")
    assert out.count(b"front-end connected") == 1000


def test_an_answer_byte_by_byte(vdpa, daemon, golden):
    daemon.answers = samples.ANSWERS
    daemon.piece = 1
    golden(vdpa("dev", "status")[1], "status.txt")


STEERING = "\x1b\x07\r\t\x7f\x9b\u202e\u2028"
NASTY = "a\x1b[31m\x07\n\r\t\x7f\x9b\u202e\u2028\\\"'é\U0001f600"


def test_nothing_in_text_steers_the_terminal(vdpa, daemon):
    daemon.answers = {
        "mgmtdev.show": {"mgmtdevs": [{
            "handle": NASTY, "classes": [NASTY], "features": [NASTY], "state": NASTY,
            "reason": NASTY, "uplink": NASTY, "uplink_state": NASTY}]},
        "dev.show": {"devs": [samples.DEVS[0] | {"name": NASTY, "type": NASTY}]},
        "dev.status": {"devs": [samples.STATUS[1] | {
            "name": NASTY, "reason": NASTY, "vm": NASTY, "mac": NASTY, "last_spoof_mac": NASTY,
            "state": NASTY, "datapath": NASTY, "datapath_reason": NASTY, "worker": NASTY, "features": [NASTY]}]},
        "dev.vstats": {"queues": [{"qidx": 0, "queue_type": NASTY, "stats": {NASTY: 1}}]},
    }
    shown = "a?[31m????????\\\"'é\U0001f600"
    for command, lines in (("mgmtdev show", 3), ("mgmtdev status", 3), ("dev show", 1),
                           ("dev vstats show x qidx 0", 1)):
        out = vdpa(*command.split())[1].decode()
        assert out.count("\n") == lines
        assert shown in out
        assert not set(out) & set(STEERING)
    out = vdpa("dev", "status")[1].decode()
    assert not set(out) & set(STEERING)
    assert f"{shown}: {shown} {shown}, front-end" in out


def test_in_json_such_text_is_escaped_and_stays_the_same(vdpa, daemon):
    daemon.answers = {"dev.show": {"devs": [samples.DEVS[0] | {"name": NASTY, "type": NASTY}]}}
    out = vdpa("-j", "dev")[1].decode()
    assert not set(out[:-1]) & set(STEERING + "\n")
    assert json.loads(out)["dev"][NASTY]["type"] == NASTY
    assert r'"a\u001b[31m\u0007\n\r\t\u007f\u009b\u202e\u2028\\\"' in out

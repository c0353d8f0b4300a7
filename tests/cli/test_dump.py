# SPDX-License-Identifier: BSD-2-Clause
"""`vdpa dev dump`: one new file that only its owner may read."""
import json
import os
import re
import resource

import pytest

import samples

DUMP = "dev dump vm1".split()


@pytest.fixture(autouse=True)
def answers(daemon):
    daemon.answers = {"dev.dump": {"dump": dict(samples.DUMP)}}


def files(folder):
    return sorted(name for name in os.listdir(folder) if name != "control.sock")


def test_it_is_a_new_file_in_the_folder_one_is_in(vdpa, daemon, folder):
    status, out, err = vdpa(*DUMP)
    assert (status, err) == (0, "")
    name, = files(folder)
    assert re.fullmatch(r"vdpa-dump-vm1-\d{8}-\d{6}\.json", name)
    assert out.decode() == f"./{name}\n"
    assert (folder / name).stat().st_mode & 0o7777 == 0o600
    assert json.loads((folder / name).read_text()) == {
        "name": "vm1", "version": "0.1.0",
        "worker_report": {"state": "running", "log": ["one", "two"]}}
    assert daemon.asked() == [("dev.dump", {"name": "vm1"})]


def test_it_is_for_its_owner_whatever_the_umask_is(vdpa, folder):
    assert vdpa(*DUMP, "file", "a.json", umask=0)[0] == 0
    assert (folder / "a.json").stat().st_mode & 0o7777 == 0o600


def test_the_file_can_be_chosen(vdpa, folder, golden):
    status, out, err = vdpa(*DUMP, "file", f"{folder}/a.json")
    assert (status, out.decode(), err) == (0, f"{folder}/a.json\n", "")
    golden((folder / "a.json").read_bytes(), "dump.json")


@pytest.mark.parametrize("options", [[], ["-j"], ["-jp"]])
def test_a_dash_is_the_output(vdpa, folder, golden, options):
    status, out, err = vdpa(*options, *DUMP, "file", "-")
    assert (status, err) == (0, "")
    golden(out, "dump.json")
    assert files(folder) == []


def test_json_names_the_file(vdpa, folder):
    assert vdpa("-j", *DUMP, "file", "a.json") == (
        0, b'{"dump":{"vm1":{"file":"a.json"}}}\n', "")
    assert files(folder) == ["a.json"]


@pytest.mark.parametrize("report", ["", "{", "not JSON", "{} {}", "[1,]", "\"\\ud800\"",
                                    "{\"a\":1e999999}"])
def test_a_report_that_is_not_json_stays_text(vdpa, daemon, report):
    daemon.answers["dev.dump"]["dump"]["worker_report"] = report
    status, out, _ = vdpa(*DUMP, "file", "-")
    assert status == 0
    assert json.loads(out)["worker_report"] == report


def test_a_dump_may_be_without_a_report(vdpa, daemon):
    dump = {"name": "vm1", "worker_error": "no answer", "more": [{"a": [[], {}, [1, [2]]]}, None]}
    daemon.answers = {"dev.dump": {"dump": dump}}
    assert json.loads(vdpa(*DUMP, "file", "-")[1]) == dump


def test_numbers_of_all_kinds_stay_what_they_are(vdpa, daemon):
    report = {"least": -2**63, "most": 2**63 - 1, "part": 0.1, "small": 1e-300, "no": False}
    daemon.answers["dev.dump"]["dump"]["worker_report"] = json.dumps(report)
    assert json.loads(vdpa(*DUMP, "file", "-")[1])["worker_report"] == report


def test_nothing_is_overwritten(vdpa, folder):
    (folder / "there").write_text("precious")
    os.symlink("nowhere", folder / "link")
    for name in ("there", "link"):
        assert vdpa.complaint(*DUMP, "file", name) == (
            f"{name}: File exists; nothing is written (choose another with: file PATH)\n")
    assert (folder / "there").read_text() == "precious"
    assert files(folder) == ["link", "there"]


def test_a_folder_that_is_not_there(vdpa, folder):
    assert vdpa.complaint(*DUMP, "file", "no/file") == (
        "no/file: No such file or directory; nothing is written (choose another with: file PATH)\n")
    assert vdpa.complaint(*DUMP, "file", str(folder)) == (
        f"{folder}: File exists; nothing is written (choose another with: file PATH)\n")


def test_half_a_file_is_no_file(vdpa, daemon, folder):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    daemon.answers["dev.dump"]["dump"]["long"] = "x" * 20000
    assert vdpa.complaint(*DUMP, "file", "a.json", preexec_fn=limit, restore_signals=False) == (
        "a.json: File too large; nothing is written (choose another with: file PATH)\n")
    assert files(folder) == []


def test_a_name_never_leads_to_another_folder(vdpa, folder):
    status, out, _ = vdpa("dev", "dump", "../../x")
    assert status == 0
    name, = files(folder)
    assert name.startswith("vdpa-dump-.._.._x-")
    assert out.decode() == f"./{name}\n"


def test_nothing_is_left_when_the_daemon_fails(vdpa, daemon, folder):
    for answer in ({}, {"dump": "x"}, {"dump": []}):
        daemon.answers = {"dev.dump": answer}
        assert "answers dev.dump with nonsense: dump is missing" in vdpa.complaint(*DUMP)
    assert files(folder) == []

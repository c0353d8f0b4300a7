# SPDX-License-Identifier: BSD-2-Clause
"""Completion in bash offers what the command knows."""
import re
import subprocess

import pytest

import samples
from conftest import PROGRAM, ROOT

SCRIPT = r"""
shopt -s extglob
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_vdpa
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(vdpa, daemon):
    """What is offered after a line; its last word is begun already."""
    daemon.answers = samples.ANSWERS

    def offered(line, environment=None):
        done = subprocess.run(
            ["bash", "--norc", "-c", SCRIPT, "bash", ROOT / "tools/vdpa/completion/vdpa", PROGRAM,
             *line.split(" ")], capture_output=True, text=True, check=True, cwd=vdpa.folder,
            env=environment or vdpa.environment(), timeout=60)
        assert done.stderr == ""
        return done.stdout.split()
    return offered


@pytest.mark.parametrize("line, offer", [
    ("", "mgmtdev dev monitor help"),
    ("m", "mgmtdev monitor"),
    ("-j -", "-V -j -p -h --Version --json --pretty --help --socket"),
    ("--s", "--socket"),
    ("mgmtdev ", "show list status help"),
    ("mgmtdev show ", "sim/nic0 sim/nic1 bare"),
    ("mgmtdev show bare ", ""),
    ("mgmtdev status ", "show help"),
    ("mgmtdev status show ", "sim/nic0 sim/nic1 bare"),
    ("mgmtdev status show bare ", ""),
    ("dev ", "show list add del config vstats set status migration upgrade dump help"),
    ("-jp dev s", "show set status"),
    ("dev show ", "vm1 vm2"),
    ("dev show vm1 ", ""),
    ("dev list vm", "vm1 vm2"),
    ("dev del ", "vm1 vm2"),
    ("dev config ", "show help"),
    ("dev status show ", "vm1 vm2"),
    ("dev status show vm1 ", ""),
    ("dev vstats show ", "vm1 vm2"),
    ("dev vstats show vm1 ", "qidx"),
    ("dev vstats show vm1 qidx ", ""),
    ("dev add ", "name mgmtdev mac mtu max_vqp device_features socket mode vm spoof_check ctrl_vq host_notifier bind standby datapath"),
    ("dev add name ", ""),
    ("dev add name x ", "mgmtdev mac mtu max_vqp device_features socket mode vm spoof_check ctrl_vq host_notifier bind standby datapath"),
    ("dev add name x mgmtdev ", "sim/nic0 sim/nic1 bare"),
    ("dev add name x mgmtdev sim/nic0 m", "mac mtu max_vqp mode"),
    ("dev add mode ", "server client"),
    ("dev add spoof_check o", "on off"),
    ("dev add ctrl_vq o", "on off"),
    ("dev set ", "name mac mtu spoof_check log_level link datapath"),
    ("dev set name ", "vm1 vm2"),
    ("dev set name vm1 log_level ", "error warning info debug"),
    ("dev set name vm1 datapath ", "direct relay sim"),
    ("dev set name vm1 link ", "up down"),
    ("dev upgrade ", "vm1 vm2"),
    ("dev upgrade vm1 ", "worker"),
    ("dev upgrade vm1 worker c", "control.sock"),
    ("dev dump vm1 ", "file"),
    ("dev dump vm1 file con", "control.sock"),
    ("monitor ", "vm1 vm2"),
    ("--socket con", "control.sock"),
    ("nosuch ", ""),
])
def test_words_are_offered(complete, line, offer):
    assert complete(line) == offer.split()


def test_names_come_from_the_daemon_that_the_line_names(complete, vdpa):
    elsewhere = vdpa.environment(VDPAD_SOCKET="/nowhere")
    assert complete("dev show ", elsewhere) == []
    assert complete(f"--socket {vdpa.socket} dev show ", elsewhere) == ["vm1", "vm2"]


@pytest.mark.parametrize("name", [
    "$(touch${IFS}x)", "`touch x`", "a;b", "*", "a b", "~", "\x1b[31m"])
def test_nothing_in_a_name_is_evaluated(complete, daemon, folder, name):
    devs = [samples.DEVS[0] | {"name": name}, samples.DEVS[1]]
    daemon.answers = {"dev.show": {"devs": devs}}
    assert complete("dev show ") == ["vm2"]
    assert not (folder / "x").exists()


def test_each_command_and_keyword_is_offered(complete, vdpa):
    usage = vdpa("dev", "help")[2]
    commands = set(re.findall(r"vdpa dev (\w+)", usage))
    assert len(commands) == 10
    assert commands <= set(complete("dev "))
    for command in ("add", "set"):
        text = re.search(rf"dev {command} (.*?)(?=\n  +vdpa|\Z)", usage, re.DOTALL).group(1)
        keywords = set(re.findall(r"(?:^|\[ | )([a-z_]+) (?=[A-Z{])", text))
        assert keywords == set(complete(f"dev {command} "))

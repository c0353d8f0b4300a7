# SPDX-License-Identifier: BSD-2-Clause
"""What a user may get wrong: refused with a message that says what and why, and nothing changed."""
import os
import socket
import subprocess

import pytest

from vdpad_fixture import BUILD

ADD = ["dev", "add", "name", "x", "mgmtdev", "sim/nic0"]
LONG = "/tmp/" + "x" * 120

# Words, and what the message has to name.
COMMANDS = [
    (["dev", "add", "name", "x", "mgmtdev", "sim/nic7"],
     ["no management device sim/nic7", "mgmtdev show"]),
    (["dev", "add", "name", "x", "mgmtdev", "pci/0000:01:00.0"],
     ["no PCI function 0000:01:00.0"]),
    (["dev", "add", "name", "a", "mgmtdev", "sim/nic0"], ["device a already"]),
    (["dev", "add", "name", "../x", "mgmtdev", "sim/nic0"], ["../x", "letters"]),
    (["dev", "add", "name", ".x", "mgmtdev", "sim/nic0"], [".x"]),
    (["dev", "add", "name", "x" * 33, "mgmtdev", "sim/nic0"], ["32"]),
    (["dev", "add", "name", "", "mgmtdev", "sim/nic0"], ["name"]),
    (ADD + ["mac", "00:00:00:00:00:00"], ["00:00:00:00:00:00", "zero"]),
    (ADD + ["mac", "ff:ff:ff:ff:ff:ff"], ["ff:ff:ff:ff:ff:ff"]),
    (ADD + ["mac", "01:00:5e:00:00:01"], ["group"]),
    (ADD + ["mac", "52:54:00:00:01"], ["52:54:00:00:01"]),
    (ADD + ["mac", "52:54:00:00:00:zz"], ["52:54:00:00:00:zz"]),
    (ADD + ["mtu", "67"], ["67", "68", "65535"]),
    (ADD + ["mtu", "65536"], ["65536"]),
    (ADD + ["mtu", "1e3"], ["1e3"]),
    (ADD + ["max_vqp", "0"], ["0"]),
    (ADD + ["max_vqp", "65"], ["65", "64"]),
    (ADD + ["max_vqp", "many"], ["many"]),
    (ADD + ["device_features", "0x8000000000000000"], ["0x8000000000000000", "sim/nic0"]),
    (ADD + ["device_features", "fast"], ["fast"]),
    (ADD + ["socket", "relative.sock"], ["relative.sock", "absolute"]),
    (ADD + ["socket", LONG], ["too long", "107"]),
    (ADD + ["socket", "{file}"], ["{file}", "no socket"]),
    (ADD + ["socket", "{folder}"], ["{folder}", "no socket"]),
    (ADD + ["socket", "{served}"], ["{served}", "served"]),
    (ADD + ["socket", "{a}"], ["{a}", "device a"]),
    (ADD + ["socket", "/nonsense/x.sock"], ["/nonsense/x.sock", "No such file"]),
    (ADD + ["mode", "peer"], ["peer", "server", "client"]),
    (ADD + ["vm", "a/b"], ["a/b"]),
    (ADD + ["spoof_check", "maybe"], ["maybe"]),
    (ADD + ["ctrl_vq", "perhaps"], ["perhaps"]),
    (ADD + ["ctrl_vq", "on", "max_vqp", "64"], ["max_vqp 64", "63"]),
    (ADD + ["device_features", "0x100020000"], ["0x20000", "ctrl_vq on"]),
    (ADD + ["ctrl_vq", "on", "device_features", "0x100000000"], ["0x20000", "ctrl_vq on"]),
    (ADD + ["colour", "red"], ["colour"]),
    (["dev", "del", "nobody"], ["no device nobody", "dev show"]),
    (["dev", "show", "nobody"], ["no device nobody"]),
    (["dev", "status", "show", "nobody"], ["no device nobody"]),
    (["dev", "config", "show", "nobody"], ["no device nobody"]),
    (["dev", "vstats", "show", "nobody"], ["no device nobody"]),
    (["dev", "vstats", "show", "a", "qidx", "2"], ["a", "2", "0 to 1"]),
    (["dev", "upgrade", "nobody"], ["no device nobody"]),
    (["dev", "dump", "nobody"], ["no device nobody"]),
    (["dev", "set", "name", "nobody", "mac", "52:54:00:00:00:09"], ["no device nobody"]),
    (["dev", "set", "name", "a", "mac", "03:00:00:00:00:01"], ["03:00:00:00:00:01"]),
    (["dev", "set", "name", "a", "log_level", "loud"], ["loud"]),
    (["dev", "set", "name", "a", "link", "sideways"], ["sideways"]),
    (["mgmtdev", "show", "sim/nic7"], ["no management device sim/nic7"]),
    (["monitor", "nobody"], ["no device nobody"]),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A file, a folder and a socket that somebody serves, at paths that are short enough."""
    folder = tmp_path_factory.mktemp("p")
    file, served = folder / "file", folder / "served"
    file.write_text("keep me")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(served))
        listener.listen(1)
        yield {"file": file, "folder": folder, "served": served}
        assert file.read_text() == "keep me" and served.exists()


@pytest.fixture(scope="module")
def shared_vdpad():
    from vdpad_fixture import Vdpad
    vdpad = Vdpad()
    try:
        vdpad.start()
        vdpad.cli("dev", "add", "name", "a", "mgmtdev", "sim/nic0", "mac", "52:54:00:00:05:01")
        yield vdpad
    finally:
        vdpad.stop()


def everything(vdpad):
    state = {path.name: path.read_bytes() for path in (vdpad.state_dir / "devices").iterdir()}
    return (state, vdpad.json("dev", "show"), vdpad.json("dev", "config", "show"),
            sorted(os.listdir(vdpad.run_dir / "vhost")), sorted(os.listdir(vdpad.run_dir / "shim")),
            vdpad.status("a")["worker_pid"], len(vdpad.processes()))


@pytest.mark.parametrize("words, names", COMMANDS, ids=lambda value: "-".join(value)[:60])
def test_a_wrong_command_is_refused_and_changes_nothing(shared_vdpad, places, words, names):
    vdpad = shared_vdpad
    facts = {**{key: str(path) for key, path in places.items()},
             "a": str(vdpad.run_dir / "vhost/a.sock")}
    before = everything(vdpad)
    done = vdpad.try_cli(*(word.format(**facts) for word in words))
    assert done.returncode == 1 and done.stdout == ""
    for name in names:
        assert name.format(**facts) in done.stderr
    assert everything(vdpad) == before


def test_a_command_without_a_daemon_says_so(make_vdpad):
    done = make_vdpad(start=False).try_cli("dev", "show")
    assert done.returncode == 1 and "not running" in done.stderr and "control.sock" in done.stderr


def test_a_left_over_socket_is_replaced(vdpad, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    vdpad.cli(*ADD, "socket", str(path))
    with socket.socket(socket.AF_UNIX) as front_end:
        front_end.connect(str(path))


# ---- configuration

def check(path):
    return subprocess.run([BUILD / "tools/vdpad/vdpad", "--check-config", "--config", path],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("text, line, names", [
    ("[vdpad]\ncolour = red\n", 2, ["colour", "socket_group"]),
    ("[vdpad]\nlog_level = loud\n", 2, ["log_level", "loud", "debug"]),
    ("[vdpad]\n\nsocket_group = nosuchgroup\n", 3, ["socket_group", "nosuchgroup"]),
    ("[vdpad]\nworker_uids = 5-2\n", 2, ["worker_uids"]),
    ("[simnic nic0]\nuplink = sky\n", 2, ["uplink", "sky"]),
    ("[simnic nic0]\nuplink = tap:a-name-that-is-too-long\n", 2, ["uplink"]),
    ("[simnic nic0]\nuplink = tap:a,b\n", 2, ["uplink"]),
    ("[simnic nic0]\nthreads = 0\n", 2, ["threads", "1 to 16"]),
    ("[simnic nic0]\n[simnic nic0]\n", 2, ["twice"]),
    ("[simnic ../x]\n", 1, ["../x"]),
    ("[nonsense]\n", 1, ["nonsense"]),
    ("key = value\n", 1, ["key"]),
    ("[vdpad]\nwhat is this\n", 2, ["KEY = VALUE"]),
    ("[vdpad]\nlog_level = info\nlog_level = info\n", 3, ["twice"]),
    ("[vdpad]\nlog_level = " + "x" * 5000 + "\n", 2, ["too long"]),
])
def test_a_wrong_configuration_names_file_and_line(tmp_path, text, line, names):
    path = tmp_path / "vdpad.conf"
    path.write_text(text)
    done = check(path)
    assert done.returncode == 2 and f"{path}:{line}: " in done.stderr
    for name in names:
        assert name in done.stderr


def test_a_right_configuration_is_said_to_be_right(tmp_path):
    path = tmp_path / "vdpad.conf"
    path.write_text("[vdpad]\nlog_level = debug\n[simnic x]\nuplink = none\n[simnic y]\n")
    done = check(path)
    assert done.returncode == 0 and "2 management devices" in done.stdout


def test_a_configuration_that_is_not_there_is_named():
    done = check("/nonsense/vdpad.conf")
    assert done.returncode == 2 and "/nonsense/vdpad.conf: No such file" in done.stderr


@pytest.mark.parametrize("options", [["--nonsense"], ["word"], ["--log-level", "loud"], ["--config"]])
def test_wrong_options_are_refused(options):
    done = subprocess.run([BUILD / "tools/vdpad/vdpad", *options], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr


@pytest.mark.parametrize("options", [["--run-dir", "{file}"], ["--state-dir", "{file}"],
                                     ["--run-dir", "/nonsense/run"],
                                     ["--libexec-dir", "/nonsense"]])
def test_folders_that_can_t_be_used_are_named(tmp_path, options):
    file = tmp_path / "file"
    file.write_text("")
    options = [word.format(file=file) for word in options]
    command = [BUILD / "tools/vdpad/vdpad", "--run-dir", tmp_path / "run", "--state-dir",
               tmp_path / "state", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 1 and options[1] in done.stderr


def test_help_and_version_answer():
    for option, word in (("--help", "--check-config"), ("--version", "vdpad ")):
        done = subprocess.run([BUILD / "tools/vdpad/vdpad", option], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and word in done.stdout

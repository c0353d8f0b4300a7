# SPDX-License-Identifier: BSD-2-Clause
"""A vdpad that a demo starts in a folder of its own, and the command to talk to it."""
import json
import subprocess
import sys
import time
from pathlib import Path

from demo_end import END, Ended

REPO = Path(__file__).resolve().parents[1]
BUILD = REPO / "build"


def say(text):
    print(f"\n== {text}", flush=True)


class Host:
    """One vdpad with its NICs. `name` is shown where there are several."""

    def __init__(self, folder, name="", config=""):
        self.folder, self.name = Path(folder), name
        self.folder.mkdir(mode=0o755, exist_ok=True)
        self.run_dir = self.folder / "run"
        self.log = self.folder / "vdpad.log"
        self.config = self.folder / "vdpad.conf"
        self.config.write_text(config)
        self.daemon = None

    def vdpa(self, *words, show=True):
        """Run one command of the CLI and show it as it would be typed. It ends undisturbed, by Ctrl-C too: a
        device that is still being added is not there yet to be deleted."""
        command = [BUILD / "tools/vdpa/vdpa", "--socket", self.run_dir / "control.sock", *words]
        with END.undisturbed():
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  start_new_session=True)
        if show:
            print(f"{self.name}$ vdpa {' '.join(words)}\n{done.stdout}{done.stderr}", end="",
                  flush=True)
        return done

    def change(self, *words):
        """A command without which there is no demo."""
        if self.vdpa(*words).returncode != 0:
            raise SystemExit(1)

    def start(self, nics=("sim/nic0",)):
        """Start it and wait until it serves and its NICs are up."""
        with open(self.log, "wb") as log, END.undisturbed():
            self.daemon = subprocess.Popen(
                [BUILD / "tools/vdpad/vdpad", "--run-dir", self.run_dir,
                 "--state-dir", self.folder / "state", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while any(self.vdpa("mgmtdev", "show", nic, show=False).returncode for nic in nics):
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"vdpad didn't start:\n{self.log_text()}")
            time.sleep(0.1)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def devices(self):
        done = self.vdpa("-j", "dev", "show", show=False)
        return list(json.loads(done.stdout)["dev"]) if done.returncode == 0 else []

    def stop(self):
        """Delete all devices and end it; without devices simnic ends, too."""
        if not self.daemon or self.daemon.poll() is not None:
            return
        for name in self.devices():
            self.vdpa("dev", "del", name, show=False)
        self.daemon.terminate()
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()


def show(make, trouble):
    """Tell the story() of what make() returns, and clean_up() however it ends. An exception of the kind
    `trouble` is for its tell_trouble(). Return: the exit status."""
    END.take_signals()
    demo, status = None, 0
    try:
        with END.undisturbed():
            demo = make()
        demo.story()
        if "--keep" in sys.argv[1:]:
            demo.keep()
        say("All as it should be")
    except (Ended, SystemExit):  # Ctrl-C ends commands too, and then what needed them
        if END.status() is None:
            raise
    except trouble as error:
        demo.tell_trouble(error)
        status = 1
    finally:
        END.hold()
        if demo:
            demo.clean_up()
    return END.status() or status

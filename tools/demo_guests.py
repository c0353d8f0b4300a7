# SPDX-License-Identifier: BSD-2-Clause
"""The second half of tools/demo: devices, guests, traffic, and cleaning up."""
import shutil
import sys
import tempfile
import time
from pathlib import Path

from demo_end import END
from demo_host import BUILD, REPO, Host, say, show

sys.path.insert(0, str(REPO / "tests/system"))
from guest import Guest, GuestError  # noqa: E402

MACHINES = {"vm1": ("52:54:00:00:00:01", "10.0.0.1"), "vm2": ("52:54:00:00:00:02", "10.0.0.2")}
BULK = 256 * 1024 * 1024


class Demo:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="vdpad-demo-", dir="/tmp"))
        self.host = Host(self.folder)
        self.guests = {}

    def start_daemon(self):
        say(f"Starting vdpad in {self.folder}; it starts its software SmartNIC, sim/nic0")
        self.host.start()
        self.host.vdpa("mgmtdev", "show")

    def make_devices(self):
        say("Making a device for each virtual machine")
        for name, (mac, _) in MACHINES.items():
            self.host.change("dev", "add", "name", name, "mgmtdev", "sim/nic0", "mac", mac)
        self.host.vdpa("dev", "show")

    def boot(self):
        say("Booting two guests in QEMU (emulated, 5 to 20 seconds), one on each device's socket")
        for name, (mac, address) in MACHINES.items():
            guest = Guest(self.folder, name, self.host.run_dir / "vhost" / f"{name}.sock", mac, address)
            self.guests[name] = guest
            with END.undisturbed():
                guest.start()
        begun = time.monotonic()
        for guest in self.guests.values():
            guest.wait_ready()
        print(f"both are up after {time.monotonic() - begun:.1f} s")
        self.host.vdpa("dev", "status", "show", "vm1")

    def ping(self):
        say("vm1 pings vm2")
        print(self.guests["vm1"].run("ping -c 4 -i 0.3 10.0.0.2"), end="")

    def transfer(self):
        say(f"vm1 sends {BULK >> 20} MiB to vm2, which checks each byte; counters meanwhile")
        self.guests["vm2"].serve()
        begun = time.monotonic()
        self.guests["vm1"].begin(f"xfer send 10.0.0.2 5000 {BULK}")
        for _ in range(2):
            time.sleep(1.5)
            self.host.vdpa("dev", "vstats", "show", "vm1", "qidx", "1")
            self.host.vdpa("dev", "vstats", "show", "vm2", "qidx", "0")
        status, output = self.guests["vm1"].result(180)
        seconds = time.monotonic() - begun
        print(f"{output.strip()} ({BULK * 8 / seconds / 1e6:.0f} Mbit/s between emulated guests)")
        if status != 0:
            raise SystemExit("the bulk transfer failed")
        self.host.vdpa("dev", "status", "show")

    def keep(self):
        say("Leaving it running. In another terminal:")
        print(f"  export VDPAD_SOCKET={self.host.run_dir}/control.sock\n"
              f"  {BUILD}/tools/vdpa/vdpa dev show\n"
              f"  {BUILD}/tools/vdpa/vdpa dev status show\n"
              f"  {BUILD}/tools/vdpa/vdpa monitor\n"
              f"  less {self.folder}/vdpad.log {self.folder}/vm1.console\n"
              "Enter or Ctrl-C ends it.")
        sys.stdin.readline()

    def clean_up(self):
        say("Cleaning up")
        for guest in self.guests.values():
            guest.end()
        self.host.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def story(self):
        self.start_daemon()
        self.make_devices()
        self.boot()
        self.ping()
        self.transfer()

    def tell_trouble(self, error):
        print(error, file=sys.stderr)
        self.host.vdpa("dev", "status", "show")
        print(self.host.log_text()[-4000:], file=sys.stderr)


if __name__ == "__main__":
    sys.exit(show(Demo, GuestError))

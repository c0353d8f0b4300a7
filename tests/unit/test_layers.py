# SPDX-License-Identifier: BSD-2-Clause
"""Who may include whom: tools -> protocol -> vdpa <- drivers."""
import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# Programs that tests build; they measure or check from outside.
OUTSIDE = ("tests/", "build")

# Folder of the file that includes, and what it may include; the first row that fits decides.
ALLOWED = [
    ("vdpa/base/", ["vdpa/base/"]),
    ("vdpa/", ["vdpa/"]),
    # An IFC function is a virtio function, and more.
    ("drivers/ifc/", ["vdpa/driver.h", "vdpa/queue.h", "vdpa/base/", "drivers/drivers.h",
                      "drivers/virtio/", "drivers/ifc/"]),
    ("drivers/{own}/", ["vdpa/driver.h", "vdpa/queue.h", "vdpa/base/", "drivers/drivers.h",
                        "drivers/{own}/"]),
    ("drivers/", ["vdpa/driver.h", "vdpa/base/", "drivers/"]),
    ("protocol/", ["vdpa/", "protocol/"]),
    ("tools/simnic/", ["vdpa/base/", "vdpa/", "drivers/sim/mailbox.h",
                       "drivers/sim/position.h", "tools/simnic/"]),
    ("tools/vdpad/", ["vdpa/", "tools/vdpad/", "tools/shim/wire.h", "drivers/sim/mailbox.h",
                      "drivers/virtio/vfio.h", "drivers/virtio/iommufd.h"]),
    ("tools/worker/", ["vdpa/", "protocol/", "drivers/drivers.h", "tools/shim/wire.h",
                       "tools/worker/"]),
    ("tools/bench/", ["vdpa/", "drivers/sim/mailbox.h", "tools/bench/"]),
    ("tools/{own}/", ["vdpa/", "tools/{own}/", "tools/shim/wire.h"]),
]


def sources():
    for path in sorted(REPO.rglob("*.[ch]")):
        name = path.relative_to(REPO).as_posix()
        if not name.startswith(OUTSIDE):
            yield name, path


def allowed_for(name):
    parts = name.split("/")
    own = parts[1] if len(parts) > 2 else ""
    for start, targets in ALLOWED:
        if "{own}" in start and not own:
            continue
        if name.startswith(start.format(own=own)):
            return [target.format(own=own) for target in targets]
    raise AssertionError(f"{name} lies in a folder that has no rule; add one to ALLOWED")


def edges():
    for name, path in sources():
        for included in INCLUDE.findall(path.read_text()):
            # A file of one's own folder may be named without it.
            if "/" not in included:
                included = f"{Path(name).parent.as_posix()}/{included}"
            yield name, included


def test_each_include_follows_the_layers():
    wrong = [f"{name} includes {included}" for name, included in edges()
             if not included.startswith(tuple(allowed_for(name)))]
    assert not wrong, "\n".join(wrong)


def test_the_core_and_the_protocol_name_no_driver():
    names = [path.name for path in (REPO / "drivers").iterdir() if path.is_dir()]
    assert names
    word = re.compile(r"\b(" + "|".join(names) + r")_[a-z]+\s*\(")
    wrong = [name for name, path in sources()
             if name.startswith(("vdpa/", "protocol/")) and word.search(path.read_text())]
    assert not wrong


def test_drivers_have_never_heard_of_vhost_user():
    wrong = [name for name, path in sources() if name.startswith("drivers/")
             and re.search(r"vhost.?user", COMMENT.sub("", path.read_text()), re.IGNORECASE)]
    assert not wrong


def test_there_is_no_file_of_assorted_helpers():
    wrong = [name for name, _ in sources()
             if Path(name).stem in ("util", "utils", "helper", "helpers", "misc", "common")]
    assert not wrong


def test_each_file_says_its_licence():
    wrong = [name for name, path in sources()
             if "SPDX-License-Identifier: BSD-2-Clause" not in path.read_text()[:200]]
    assert not wrong

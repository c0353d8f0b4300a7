# SPDX-License-Identifier: BSD-2-Clause
"""What tests/run builds and runs: a table. lanes.py runs it."""
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

QUICK, NORMAL, ALL = range(3)  # what a run may be; each does what those before it do
PYTHON = "/usr/bin/python3"
SETUPS = {
    "build": ("gcc", []),
    "build-clang": ("clang", []),
    "build-asan": ("gcc", ["-Db_sanitize=address,undefined", "-Db_lundef=false"]),
    "build-tsan": ("clang", ["-Db_sanitize=thread", "-Db_lundef=false"]),
}
# Deaths at each system call are about order, not memory.
CRASH_POINTS = ["test_crash_points.py", "test_failover_crash_points.py",
                "test_replaced_crash_points.py"]
# Tables of messages and states, in the worker's one thread.
ONE_THREAD = ["test_matrix.py", "test_columns.py"]
WITHOUT_GUESTS = ["test_vdpad.py", "test_control.py", "test_front_end.py", "test_refusals.py", "test_pci.py",
                  "test_shim.py", "test_shim_client.py", "test_shim_hostile.py", "test_shim_upgrade.py",
                  "test_shim_vdpad.py"]
DEMO = ["test_demo.py"]
# What takes longest; the rest of tests/system, as long as these, runs beside it.
GUESTS_THAT_MOVE = ["test_iommu.py", "test_migration.py", "test_postcopy.py"]
HOUR = 3600


@dataclass
class Job:
    """One process of a lane, with a log of its own.

    kind: "tool" makes something and is not counted; "meson" and "pytest" are counted test by test,
    "program" is one test unless its last line is a sum like ours.
    needs: jobs that must have succeeded. compiles: one of these at a time, since it takes all cores.
    seconds: a limit for all of it, for what hangs; not a measure of what it takes.
    since: the first kind of run that has it.
    alone: nothing runs beside it.
    tells: lines of its log that are of interest also when all went well; a regular expression.
    """
    name: str
    kind: str
    command: list
    needs: tuple = ()
    since: int = NORMAL
    seconds: int = HOUR
    compiles: bool = False
    alone: bool = False
    tells: str = ""
    environment: dict = field(default_factory=dict)

    @property
    def log(self):
        return self.name.replace("tests/", "").replace(" on ", "-").replace(" ", "-").replace("/", "-")


def steady(*command):
    """ThreadSanitizer can't start where the kernel moves mappings about too much."""
    return ["setarch", os.uname().machine, "-R", *command]


def build(folder, since=NORMAL):
    compiler, options = SETUPS[folder]
    return Job(f"building {folder}", "tool", [
        "sh", "-c", '[ -f "$0/build.ninja" ] || meson setup "$0" "$@"; meson compile -C "$0"', folder,
        *options], () if folder == "build" else ("building build",), since, compiles=True,
        environment={"CC": compiler})


def unit(folder, since=NORMAL):
    return Job(f"unit tests on {folder}", "meson", steady(
        "meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", "3"),
        (f"building {folder}",), since)


def thorough():
    """Whether suites are to do all that they can, which --all tells them by this variable."""
    return bool(os.environ.get("VDPAD_ALL"))


def suite(name, folder, since=NORMAL, only=(), but=(), needs=(), tells=""):
    """A folder of tests in pytest; of them @only these files, or not those of @but."""
    path = Path("tests") / name
    files = [file for file in sorted(p.name for p in path.glob("test_*.py"))
             if (not only or file in only) and file not in but]
    missing = set(only) | set(but)
    missing -= {p.name for p in path.glob("test_*.py")}
    assert not missing, f"{path} has no {missing}"
    part = "" if not only and not but else " (part)" if since == NORMAL else " (the rest)"
    return Job(f"{path} on {folder}{part}", "pytest", steady(
        PYTHON, "-m", "pytest", *(str(path / file) for file in files), "-ra", "-p", "no:cacheprovider",
        "--timeout", str(HOUR if thorough() else 480)), (f"building {folder}", *needs), since,
        12 * HOUR if thorough() else HOUR, tells=tells,
        environment={"VDPAD_BUILD": folder})


def when_there(path, job):
    return [job] if Path(path).exists() else []


def jobs():
    """In the order in which a lane takes them, as far as they can run: those that take long first."""
    guests = ("building build-clang", "guest image")
    return [
        build("build", QUICK),
        Job("guest image", "tool", ["tests/guest/build", "build/guest"], ("building build",)),
        # The more a machine has to do, the more often QEMU without KVM breaks a busy guest that migrates.
        replace(suite("system", "build", only=DEMO, needs=("guest image",)), name="the demo on build",
                alone=True),
        build("build-clang"),
        *when_there("tests/fuzz/run", Job("fuzzing", "program", [
            "tests/fuzz/run", "--jobs", "2", "--seconds", "60", "--seed", "1"], ("building build",))),
        suite("migrate", "build"),
        replace(suite("system", "build", only=GUESTS_THAT_MOVE, needs=("guest image",)),
                name="tests/system on build (guests that move)"),
        suite("system", "build", but=DEMO + GUESTS_THAT_MOVE, needs=guests),
        build("build-tsan"),
        build("build-asan"),
        suite("wire", "build", QUICK),
        suite("wire", "build-tsan", but=CRASH_POINTS + ONE_THREAD),
        suite("wire", "build-asan", but=CRASH_POINTS),
        suite("system", "build-asan", only=WITHOUT_GUESTS),
        unit("build-tsan"),
        suite("lab", "build", needs=("guest image",)),
        suite("conformance", "build"),
        *when_there("tests/fault", suite("fault", "build", tells=r"points, .* seed")),
        *when_there("tests/fuzz/run", Job("coverage by the fuzzers' inputs", "program",
                                          ["tests/fuzz/run", "--coverage"], ("fuzzing",),
                                          tells=r"lines reached|together: |coverage is")),
        unit("build-asan"),
        unit("build", QUICK),
        suite("cli", "build-asan"),
        suite("cli", "build", QUICK),
        *long_jobs(guests),
    ]


def long_jobs(guests):
    """What only --all has."""
    return [
        *when_there("tests/fuzz/run", Job("fuzzing for long", "program",
                                          ["tests/fuzz/run", "--seconds", "1800"],
                                          ("building build",), ALL, 12 * HOUR)),
        *(Job(f"every fault of {program}", "program", [PYTHON, "tests/fault/inject.py", "--all", program],
              ("building build",), ALL, 12 * HOUR, tells=r"points, .* seed", environment={"VDPAD_BUILD": "build"})
          for program in ("worker", "simnic", "shim")),
        *(Job(f"a thousand faults of {program}", "program", [
            PYTHON, "tests/fault/inject.py", "--size", "1000", program], ("building build",), ALL, 2 * HOUR,
              tells=r"points, .* seed", environment={"VDPAD_BUILD": "build"})
          for program in ("worker-log", "worker-any-order", "simnic-log", "simnic-any-order")),
        *when_there("tests/fault", suite("fault", "build-asan", ALL)),
        suite("system", "build-asan", ALL, but=WITHOUT_GUESTS, needs=guests),
        suite("migrate", "build-asan", ALL),
        unit("build-clang", ALL),
        suite("wire", "build-asan", ALL, only=CRASH_POINTS),
        suite("wire", "build-tsan", ALL, only=CRASH_POINTS + ONE_THREAD),
        suite("wire", "build-clang", ALL),
        suite("conformance", "build-asan", ALL),
        suite("conformance", "build-tsan", ALL),
        suite("cli", "build-tsan", ALL),
    ]


def left_out(table, run):
    """What @run does not do, in words: a line for each suite."""
    builds = {}
    for job in table:
        if job.since > run and job.kind != "tool":
            suite_name, _, folder = job.name.partition(" on ")
            builds.setdefault(suite_name, []).append(folder)
    words = [f"{name} on {', '.join(folders)}" if any(folders) else name for name, folders in builds.items()]
    if run < ALL:
        words.append("more than some migrations of each kind of guest")
    if "LAB_KERNEL" not in os.environ:
        words.append("tests/lab on a kernel that has iommufd, which Debian 12 has not; see docs/testing.md")
    return words

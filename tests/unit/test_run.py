# SPDX-License-Identifier: BSD-2-Clause
"""tests/run does not lie: what broke, hung, was cut short or never ran is no success."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.path.insert(1, str(TESTS / "common"))

import suites  # noqa: E402
from waiting import alive, wait_for  # noqa: E402

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import lanes
from suites import Job
lanes.LOGS = Path({folder!r})
lanes.GRACE, lanes.TELL_EVERY = {grace}, {tell_every}
def sh(name, script, kind="program", **facts):
    return Job(name, kind, ["sh", "-c", script], **facts)
sys.exit(lanes.run([{jobs}], {lanes}, {expression!r}, ["what takes long"]))
"""


def start(folder, jobs, lanes=3, grace=60, tell_every=60, expression=None):
    script = SCRIPT.format(tests=str(TESTS), folder=str(folder), jobs=jobs, lanes=lanes, grace=grace,
                           tell_every=tell_every, expression=expression)
    return subprocess.Popen([sys.executable, "-B", "-c", script], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder, jobs, **how):
    """(status, lines)."""
    process = start(folder, jobs, **how)
    text = process.communicate(timeout=120)[0]
    return process.returncode, text.splitlines()


def test_jobs_of_different_lanes_run_side_by_side(tmp_path):
    """Each waits until the other is there."""
    jobs = ",".join(f"sh('{a}', 'touch {tmp_path}/{a}; "
                    f"while ! [ -e {tmp_path}/{b} ]; do sleep 0.01; done')" for a, b in ("xy", "yx"))
    assert run(tmp_path, jobs, lanes=2)[1][-1] == "2 passed, 0 failed, 0 skipped"


def test_no_more_run_than_there_are_lanes(tmp_path):
    once = f"mkdir {tmp_path}/one && sleep 0.2 && rmdir {tmp_path}/one"
    jobs = ",".join(f"sh('{i}', '{once}')" for i in range(3))
    assert run(tmp_path, jobs, lanes=1)[1][-1] == "3 passed, 0 failed, 0 skipped"


def test_only_one_compiles_at_a_time(tmp_path):
    once = f"mkdir {tmp_path}/one && sleep 0.2 && rmdir {tmp_path}/one"
    jobs = ",".join(f"sh('{i}', '{once}', compiles=True)" for i in range(3))
    assert run(tmp_path, jobs)[1][-1] == "3 passed, 0 failed, 0 skipped"


def test_a_build_runs_beside_full_lanes(tmp_path):
    jobs = (f"sh('long', 'while ! test -e {tmp_path}/made; do sleep 0.05; done'),"
            f"sh('build', 'touch {tmp_path}/made', compiles=True)")
    assert run(tmp_path, jobs, lanes=1)[1][-1] == "2 passed, 0 failed, 0 skipped"


def test_a_job_comes_after_what_it_needs(tmp_path):
    jobs = (f"sh('second', 'test -e {tmp_path}/made', needs=('first',)),"
            f"sh('first', 'sleep 0.3; touch {tmp_path}/made', 'tool')")
    assert run(tmp_path, jobs)[1][-1] == "1 passed, 0 failed, 0 skipped"


def test_what_needs_something_that_failed_is_a_failure(tmp_path):
    jobs = ("sh('third', 'true', 'tool', needs=('second',)), sh('second', 'true', needs=('first',)),"
            "sh('first', 'echo it broke; false', 'tool'), sh('other', 'true')")
    status, lines = run(tmp_path, jobs)
    assert status == 1 and lines[-1] == "1 passed, 3 failed, 0 skipped"
    assert "it broke" in lines
    assert all(any(f"{name}: not run" in line for line in lines) for name in ("second", "third"))


def test_what_a_failed_job_said_is_shown_whole_and_not_mixed(tmp_path):
    jobs = ",".join(f"sh('{name}', 'for i in 1 2 3 4 5; do echo {name} $i; sleep 0.05; done; false')"
                    for name in "abc")
    status, lines = run(tmp_path, jobs)
    said = [line for line in lines if re.fullmatch("[abc] [1-5]", line)]
    assert status == 1 and lines[-1] == "0 passed, 3 failed, 0 skipped"
    assert sorted(said[i][0] for i in (0, 5, 10)) == ["a", "b", "c"]
    assert all(said[i:i + 5] == [f"{said[i][0]} {n}" for n in range(1, 6)] for i in (0, 5, 10))


def test_what_was_not_run_is_said_before_the_sum(tmp_path):
    lines = run(tmp_path, "sh('a', 'true')")[1]
    assert lines[-2].endswith("not run: what takes long")


def test_a_program_s_own_sum_counts(tmp_path):
    status, lines = run(tmp_path, "sh('a', 'echo 5 passed, 0 failed, 2 skipped')")
    assert status == 0 and lines[-1] == "5 passed, 0 failed, 2 skipped"
    status, lines = run(tmp_path, "sh('a', 'echo 5 passed, 0 failed, 2 skipped; false')")
    assert status == 1 and lines[-1] == "5 passed, 1 failed, 2 skipped"


@pytest.mark.parametrize("script", ["true", "echo nonsense >$RESULT", "exit 5"])
def test_a_runner_without_results_is_a_failure(tmp_path, script):
    script = script.replace("$RESULT", f"{tmp_path}/a.xml")
    status, lines = run(tmp_path, f"sh('a', '{script}', 'pytest')")
    assert status == 1 and lines[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_selection_that_leaves_nothing_is_no_failure_but_no_success_either(tmp_path):
    status, lines = run(tmp_path, "sh('a', 'exit 5', 'pytest')", expression="x")
    assert status == 1 and lines[-1] == "0 passed, 0 failed, 0 skipped"


def test_results_of_the_run_before_do_not_count(tmp_path):
    (tmp_path / "a.xml").write_text('<testsuites><testsuite tests="7" failures="0" errors="0" '
                                    'skipped="0"/></testsuites>')
    assert run(tmp_path, "sh('a', 'true', 'pytest')")[1][-1] == "0 passed, 1 failed, 0 skipped"


def test_what_takes_too_long_is_ended_and_fails(tmp_path):
    status, lines = run(tmp_path, "sh('a', 'trap \"\" TERM; sleep 1000 & wait; sleep 1000', seconds=1)",
                        grace=1)
    assert status == 1 and lines[-1] == "0 passed, 1 failed, 0 skipped"
    assert any("not done after 1 s" in line for line in lines)


def test_it_says_what_runs_and_for_how_long(tmp_path):
    lines = run(tmp_path, "sh('a', 'echo .. [ 45%]; sleep 5')", tell_every=0.3)[1]
    assert any(re.search(r"running: a \(\d+ s, 45%\)", line) for line in lines)


def test_what_is_left_behind_is_a_failure_and_ended(tmp_path):
    """In a session of its own, so that no signal to a group of processes finds it."""
    status, lines = run(tmp_path, f"sh('a', 'setsid sleep 1000 & echo $! >{tmp_path}/pid')", grace=1)
    assert status == 1 and lines[-1] == "1 passed, 1 failed, 0 skipped"
    assert any("left behind" in line and "sleep 1000" in line for line in lines)
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal_it_ends_all_and_says_the_sum(tmp_path, number):
    jobs = (f"sh('done', 'true'), sh('a', 'setsid sleep 1000 & echo $! >{tmp_path}/pid; sleep 1000; true'),"
            f"sh('b', 'trap \"\" TERM INT; echo $$ >{tmp_path}/deaf; while true; do sleep 1000; done'),"
            "sh('never', 'true')")
    process = start(tmp_path, jobs, lanes=2, grace=1)
    pids = [tmp_path / "pid", tmp_path / "deaf"]
    wait_for(lambda: all(path.exists() and path.read_text().endswith("\n") for path in pids), "the jobs")
    said = []
    while not any("done: " in line for line in said):
        said.append(process.stdout.readline())
    process.send_signal(number)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert text.splitlines()[-1] == "1 passed, 3 failed, 0 skipped", text
    assert "not run: never" in text
    assert not any(alive(int(path.read_text())) for path in pids)


def test_jobs_end_when_it_is_killed(tmp_path):
    process = start(tmp_path, f"sh('a', 'echo $$ >{tmp_path}/pid; exec sleep 1000')")
    path = tmp_path / "pid"
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), "the job")
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(int(path.read_text())), "its end")


# ---- the table

def table():
    before = os.getcwd()
    os.chdir(TESTS.parent)
    try:
        return suites.jobs()
    finally:
        os.chdir(before)


def test_each_job_has_a_name_and_a_log_of_its_own_and_needs_what_there_is():
    for kind in (suites.QUICK, suites.NORMAL, suites.ALL):
        jobs = [job for job in table() if job.since <= kind]
        names = {job.name for job in jobs}
        assert len(names) == len(jobs) == len({job.log for job in jobs})
        assert not {need for job in jobs for need in job.needs} - names


def test_each_test_file_of_each_suite_is_run_on_the_plain_build():
    words = [" ".join(job.command) for job in table()
             if job.environment.get("VDPAD_BUILD") == "build" and job.since <= suites.NORMAL]
    for path in TESTS.glob("*/test_*.py"):
        if path.parent.name != "unit":
            assert any(str(path.relative_to(TESTS.parent)) in word for word in words), path


def test_each_kind_of_run_says_what_it_leaves_out(monkeypatch):
    monkeypatch.delenv("LAB_KERNEL", raising=False)
    left, = suites.left_out(table(), suites.ALL)
    assert "iommufd" in left
    monkeypatch.setenv("LAB_KERNEL", "one of our own")
    assert suites.left_out(table(), suites.ALL) == []
    normal, quick = (", ".join(suites.left_out(table(), kind)) for kind in (suites.NORMAL, suites.QUICK))
    for job in table():
        if job.since > suites.NORMAL and job.kind != "tool":
            assert job.name.partition(" on ")[0] in normal and job.name.partition(" on ")[2] in normal
    assert "tests/wire on build-asan (the rest), build-tsan (the rest), build-clang" in normal
    assert "tests/migrate on build, build-asan" in quick and "tests/migrate on build," not in normal


def test_what_a_job_tells_is_told_when_all_went_well(tmp_path):
    lines = run(tmp_path, "sh('x', 'echo found 3 things; echo other', tells='^found')")[1]
    assert any(line.endswith("    found 3 things") for line in lines)
    assert not any("other" in line for line in lines)


def test_nothing_runs_beside_a_job_that_is_alone(tmp_path):
    """Nor before it, of what comes after it; what it needs does."""
    once = f"mkdir {tmp_path}/one && sleep 0.2 && rmdir {tmp_path}/one"
    jobs = (f"sh('needed', 'sleep 0.2; touch {tmp_path}/made'),"
            f"sh('alone', 'test -e {tmp_path}/made && {once} && touch {tmp_path}/was', needs=('needed',), alone=True),"
            f"sh('a', 'test -e {tmp_path}/was && ! [ -e {tmp_path}/one ]'),"
            f"sh('b', 'test -e {tmp_path}/was')")
    assert run(tmp_path, jobs)[1][-1] == "4 passed, 0 failed, 0 skipped"

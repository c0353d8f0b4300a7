# SPDX-License-Identifier: BSD-2-Clause
"""docs/hostile-input.md and the tests say the same: each case has its tests, each marked test its case.

Run as a program it writes the last column of the tables anew."""
import ast
import collections
import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / "docs/hostile-input.md"
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|(?: ([^|]*) \|)?$", re.MULTILINE)
C_TEST = re.compile(r"hostile\(([\d, ]+)\)[^{]*?static void (\w+)\(void \*\*state\)")


def rows():
    """{number: (input, outcome, tests)}"""
    found = {}
    for number, given, outcome, tests in ROW.findall(PAGE.read_text()):
        assert int(number) not in found, f"{number} has two rows"
        found[int(number)] = (given, outcome, tests or "")
    return found


def marked_in_python(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "hostile":
                yield node.name[len("test_"):], [number.value for number in mark.args]


def marked_in_c(path):
    for numbers, name in C_TEST.findall(path.read_text()):
        yield name, [int(number) for number in numbers.split(",")]


def marks():
    """{number: ["file: test"]}"""
    found = collections.defaultdict(list)
    for path in sorted((REPO / "tests").rglob("test_*.py")) + sorted((REPO / "tests").rglob("*.c")):
        read = marked_in_c if path.suffix == ".c" else marked_in_python
        place = path.relative_to(REPO / "tests").as_posix()
        for name, numbers in read(path):
            for number in numbers:
                found[number].append(f"{place}: {name.replace('_', ' ')}")
    return found


def cell(tests):
    return "; ".join(tests) or "none"


def test_there_are_many():
    assert len(rows()) > 100


def test_each_case_has_a_test():
    missing = sorted(set(rows()) - set(marks()))
    assert not missing, f"no test for {missing}"


def test_each_marked_test_has_a_case():
    unknown = {number: tests for number, tests in marks().items() if number not in rows()}
    assert not unknown, f"no row for {unknown}"


def test_each_row_names_its_tests():
    found = marks()
    wrong = [f"{number}: {cell(found[number])}" for number, (_, _, tests) in rows().items()
             if tests != cell(found[number])]
    assert not wrong, "run this file as a program; not up to date: " + "\n".join(wrong)


def write():
    found = marks()
    PAGE.write_text(ROW.sub(
        lambda row: f"| {row[1]} | {row[2]} | {row[3]} | {cell(found[int(row[1])])} |", PAGE.read_text()))


if __name__ == "__main__":
    sys.exit(write())

# SPDX-License-Identifier: BSD-2-Clause
"""The manual page has what the command has."""
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

PAGE = ROOT / "docs/man/vdpa.8"


@pytest.fixture
def page():
    """Its words, without the marks of its typesetting."""
    return re.sub(r"\\f[PIR]|^\.[A-Z]+ ?|\"", "",
                  PAGE.read_text(encoding="utf-8").replace("\\-", "-"), flags=re.MULTILINE)


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_it_is_typeset_without_a_warning():
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", PAGE], capture_output=True,
                          text=True, check=True)
    assert done.stderr == ""


def test_each_command_has_a_section(vdpa, page):
    usage = "".join(vdpa(*words, "help")[2] for words in (["mgmtdev"], ["dev"], ["monitor"]))
    commands = re.findall(r"(vdpa (?:(?:mgmtdev|dev|monitor|config|vstats|status|migration)\b ?)+"
                          r"(?:show|add|del|set|upgrade|dump)?)", usage)
    assert len(commands) == 13
    for command in commands:
        assert re.search(rf"^{command}", page, re.MULTILINE), command


def test_each_keyword_is_explained(vdpa, page):
    usage = vdpa("dev", "help")[2]
    commands = {"show", "del", "upgrade", "dump"}
    keywords = set(re.findall(r"([a-z_]+) (?=[A-Z]{2}|\{)", usage)) - commands
    assert len(keywords) > 12
    for keyword in keywords:
        assert re.search(rf"\b{keyword} ", page), keyword


def test_each_option_is_explained(vdpa, page):
    options = page.split("\nOPTIONS\n")[1].split("\nCOMMANDS\n")[0]
    for option in ("-j", "--json", "-p", "--pretty", "-V", "--Version", "-h", "--help", "--socket"):
        assert f"{option}" in options.replace(" ,", ",")
    assert "VDPAD_SOCKET" in page and "/run/vdpad/control.sock" in page

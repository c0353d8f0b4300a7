# SPDX-License-Identifier: BSD-2-Clause
"""Hostile input has numbers, which docs/hostile-input.md explains. A test says which it is about:

    @hostile(85)
    def test_a_region_beyond_its_file_is_refused(...)

A test in C says it in a comment before its function: hostile(166)."""
import pytest


def hostile(*numbers):
    """The test covers these cases of the catalogue, fully."""
    return pytest.mark.hostile(*numbers)


def register(config):
    """Of a conftest's pytest_configure()."""
    config.addinivalue_line("markers", "hostile(*numbers): cases of docs/hostile-input.md")


def numbers_of(item):
    mark = item.get_closest_marker("hostile")
    return mark.args if mark else ()

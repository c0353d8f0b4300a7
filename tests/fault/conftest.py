# SPDX-License-Identifier: BSD-2-Clause
"""Fault injection in the suite: a sample of all points, as large as the time allows."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../wire"), os.path.join(HERE, "../common"),
                os.path.join(HERE, "../system")]

from hostile import register  # noqa: E402


def pytest_configure(config):
    register(config)

# SPDX-License-Identifier: BSD-2-Clause
"""The tests of inside/ run in a guest, see test_hardware.py."""
collect_ignore = ["inside"]

# SPDX-License-Identifier: BSD-2-Clause
"""What a dump of the worker shows."""


def rings(stand):
    return stand.shim.dump()["device"]["rings"]


def running(stand):
    return [ring["running"] for ring in stand.shim.dump()["device"]["rings"]]


def mapped(stand):
    return stand.shim.dump()["device"]["memory"]

# SPDX-License-Identifier: BSD-2-Clause
"""The rows of protocol/table.c, as the program tells that prints them."""
import json
import os
import subprocess
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / os.environ.get("VDPAD_BUILD", "build")
ROWS = {row["name"]: row for row in json.loads(subprocess.run(
    [BUILD / "protocol/print-messages", "--json"], check=True, capture_output=True, text=True).stdout)}
BUILT = [name for name, row in ROWS.items() if row["served"]]
NOT_BUILT = [name for name, row in ROWS.items() if not row["served"] and name != "NONE"]

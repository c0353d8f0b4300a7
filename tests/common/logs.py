# SPDX-License-Identifier: BSD-2-Clause
"""What no process of ours may ever say, however the test ended it."""
import re

# Sanitizers' words, and assert()'s. A test may miss a process that broke, because it was replaced or
# because it was to end anyway; its log doesn't.
FINDING = re.compile(r"(?:Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer"
                     r"|: runtime error: |: Assertion `")
SHOWN = 8000


def assert_clean(log):
    """Fail on what a sanitizer or an assertion said in the text @log."""
    found = FINDING.search(log)
    if found:
        begin = log.rfind("\n", 0, found.start()) + 1
        raise AssertionError(log[begin:begin + SHOWN])

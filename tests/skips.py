"""Skipped is not passed. Hooks that `conftest.py` imports.

In CI a test may only be skipped for what a machine there can't have. Elsewhere the last line says
what was skipped.
"""

import os
from collections import Counter

import pytest

# Reasons that hold in CI, too: no GPU, other people's videos, an encoder that a wheel lacks, a
# library that only the system can install
MAY_BE_MISSING = ("no GPU here", "never committed", "this PyAV has no", "no FluidSynth here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(words in reason for words in MAY_BE_MISSING):
            report.outcome = "failed"
            report.longrepr = f"{reason}: in CI this must be there (CI=true)"
    return report


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = (r.longrepr[2] if isinstance(r.longrepr, tuple) else r.longrepr for r in skipped)
    counts = Counter(str(reason).removeprefix("Skipped: ") for reason in reasons)
    if counts:
        listed = "; ".join(f"{n}: {reason}" for reason, n in counts.most_common())
        terminalreporter.write_line(f"not tried here, {len(skipped)} tests ({listed})", yellow=True)

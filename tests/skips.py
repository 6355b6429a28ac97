"""Skipped is not passed: in CI only what a machine can't be given may be skipped; elsewhere the last line says what was not tried.

Hooks, which `conftest.py` takes over.
"""

import os
from collections import Counter

import pytest

# Reasons that hold in CI, too: a graphics card, other people's videos, an encoder that a wheel lacks.
MAY_BE_MISSING = ("no GPU here", "never committed", "this PyAV has no")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(words in reason for words in MAY_BE_MISSING):
            report.outcome, report.longrepr = (
                "failed",
                f"{reason}: in CI this must be there (CI=true)",
            )
    return report


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    why = Counter(
        str(r.longrepr[2] if isinstance(r.longrepr, tuple) else r.longrepr) for r in skipped
    )
    if why:
        told = "; ".join(
            f"{n}: {reason.removeprefix('Skipped: ')}" for reason, n in why.most_common()
        )
        terminalreporter.write_line(f"not tried here, {len(skipped)} tests ({told})", yellow=True)

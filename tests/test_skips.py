"""A skipped test counts as failed in CI, unless no machine there can run it; else it is listed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
@pytest.fixture
def browser():
    pytest.skip("no chromium on this machine")
def test_page(browser): ...
def test_card():
    pytest.skip("no GPU here")
def test_plain(): ...
@pytest.mark.xfail
def test_known():
    assert False
"""


@pytest.mark.parametrize(
    ("ci", "code", "counts"),
    [
        ("true", 1, "1 passed, 1 skipped, 1 xfailed, 1 error"),
        ("", 0, "1 passed, 2 skipped, 1 xfailed"),
    ],
)
def test_skipped_is_not_passed_in_ci(tmp_path, ci, code, counts):
    (tmp_path / "conftest.py").write_text(
        "from skips import pytest_runtest_makereport, pytest_terminal_summary\n"
    )
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = os.environ | {"CI": ci, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and counts in done.stdout, done.stdout
    if ci:
        assert "no chromium on this machine: in CI this must be there" in done.stdout
        assert "not tried here, 1 tests (1: no GPU here)" in done.stdout
    else:
        assert (
            "not tried here, 2 tests (1: no chromium on this machine; 1: no GPU here)"
            in done.stdout
        )

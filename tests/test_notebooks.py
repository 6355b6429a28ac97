"""Notebooks as tests: numbers are compared, and few outputs are not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MASKED = 30  # numbers in all notebooks that nothing compares


def run(folder: Path, saved: str, printed: str) -> int:
    """The exit code of pytest on a notebook that prints `printed`, saved with `saved` in its place."""
    cell = nbformat.v4.new_code_cell(f"print({printed!r})", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=saved + "\n")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), folder / "one.ipynb")
    (folder / "conftest.py").write_text((ROOT / "notebooks" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += [f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval.cfg'}", "one.ipynb"]
    return subprocess.run(command, cwd=folder, env=os.environ | {"CI": ""}, capture_output=True, timeout=120).returncode


@pytest.mark.parametrize(
    ("saved", "printed", "code"),
    [
        ("model   6.66 [ 4.87,  8.10]", "model   6.66 [ 4.87,  8.10]", 0),
        ("model   9.98 [ 4.87,  8.10]", "model  10.01 [ 4.84,  8.14]", 0),  # another chip
        ("model -99.90 [ 0.00,  0.00]", "model   6.66 [ 4.87,  8.10]", 1),
        ("model   6.66 [ 4.87,  8.10]", "model   6.80 [ 4.87,  8.10]", 1),
        ("92 % of 24", "93 % of 24", 0),
        ("92 % of 24", "88 % of 24", 1),
        ("model   6.66 [ 4.87,  8.10]", "mode1   6.66 [ 4.87,  8.10]", 1),
        ("30 pairs, 6.66", "31 pairs, 6.66", 1),
    ],
)
def test_a_saved_number_is_compared_to_its_first_decimal(tmp_path, saved, printed, code):
    assert run(tmp_path, saved, printed) == code


def test_few_numbers_are_not_compared():
    number, masked = re.compile(r"\d+\.\d+"), 0
    sections = re.findall(r"^regex: (.*)$", (ROOT / "tests" / "nbval.cfg").read_text(), re.MULTILINE)
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                text = "".join(output.get("text", [])) or "".join(data.get("text/html", data.get("text/plain", [])))
                text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
                ignored = "NBVAL_IGNORE_OUTPUT" in "".join(cell["source"])
                masked += len(number.findall(text if ignored else "".join(re.findall("|".join(sections), text))))
    assert masked <= MASKED, f"{masked} numbers in saved outputs are compared with nothing"

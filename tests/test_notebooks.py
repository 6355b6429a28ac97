"""Notebooks as tests: numbers are compared, and few outputs are not."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
from matplotlib.figure import Figure

from sop_core import config
from sop_core.config import DEMO_WEIGHTS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MASKED = 30  # numbers in all notebooks that nothing compares


CASES = [  # saved, printed, whether they are the same
    ("model   6.66 [ 4.87,  8.10]", "model   6.66 [ 4.87,  8.10]", True),
    ("model   9.98 [ 4.87,  8.10]", "model  10.01 [ 4.84,  8.14]", True),  # another chip
    ("model -99.90 [ 0.00,  0.00]", "model   6.66 [ 4.87,  8.10]", False),
    ("model   6.66 [ 4.87,  8.10]", "model   6.80 [ 4.87,  8.10]", False),
    ("8.4", "8.3", True),
    ("cIoU 0.45", "cIoU 0.41", True),
    ("cIoU 0.45", "cIoU 0.36", False),
    ("SAR 36.66", "SAR 36.90", True),
    ("SAR 36.66", "SAR 37.10", False),
    ("92 % of 24", "93 % of 24", True),
    ("92 % of 24", "88 % of 24", False),
    ("model   6.66 [ 4.87,  8.10]", "mode1   6.66 [ 4.87,  8.10]", False),
    ("30 pairs, 6.66", "31 pairs, 6.66", False),
]


def test_a_saved_number_is_compared_to_its_first_decimal(tmp_path):
    """A notebook whose cells print something else than was saved, or nearly the same."""
    cells = []
    for n, (saved, printed, _) in enumerate(CASES, 1):
        cells.append(nbformat.v4.new_code_cell(f"print({printed!r})", execution_count=n))
        cells[-1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=saved + "\n")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "one.ipynb")
    (tmp_path / "conftest.py").write_text((ROOT / "notebooks" / "conftest.py").read_text())
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "--nbval-current-env",
    ]
    command += [f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval.cfg'}", "one.ipynb"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"CI": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.findall(r"one\W+ipynb::Cell \d+ (PASSED|FAILED)", done.stdout)
    assert found == ["PASSED" if same else "FAILED" for _, _, same in CASES], done.stdout[-3_000:]


def test_few_numbers_are_not_compared():
    number, masked = re.compile(r"\d+\.\d+"), 0
    sections = re.findall(
        r"^regex: (.*)$", (ROOT / "tests" / "nbval.cfg").read_text(), re.MULTILINE
    )
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                text = "".join(output.get("text", [])) or "".join(
                    data.get("text/html", data.get("text/plain", []))
                )
                text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
                ignored = "nbval-ignore-output" in cell["metadata"].get("tags", [])
                masked += len(
                    number.findall(
                        text if ignored else "".join(re.findall("|".join(sections), text))
                    )
                )
    assert masked <= MASKED, f"{masked} numbers in saved outputs are compared with nothing"


def test_saved_progress_bars_are_shown_as_they_ended(tmp_path):
    """A widget of a bar is saved as it began. Other outputs stay."""
    cell = nbformat.v4.new_code_cell("look()")
    widget = {"model_id": "1", "version_major": 2, "version_minor": 0}
    for text in ("looking once, 3 MB:   0%|          | 0/24 [00:00<?, ?clip/s]", "0.5"):
        data = {"text/plain": text, "application/vnd.jupyter.widget-view+json": widget}
        cell.outputs.append(nbformat.v4.new_output("display_data", data))
    path = tmp_path / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    subprocess.run([sys.executable, ROOT / ".ci" / "finished-bars", path], check=True, timeout=60)
    bar, other = nbformat.read(path, 4).cells[0].outputs
    assert bar.data == {"text/plain": "looking once, 3 MB: 100%|██████████| 24/24"}
    assert other.data["text/plain"] == "0.5" and len(other.data) == 2


def code_of(name: str) -> list:
    """The code cells of a notebook."""
    return [c for c in nbformat.read(ROOT / "notebooks" / name, 4).cells if c.cell_type == "code"]


def test_notebook_05_shows_the_first_video_in_data_real(toy_duet, tmp_path, capsys):
    """Other people's videos are not in the repository: no run that is saved shows this picture."""
    cells = code_of("05_localization.ipynb")
    (cell,) = (c for c in cells if '"real"' in c.source)
    assert [output.output_type for output in cell.outputs] == ["stream"]
    shown: list[Figure] = []
    names: dict = {}
    exec(cells[0].source, names)
    names |= {"DATA": tmp_path, "display": shown.append}
    exec(cell.source, names)
    assert not shown and "data/real/ has no video" in capsys.readouterr().out
    (tmp_path / "real" / "duets").mkdir(parents=True)
    (tmp_path / "real" / "notes.txt").write_text("not a video")
    (tmp_path / "real" / "._before.mp4").write_text("of macOS, hidden")
    (tmp_path / "real" / "later.mp4").write_text("not a video either")
    shutil.copy(toy_duet.source, tmp_path / "real" / "duets")
    exec(cell.source, names)
    (figure,) = shown
    pictures = [image.get_array() for axes in figure.axes for image in axes.images]
    assert any(np.array_equal(picture, toy_duet.frame) for picture in pictures)
    assert names["filmed"].config == config.SOLOS and not capsys.readouterr().out


def test_notebook_04_measures_the_run_of_notebook_03_on_own_videos_without_truth(
    demo_data, tmp_path, monkeypatch
):
    """Three labels of four videos each: one of each is for the test, so no mixture has four."""
    videos = tmp_path / "music" / "videos"
    for label, count in {"cello": 4, "flute": 4, "guitar": 4, "cello flute": 1}.items():
        (videos / label).mkdir(parents=True)
        for video in sorted((demo_data / "videos" / label).glob("*.mp4"))[:count]:
            shutil.copy(video, videos / label / f"mine_{video.name}")
    shutil.copytree(DEMO_WEIGHTS, tmp_path / "ckpt" / "notebook")
    monkeypatch.setattr(config, "DATA", tmp_path)
    monkeypatch.setattr(config, "CKPT", tmp_path / "ckpt")
    monkeypatch.setattr(config, "DEMO_WEIGHTS", tmp_path / "none")
    cells = [cell.source for cell in code_of("04_evaluation.ipynb")]
    assert cells[0].count('DATASET = "demo"') == 1 and cells[1].count("(2, 30), (3, 6)") == 1
    cells[0] = cells[0].replace('DATASET = "demo"', 'DATASET = "music"')
    cells[1] = cells[1].replace("(2, 30), (3, 6)", "(2, 3), (3, 2)")
    names: dict = {}
    for cell in cells:
        exec(cell, names)
    assert {len(pair) for pair in names["pairs"]} == {2, 3}
    assert {row["method"] for row in names["results"]["rows"]} >= {"model", "nmf", "mixture"}
    assert any(clip.is_duet for clip in names["test"]) and not names["duets"]
    assert (tmp_path / "music" / "evaluation" / "index.html").is_file()

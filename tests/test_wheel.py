"""A wheel works away from the repository: with its weights, and without writing beside itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tiny import write_film

REPO = Path(__file__).resolve().parents[1]
WEIGHTS = ("data/demo_weights", "data/weights")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")  # that a wheel is built from
SEPARATE = """
import sys
from sop_core.__main__ import main
from sop_core.config import WEIGHTS
from sop_core.listening.player import PixelPlayer
sys.exit(main(["separate", str(WEIGHTS), "film.mp4", "--pixel", "7,3", "--out", "a.wav"]))
"""


def files(folder: Path) -> dict[Path, int]:
    """Every file in a folder, with the time of its last change."""
    there = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in there}


def python(package: Path, cwd: Path, *args, **env) -> str:
    """What a fresh Python says in a folder, with the package of that folder."""
    env = os.environ | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"} | env
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _no_root(monkeypatch):
    monkeypatch.delenv("SOP_ROOT", raising=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which pip has installed a wheel of this package, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for tree in ("sop_core", *WEIGHTS):
        shutil.copytree(REPO / tree, source / tree, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(REPO / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, *build, source], check=True)
    (wheel,) = folder.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--no-compile", "--target", folder / "site"]
    subprocess.run([*pip, *install, wheel], check=True)
    return folder / "site"


def test_a_wheel_holds_the_whole_package_and_the_shipped_weights(site):
    installed = set(files(site / "sop_core"))
    assert installed >= set(files(REPO / "sop_core")) | {Path("py.typed")}
    for folder in WEIGHTS:
        weights = files(site / "sop_core" / Path(folder).name)
        assert set(weights) == set(files(REPO / folder)) > {Path("model.safetensors")}


def test_an_installed_package_separates_a_video_and_is_not_written_into(site, tmp_path):
    write_film(tmp_path / "film.mp4", seconds=3)
    before = files(site)
    assert "separate" in python(site, tmp_path, "-m", "sop_core", "--help")
    python(site, tmp_path, "-c", SEPARATE, SOP_DEVICE="cpu")
    assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(3, abs=0.1)
    assert files(site) == before


def test_data_and_runs_go_to_the_working_folder_or_to_sop_root(site, tmp_path):
    tell = ("-c", "from sop_core import config; print(config.DATA, config.CKPT, sep='\\n')")

    def told(root: Path) -> list[str]:
        return [str(root / "data"), str(root / "ckpt")]

    assert python(site, tmp_path, *tell).split("\n")[:2] == told(tmp_path)
    assert python(REPO, tmp_path, *tell).split("\n")[:2] == told(REPO)
    other = tmp_path / "other"
    for package in (site, REPO):
        assert python(package, tmp_path, *tell, SOP_ROOT="other").split("\n")[:2] == told(other)

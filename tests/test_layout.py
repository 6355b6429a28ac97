"""The map in `sop_core/__init__.py` is true: it names every file, and imports point up it only."""

import ast
import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sop_core

PACKAGE = Path(sop_core.__file__).parent
NOTEBOOKS = sorted((PACKAGE.parent / "notebooks").glob("*.ipynb"))
# A line of the map names a room ("media/") or a file. Bare words below a room are its files.
MAP = re.findall(r"^    (?:(\w+/?) {2,}\S.*|  {2,}([a-z0-9 ]+))$", sop_core.__doc__, re.MULTILINE)


def mapped() -> list[str]:
    """The files of the map in its order, as `config` or `media/sound`."""
    order, room = [], ""
    for entry, files in MAP:
        if entry:
            room = entry if entry.endswith("/") else ""
            order += [] if room else [entry]
        else:
            order += [room + name for name in files.split()]
    return order


ORDER = mapped()


def beside(name: str) -> set[str]:
    """The files of the same room that a file imports, anywhere in it but for annotations alone."""
    path = PACKAGE / f"{name}.py"
    depth = len(path.relative_to(PACKAGE).parts)
    tree = ast.parse(path.read_text())
    annotations = [
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    ]
    skipped = {n for block in annotations for n in ast.walk(block)}
    froms = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and n.level == 1 and n not in skipped
    ]
    names = {n.module.split(".")[0] for n in froms if n.module} | {
        a.name for n in froms if not n.module for a in n.names
    }
    room = "" if depth == 1 else f"{path.parent.name}/"
    return {room + n for n in names if (path.parent / f"{n}.py").is_file()}


def test_the_map_names_every_file():
    there = (p.relative_to(PACKAGE).with_suffix("").as_posix() for p in PACKAGE.rglob("*.py"))
    assert sorted(ORDER) == sorted(
        name for name in there if name.split("/")[-1] not in ("__init__", "__main__")
    )


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_files_before_it_in_its_room(name):
    assert beside(name) <= set(ORDER[: ORDER.index(name)])


def test_a_room_imports_only_rooms_above_it():
    """By import-linter's contracts in pyproject.toml, which name the rooms in the map's order."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    contract = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"][0]
    layers = [layer.split(" | ") for layer in contract["layers"][::-1]]
    rooms = [entry.rstrip("/") for entry, _ in MAP if entry]
    assert [sorted(layer, key=rooms.index) for layer in layers[:-1]] == [
        rooms[i : i + len(layer)]
        for layer, i in zip(layers, itertools.accumulate(map(len, layers), initial=0), strict=False)
    ][:-1]
    assert layers[-1] == ["__main__"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_saved_after_restart_and_run_all(path):
    notebook = json.loads(path.read_text())
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert not [
        o
        for c in cells
        for o in c["outputs"]
        if o["output_type"] == "error" or o.get("name") == "stderr"
    ]
    assert "widgets" not in notebook["metadata"], (
        "widget state bloats a notebook, and some viewers refuse it"
    )
    assert not any(
        re.search(r"^\s*(def|class) ", "".join(c["source"]), re.MULTILINE) for c in cells
    ), "sop_core defines"

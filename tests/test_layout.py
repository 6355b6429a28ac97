"""The map in `sop_core/__init__.py` is true: it names every module, and dependencies point up it, never down or round."""

import ast
import json
import re
from pathlib import Path

import pytest

import sop_core

PACKAGE = Path(sop_core.__file__).parent
ORDER = re.findall(r"^    (\w+) {2,}\S", sop_core.__doc__, re.MULTILINE)
NOTEBOOKS = sorted((PACKAGE.parent / "notebooks").glob("*.ipynb"))


def files(module: str) -> list[Path]:
    return sorted((PACKAGE / module).glob("*.py")) or [PACKAGE / f"{module}.py"]


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports, anywhere in it but for annotations alone."""
    names = set()
    depth = len(path.relative_to(PACKAGE).parts)
    tree = ast.parse(path.read_text())
    annotations = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(n) for block in annotations for n in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth and id(node) not in skipped:
            names |= {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
    return names - {"__version__"}


def test_the_map_names_every_module():
    there = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert sorted(ORDER) == sorted(there - {"__init__"})


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_what_stands_above_it(module):
    above = set(ORDER[: ORDER.index(module)])
    for path in files(module):
        assert imported(path) <= above, f"{path.name} imports from below"


def test_a_file_of_the_toy_room_imports_only_what_stands_above_it():
    listed = re.search(r"^    toy .*\n((?: {8}.*\n)+)", sop_core.__doc__, re.MULTILINE)[1].split("\n")[:-1]
    order = [line.split()[0] for line in listed]
    assert sorted(order) == [path.stem for path in files("toy") if path.stem != "__init__"]
    for path in (PACKAGE / "toy" / f"{name}.py" for name in order):
        assert imported(path) <= {"config", "errors", "media"}
        froms = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        beside = {n.module for n in froms if n.level == 1}
        assert beside <= set(order[: order.index(path.stem)]), f"{path.name} imports from below"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_saved_after_restart_and_run_all(path):
    notebook = json.loads(path.read_text())
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert "widgets" not in notebook["metadata"], "widget state bloats a notebook, and some viewers refuse it"
    assert not any(re.search(r"^\s*(def|class) ", "".join(c["source"]), re.MULTILINE) for c in cells), (
        "sop_core defines"
    )

"""README and docs/: commands run or are parsed, links lead somewhere, README stays short."""

import ast
import importlib
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import SETTINGS, TONES, write_film

from sop_core import __main__
from sop_core.config import PRESETS
from sop_core.errors import SopError

ROOT = Path(__file__).parents[1]
COMMAND_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*COMMAND_PAGES, ROOT / "data" / "README.md", ROOT / "tests" / "README.md"]

# In the order in which a reader needs them. Other verbs are only parsed.
VERBS = ("preprocess", "index", "train", "evaluate", "separate")
# A command with one of these is only parsed, too: it needs a network, a GPU, minutes, or more data.
ONLY_PARSED = (
    *("music", "vggsound", "data/demo/", "--cluster", "--audio-format"),
    *("--check", "--set", "--resume", "--sources", "--help"),
)
# A model that trains in a second, with the 14 x 14 grid of the pages and with few STFT frames.
SMALL = SETTINGS | {
    "image": "112",
    "samples": "16351",
    "hop": "511",
    "epochs": "1",
    "epoch_size": "4",
    "val_pairs": "1",
}
FEWER = {
    "preprocess": ["--jobs", "1"],
    "train": ["--ckpt", "ckpt", "--set", *(f"{key}={value}" for key, value in SMALL.items())],
    "evaluate": ["--n-pairs", "1"],
}


def parse(words: list[str]) -> None:
    """Fail the test if the command line does not take these words."""
    try:
        __main__.parse(words)
    except SopError as error:
        pytest.fail(f"sop {shlex.join(words)}: {error}")
    except SystemExit as stop:  # `--help` and `--version` end well
        assert not stop.code, f"sop {shlex.join(words)}"


# --- what the pages contain


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of each command in a page's code blocks."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def inline(page: Path) -> list[list[str]]:
    """The words of each command in a sentence or a table."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    code = re.findall(r"`([^`]+)`", text)
    return [shlex.split(c) for c in code if re.match(r"(make|python|pip|conda|accelerate) ", c)]


def prose(page: Path) -> str:
    """A page's text; of a notebook, the text of its markdown cells."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def of_sop(words: list[str]) -> list[str] | None:
    """The words after `python -m sop_core`; None for any other command."""
    start = words.index("sop_core") + 1 if "sop_core" in words else 0
    return words[start:] if words[start - 2 : start] == ["-m", "sop_core"] else None


def settings(words: list[str]) -> dict[str, str]:
    """The settings after `--set`."""
    after = words[words.index("--set") + 1 :] if "--set" in words else []
    return dict(word.split("=") for word in after)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
by_command_page = pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda page: page.name)


# --- tests


def test_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert not [line for line in lines if len(line) > 100]


@pytest.mark.parametrize("page", COMMAND_PAGES[1:], ids=lambda page: page.name)
def test_each_page_begins_with_a_command(page):
    title, _, first, *_ = page.read_text().splitlines()
    assert title.startswith("# ") and first == "```bash"


@by_page
def test_links_lead_to_files_and_headings(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    named = re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)
    for link in links + named:
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if re.match(r"https?:", link):
            continue
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def test_code_that_prose_names_is_there():
    """Paths are from the root, from sop_core/, from tests/, or from the page's own folder."""
    code = re.compile(r"`([\w/.-]+\.(?:py|js|mjs|cfg|ipynb))(?:::(\w+))?`(?!\])")
    for page in [*PAGES, *sorted((ROOT / "notebooks").glob("*.ipynb"))]:
        for name, test in code.findall(prose(page)):
            places = (ROOT, ROOT / "sop_core", ROOT / "tests", page.parent)
            file = next((place / name for place in places if (place / name).is_file()), None)
            assert file, f"{page.name}: {name}"
            assert not test or f"def {test}(" in file.read_text(), f"{page.name}: {name}::{test}"


@by_command_page
def test_every_command_exists(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in [*commands(page), *inline(page)]:
        command, sop = shlex.join(words), of_sop(words)
        preset = words[words.index("--preset") + 1] if "--preset" in words else "demo"
        config = PRESETS[preset].override(settings(words))
        if "--num_processes" in words:  # as `engine.accelerator` requires
            assert config.batch % int(words[words.index("--num_processes") + 1]) == 0, command
        if "..." in words:  # a sentence need not say all of it
            continue
        if sop:
            parse(sop)
        elif words[0] == "make":
            assert words[1] in targets, command
        elif words[:2] == ["pip", "install"]:
            extras = re.findall(r"\[(\w+)\]", words[-1])
            assert "-e" in words and set(extras) <= set(project["optional-dependencies"]), command
        elif words[:2] == ["python", "-c"]:
            exec(compile(words[2], page.name, "exec"), {})
        elif words == ["python", "-m", "sop_core"]:  # a sentence names the program alone
            assert (ROOT / "sop_core" / "__main__.py").is_file(), command
        elif words[0] == "python":
            options = {word for word in words if word.startswith("--")}
            script = (ROOT / words[1]).read_text()
            assert all(f'"{option}"' in script for option in options), command
        elif words[:2] == ["conda", "env"]:
            assert (ROOT / words[-1]).is_file(), command
        elif words[:2] == ["conda", "activate"]:
            assert f"name: {words[2]}" in (ROOT / "environment.yml").read_text(), command
        else:
            assert words == [".", ".venv/bin/activate"], command


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.match(r"[\w-]+", name)[0] for name in wanted} - {"sop-core"}
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "decisions.md").read_text(), re.MULTILINE)
    assert names <= set(re.findall(r"[\w-]+", " ".join(rows)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with small versions of the files that the pages name; the tests run in it."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_film(Path("VIDEO.mp4"), seconds=2)
        film = write_film(Path("film.mp4"))
        for name in [
            *(f"{label}/{label}{n}" for label in TONES for n in range(4)),
            "red blue/duet",
        ]:
            video = Path("VIDEOS", f"{name}.mp4")
            video.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, video)
        Path("TRUTH").mkdir()
        sources = []
        for label, x in zip(TONES, (5, 45), strict=True):
            tone = 0.2 * np.sin(2 * np.pi * TONES[label] * np.arange(6 * 11_025) / 11_025)
            soundfile.write(f"TRUTH/{label}.wav", tone, 11_025)
            box = [x, 15, x + 30, 45]
            sources.append({"label": label, "box_xyxy": box, "stem": f"{label}.wav"})
        Path("TRUTH/duet.json").write_text(json.dumps({"frame_size": [80, 60], "sources": sources}))
        # Files that a reader would have. Here, earlier commands make them.
        Path("data").mkdir()
        Path("data/demo_weights").symlink_to("../ckpt/mine")
        Path("data/weights").symlink_to("../ckpt/mine")
        Path("their_list.csv").symlink_to("ckpt/mine/metrics.pairs.csv")
        yield folder


def test_commands_do_their_work(world):
    wanted = [of_sop(words) or ["none"] for page in COMMAND_PAGES for words in commands(page)]
    wanted = [words for words in wanted if words[0] in VERBS]
    wanted = [words for words in wanted if not any(skip in " ".join(words) for skip in ONLY_PARSED)]
    ordered = sorted(dict.fromkeys(map(tuple, wanted)), key=lambda words: VERBS.index(words[0]))
    assert {words[0] for words in ordered} == set(VERBS)
    for words in ordered:
        fewer = [] if "--pairs" in words else FEWER.get(words[0], [])
        assert __main__.main([*words, *fewer]) == 0, shlex.join(words)


def test_python_snippets_work(world):
    snippets = [code for page in PAGES for code in blocks(page, "python")]
    assert snippets
    for code in snippets:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)
        exec(compile(code, "a page", "exec"), {})

"""The click, as a user makes it: JupyterLab, Chromium, a mouse, a keyboard; what is heard is read from the page."""

import ast
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
SCENE = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests")!r})
from test_widget import ToneScene
from sop_core.widget import PixelPlayer
scene = ToneScene()
player = PixelPlayer(scene)
player
"""
ROWS, COLUMNS, RATE = 9, 14, 11_025  # ToneScene's


def hertz(pixel):
    return 300 + 200 * pixel[0] + 10 * pixel[1]  # ToneScene's, once more, so that it can't move along with a mistake


def pitch(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2**16))
    return spectrum.argmax() * rate / 2**16


class Player:
    """A player on a page, as its user has it."""

    def __init__(self, page, index=0):
        self.page = page
        self.root = page.locator(".sop-player").nth(index)
        self.root.wait_for(timeout=30_000)
        self.picture = self.root.locator(".sop-picture")
        self.stage = self.root.locator(".sop-stage")
        self.stage.scroll_into_view_if_needed()
        self.page.wait_for_function("e => e.complete && e.naturalWidth > 0", arg=self.picture.element_handle())

    def click(self, x, y):
        """Click a point of the picture, given as fractions of its width and height."""
        box = self.picture.bounding_box()
        # The stage's own children lie over the picture, hence the stage; playwright waits until nothing else does.
        self.stage.click(position={"x": x * box["width"], "y": y * box["height"]})

    def click_cell(self, row, column):
        self.click((column + 0.5) / COLUMNS, (row + 0.5) / ROWS)

    def caption(self, text):
        """Wait until the caption begins with `text`."""
        self.page.wait_for_function(
            "([root, text]) => root.querySelector('.sop-caption').textContent.startsWith(text)",
            arg=[self.root.element_handle(), text],
        )

    def hears(self, old=""):
        """Wait until a sound other than `old` plays; gives its URL, its samples and its rate."""
        found = self.page.wait_for_function(
            """([root, old]) => {
                const audio = root.querySelector("audio");
                const plays = audio.played.length > 0 && audio.duration > 0 && audio.currentTime > 0 && !audio.error;
                return audio.src && audio.src !== old && plays && !root.classList.contains("sop-busy") && audio.src;
            }""",
            arg=[self.root.element_handle(), old],
        ).json_value()
        data = self.page.evaluate("async url => [...new Uint8Array(await (await fetch(url)).arrayBuffer())]", found)
        samples, rate = soundfile.read(io.BytesIO(bytes(data)), dtype="float32")
        return found, samples, rate


@pytest.fixture(scope="module")
def notebook(lab, new_page):
    """One page with one open notebook: opening one takes much longer than running it."""
    with new_page() as page:
        lab.open(page, lab.write("player.ipynb", SCENE, ""))  # a second cell, which arrow keys could wander off to
        yield page


@pytest.fixture
def player(lab, notebook):
    lab.run(notebook)  # a fresh player
    return Player(notebook)


def test_each_pixel_plays_its_own_sound(player):
    assert "Click the picture" in player.root.inner_text()
    url = ""
    for cell in [(3, 9), (8, 2), (0, 13)]:
        player.click_cell(*cell)
        player.caption(f"row {cell[0]}, column {cell[1]}: ")
        url, samples, rate = player.hears(url)
        assert rate == RATE
        assert pitch(samples, rate) == pytest.approx(hertz(cell), abs=2)


def test_the_edges_belong_to_the_outer_cells(player):
    player.click(0.99, 0.99)
    url, samples, rate = player.hears()
    assert pitch(samples, rate) == pytest.approx(hertz((ROWS - 1, COLUMNS - 1)), abs=2)
    player.click(0.01, 0.01)
    _, samples, rate = player.hears(url)
    assert pitch(samples, rate) == pytest.approx(hertz((0, 0)), abs=2)


def test_the_same_pixel_plays_again(player):
    player.click_cell(3, 9)
    player.hears()
    player.page.evaluate("() => { window.plays = 0; document.addEventListener('play', () => window.plays++, true); }")
    player.page.wait_for_function("() => document.querySelector('.sop-audio').ended")
    player.click_cell(3, 9)
    player.page.wait_for_function("() => window.plays === 1 && !document.querySelector('.sop-audio').paused")


def test_keys_move_and_play_and_jupyterlab_keeps_out_of_it(player):
    player.click_cell(3, 9)
    url, *_ = player.hears()
    cell = player.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    for key in ["ArrowDown", "ArrowDown", "ArrowRight", "Enter"]:
        player.page.keyboard.press(key)
    player.caption("row 5, column 10: ")
    url, samples, rate = player.hears(url)
    assert pitch(samples, rate) == pytest.approx(hertz((5, 10)), abs=2)
    player.page.keyboard.press("ArrowLeft")
    player.page.keyboard.press("Space")
    player.caption("row 5, column 9: ")
    _, samples, rate = player.hears(url)
    assert pitch(samples, rate) == pytest.approx(hertz((5, 9)), abs=2)
    assert player.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex") == cell
    assert player.stage.evaluate("stage => stage === document.activeElement")


def test_buttons_play_the_mixture_and_the_pixel_and_hide_the_overlay(player):
    button = lambda name: player.root.get_by_role("button", name=name)  # noqa: E731
    assert button("Pixel").is_disabled()
    button("Mixture").click()
    player.caption("the mixture")
    mixture, samples, rate = player.hears()
    assert pitch(samples, rate) == pytest.approx(200, abs=2)
    player.click_cell(2, 12)
    pixel, *_ = player.hears(mixture)
    button("Mixture").click()
    assert player.hears(pixel)[0] == mixture
    button("Pixel").click()
    assert player.hears(mixture)[0] == pixel
    heat = player.root.locator(".sop-heat")
    assert heat.is_visible()
    button("Overlay").click()
    heat.wait_for(state="hidden")
    assert button("Overlay").get_attribute("aria-pressed") == "false"


def test_a_failing_cell_is_said_in_red_and_the_next_click_works(lab, page):
    spoil = """
        sound = scene.sound
        def silent_from_row_8(pixel):
            if pixel[0] == 8:
                raise RuntimeError("<b>no row 8</b>")
            return sound(pixel)
        scene.sound = silent_from_row_8
    """
    spoil = "\n".join(line.removeprefix(" " * 8) for line in spoil.splitlines())
    lab.run_all(page, lab.write("error.ipynb", SCENE, spoil))
    player, error = Player(page), page.locator(".sop-error")
    player.click_cell(3, 9)
    url, *_ = player.hears()
    for _ in range(2):  # the second time, too
        player.click_cell(8, 4)
        error.wait_for(state="visible")
        assert "row 8, column 4 can't be played (RuntimeError: <b>no row 8</b>)" in error.inner_text()  # never HTML
        player.caption("row 3, column 9: ")  # back at what is heard
    player.click_cell(7, 4)
    error.wait_for(state="hidden")
    _, samples, rate = player.hears(url)
    assert pitch(samples, rate) == pytest.approx(hertz((7, 4)), abs=2)


def test_a_pixel_set_in_python_is_a_click_and_an_impossible_one_is_shown(lab, page):
    off = "from sop_core.errors import SopError\ntry:\n    player.pixel = 99, 99\nexcept SopError as e:\n    print(e)"
    cells = lab.run_all(page, lab.write("python.ipynb", SCENE, "player.pixel = 6, 1", off, "player"))
    assert "9 rows and 14 columns" in lab.printed(cells)
    player = Player(page)
    player.caption("row 6, column 1: ")
    _, samples, rate = player.hears()
    assert pitch(samples, rate) == pytest.approx(hertz((6, 1)), abs=2)
    assert "9 rows and 14 columns" in player.root.locator(".sop-error").inner_text()
    second = Player(page, 1)  # shown again afterwards: has all of it, and keeps quiet
    second.caption("row 6, column 1: ")
    page.wait_for_function("audio => audio.duration > 0", arg=second.root.locator("audio").element_handle())
    assert second.root.locator("audio").evaluate("audio => audio.paused && audio.played.length === 0")


def test_of_two_players_one_plays(lab, page):
    again = "two = PixelPlayer(ToneScene(samples=44_100)); two"
    long = SCENE.replace("ToneScene()", "ToneScene(samples=44_100)")  # 4 s: still plays when the other starts
    lab.run_all(page, lab.write("two.ipynb", long, again))
    one, two = Player(page, 0), Player(page, 1)
    one.click_cell(1, 2)
    one.hears()
    two.click_cell(7, 11)
    _, samples, rate = two.hears()
    assert pitch(samples, rate) == pytest.approx(hertz((7, 11)), abs=2)
    page.wait_for_function("() => document.querySelectorAll('.sop-audio')[0].paused")
    assert not page.evaluate("() => document.querySelectorAll('.sop-audio')[1].paused")
    assert one.root.locator(".sop-caption").inner_text().startswith("row 1, column 2")


def test_narrow_page_and_dark_theme(lab, page, tmp_path):
    lab.run_all(page, lab.write("narrow.ipynb", SCENE))
    lab.dark(page)
    page.set_viewport_size({"width": 620, "height": 900})
    player = Player(page)
    player.click_cell(3, 9)
    _, samples, rate = player.hears()
    assert pitch(samples, rate) == pytest.approx(hertz((3, 9)), abs=2)
    width, height, room = player.root.evaluate(
        """e => { const r = e.querySelector(".sop-picture").getBoundingClientRect();
                  return [r.width, r.height, e.parentElement.getBoundingClientRect().width]; }"""
    )
    assert width <= room and width / height == pytest.approx(320 / 180, rel=0.01)
    assert player.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    text, ground = player.root.evaluate(
        "e => [getComputedStyle(e).color, getComputedStyle(document.body).getPropertyValue('--jp-layout-color0')]"
    )
    assert np.mean([float(v) for v in re.findall(r"[\d.]+", text)[:3]]) > 150, (text, ground)  # light on dark
    player.root.screenshot(path=tmp_path / "dark.png")


# --- the workbook's own picture

NOTEBOOK = ROOT / "notebooks/05_localization.ipynb"


def test_the_workbooks_picture_sounds_different_where_it_looks_different(lab, page):
    """Notebook 05 as it is shipped: run all, click the middle of two instruments, hear two sounds.

    It prints `frame: 320 x 240` and `boxes: {"cello": [x0, y0, x1, y1], "flute": [...]}`, in pixels of that frame.
    """
    if not NOTEBOOK.exists():
        pytest.skip(f"{NOTEBOOK.relative_to(ROOT)} doesn't exist yet")
    shutil.copy(NOTEBOOK, lab.folder)
    text = lab.printed(lab.run_all(page, NOTEBOOK.name))
    frame, boxes = re.search(r"frame: (\d+) x (\d+)", text), re.search(r"boxes: (\{.*?\})", text, re.DOTALL)
    assert frame and boxes, f"{NOTEBOOK.name} prints no frame: W x H or no boxes: {{...}}"
    w, h = map(int, frame.groups())
    boxes = ast.literal_eval(boxes[1])
    assert len(boxes) >= 2, boxes

    player, url, sounds = Player(page), "", {}
    for name in list(boxes)[:2]:
        x0, y0, x1, y1 = boxes[name]
        player.click((x0 + x1) / 2 / w, (y0 + y1) / 2 / h)
        url, sounds[name], _ = player.hears(url)
    one, two = sounds.values()
    assert one.any() and two.any(), "silence"
    assert not np.array_equal(one, two)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.5, json.dumps({k: float(np.abs(v).max()) for k, v in sounds.items()})

"""The page that needs no kernel, as somebody gets it: a file, opened in Chromium, and a mouse."""

import base64
from copy import copy

import numpy as np
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from tiny import TINY

from sop_core.listening.page import framed
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.listening.tracks import REST
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.model.model import SoundOfPixels

START, SECONDS = 3, 5
# Javascript; e is the player's root. Of what the mixer holds: the mixture, the tracks, the rest.
SOUND = """(e, [i, c]) => {
    const bytes = new Uint8Array(e.sop.sounds[i][c].slice().buffer);
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}"""
ANSWERED = ".sop-player[data-busy=false][data-click-ms]:not([data-click-ms=''])"


class Page:
    """A page or a frame in which a player is. The page's own rules allow no `wait_for_function`."""

    def __init__(self, page, where):
        self.page, self.where = page, where
        self.root = where.locator(".sop-player[data-frame]")
        self.root.wait_for()
        self.stage = self.root.locator(".sop-stage")

    def point(self, row, column):
        box = self.stage.bounding_box()
        return {"x": (column + 0.5) / 14 * box["width"], "y": (row + 0.5) / 14 * box["height"]}

    def click(self, row, column, *modifiers):
        self.root.evaluate("e => { delete e.dataset.clickMs; }")
        self.stage.click(position=self.point(row, column), modifiers=modifiers)
        self.where.locator(ANSWERED).wait_for()

    def drag(self, start, end):
        self.root.evaluate("e => { delete e.dataset.clickMs; }")
        box = self.stage.bounding_box()
        for cell, act in ((start, self.page.mouse.down), (end, self.page.mouse.up)):
            at = self.point(*cell)
            self.page.mouse.move(box["x"] + at["x"], box["y"] + at["y"])
            act()
        self.where.locator(ANSWERED).wait_for()

    def sound(self, i, channel=0):
        return np.frombuffer(base64.b64decode(self.root.evaluate(SOUND, [i, channel])), "<f4")


@pytest.fixture(scope="module")
def mono(toy_duet):
    """The scene without the file that it is from: the model's band is all there is."""
    scene = copy(toy_duet)
    scene.source = None
    return scene


@pytest.fixture(scope="module")
def player(mono):
    return PixelPlayer(mono, start=START, seconds=SECONDS)


@pytest.fixture(scope="module")
def file(player, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "duet.html"
    player.to_html(path, "A <b>duet</b> & more")
    return path


@pytest.fixture
def shown(file, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.goto(file.as_uri())
    yield Page(page, page)
    # Its own file and nothing else; and its policy has refused nothing.
    assert [url for url in asked if not url.startswith("blob:")] == [file.as_uri()]


def test_cells_and_rectangles_sound_as_python_makes_them(shown, player):
    rng = np.random.default_rng(3)
    worst, loudest = 0.0, 0.0
    for row, column in [(11, 4), *rng.integers(0, 14, (19, 2)).tolist()]:
        shown.click(row, column)
        theirs = player.scene.tracks([[(row, column)]])
        for i, sound in enumerate(theirs, 1):  # the cell and the rest
            worst = max(worst, np.abs(shown.sound(i) - sound).max())
        loudest = max(loudest, np.abs(theirs[0]).max())
    for (r0, r1), (c0, c1) in np.sort(rng.integers(0, 14, (5, 2, 2))).tolist():
        r1 += r0 == r1 and c0 == c1 and r1 < 13  # else it is a cell
        shown.drag((r0, c0), (r1, c1))
        region = [(r, c) for r in range(r0, r1 + 1) for c in range(c0, c1 + 1)]
        worst = max(worst, np.abs(shown.sound(1) - player.scene.tracks([region])[0]).max())
    assert worst < 3e-4  # measured: 8e-5
    assert loudest > 0.2
    assert np.abs(shown.sound(0) - player.scene.mixture).max() < 3e-5


def test_several_tracks_divide_the_sound_and_can_be_mixed(shown, player):
    cells = [(11, 4), (7, 10), (8, 10)]
    shown.click(*cells[0])
    for cell in cells[1:]:
        shown.click(*cell, "Shift")
    theirs = player.scene.tracks([[cell] for cell in cells])
    for i, sound in enumerate(theirs, 1):
        np.testing.assert_allclose(shown.sound(i), sound, atol=3e-4)
    names = shown.root.locator("input.sop-name")
    assert names.evaluate_all("nodes => nodes.map(node => node.value)")[-1] == "the rest"
    heard = "e => e.sop.levels"
    assert shown.root.evaluate(heard) == [0, 1, 1, 1, 0]
    shown.root.locator(".sop-mute").nth(0).click()
    assert shown.root.evaluate(heard) == [0, 0, 1, 1, 0]
    shown.root.locator(".sop-solo").nth(2).click()
    shown.root.locator(".sop-level").nth(2).fill("-6")  # dB
    assert shown.root.evaluate(heard) == pytest.approx([0, 0, 0, 10 ** (-6 / 20), 0])
    shown.root.locator(".sop-a").click()
    assert shown.root.evaluate(heard) == [1, 0, 0, 0, 0]
    # One track fewer: the others keep what was set. A level of its own comes back with undo.
    shown.root.locator(".sop-remove").nth(0).click()
    shown.root.locator(".sop-track").nth(4).wait_for(state="detached")
    levels = shown.root.locator(".sop-level").evaluate_all("nodes => nodes.map(n => n.value)")
    assert levels == ["0", "-6", "0"]
    shown.root.locator(".sop-undo").click()
    shown.root.locator(".sop-track").nth(4).wait_for()
    assert shown.root.locator(".sop-mute").nth(0).get_attribute("aria-pressed") == "true"
    # Spectrograms of all five rows come a little after the sounds.
    bright = """node => {
        const copy = new OffscreenCanvas(300, 60).getContext("2d");
        copy.drawImage(node, 0, 0);
        return copy.getImageData(0, 0, 300, 60).data.some((v, i) => i % 4 < 3 && v > 128);
    }"""
    for spectrum in shown.root.locator(".sop-spectrum").all():
        for _ in range(100):
            if spectrum.evaluate(bright):
                break
            shown.page.wait_for_timeout(100)
        else:
            pytest.fail("a track's spectrogram stayed dark for 10 s")


def test_nothing_else_sounds_and_all_of_it_is_a_file(shown, player, tmp_path):
    """A model's band is all there is; shares are the map's; the zip makes the player again."""
    cells = [(11, 4), (7, 10)]
    shown.click(*cells[0])
    shown.click(*cells[1], "Shift")
    assert shown.root.get_attribute("data-band") == "model"
    assert not shown.root.locator(".sop-band").is_visible()
    shown.root.locator(".sop-whole input").check()
    shown.where.locator(".sop-player[data-busy=false]").wait_for()
    sounds, shares = player.scene.heard([[cell] for cell in cells], True)
    for i, sound in enumerate(sounds, 1):
        np.testing.assert_allclose(shown.sound(i), sound, atol=3e-4)
    told = shown.root.locator(".sop-share").all_inner_texts()
    assert [int(text.split()[0]) for text in told[:2]] == [round(100 * s) for s in shares[:2]]
    names = shown.root.locator("input.sop-name")
    assert names.evaluate_all("nodes => nodes.map(n => n.value)") == ["bottom left", "right", REST]
    assert "row 11, column 4" in names.nth(0).get_attribute("title")
    with shown.page.expect_download() as download:
        shown.root.locator(".sop-all").click()
    path = tmp_path / "tracks.zip"
    download.value.save_as(path)
    again = PixelPlayer.load(player.scene, path)
    assert again.whole and again.regions == [[cell] for cell in cells]


def test_all_of_the_band_follows_a_click_and_can_be_left(toy_duet, tmp_path, page):
    """In stereo, one side late: what plays goes on at the same place; the last click counts."""
    frames, sound = read_video(toy_duet.source, 8, 44_100)
    write_video(tmp_path / "w.mp4", frames, 8, np.stack([sound, np.roll(sound, 441)]), 44_100)
    player = PixelPlayer(Scene.from_video(toy_duet.model, tmp_path / "w.mp4"), seconds=SECONDS)
    player.to_html(tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    shown = Page(page, page)
    shown.click(7, 10)
    shown.click(11, 4)
    page.locator(".sop-player[data-band=full]").wait_for()
    assert shown.root.get_attribute("data-state") == "playing"
    assert 0 < shown.root.evaluate("e => e.sop.at()") < SECONDS
    (theirs,) = np.concatenate([*player._own.tracks(player.scene, [[(11, 4)]])], -1)
    assert np.abs(theirs[0]).max() > 0.2
    np.testing.assert_allclose(shown.sound(0, 1), player._own.mixture[1], atol=1e-3)
    for c in (0, 1):
        np.testing.assert_allclose(shown.sound(1, c), theirs[c], atol=1e-3)
    box = shown.root.locator(".sop-band input")
    box.uncheck()
    page.locator(".sop-player[data-band=model]").wait_for()
    assert shown.root.evaluate("e => e.sop.sounds[1].length") == 1  # mono
    shown.click(7, 10)
    assert shown.root.get_attribute("data-band") == "model"
    box.check()
    page.locator(".sop-player[data-band=full]").wait_for()
    assert shown.root.evaluate("e => e.sop.sounds[1].length") == 2


def test_a_page_begins_whole_where_the_player_was(mono, tmp_path, page):
    player = PixelPlayer(mono, start=START, seconds=2, band="model")
    player.regions, player.whole = [[(11, 4)], [(7, 10)]], True
    player.to_html(tmp_path / "whole.html")
    page.goto((tmp_path / "whole.html").as_uri())
    shown = Page(page, page)
    shown.where.locator(".sop-player[data-busy=false]").wait_for()
    assert shown.root.locator(".sop-whole input").is_checked()
    for i in (1, 2):
        np.testing.assert_allclose(shown.sound(i), player._sounds[i - 1], atol=3e-4)


def test_a_model_without_odds_says_that_it_divides_nothing(tmp_path, page):
    config = TINY.override({"loss": "l2", "share": "false", "output_activation": "tanh"})
    rng = np.random.default_rng(0)
    sound = (0.2 * rng.standard_normal(2 * TINY.rate)).astype(np.float32)
    pictures = rng.integers(0, 255, (16, 32, 32, 3), np.uint8)
    player = PixelPlayer(Scene(SoundOfPixels(config).eval(), pictures, sound), pixel=(1, 1))
    player.to_html(tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    root = Page(page, page).root
    page.locator(".sop-player[data-busy=false]").wait_for()
    root.locator(".sop-whole input").click()
    error = root.locator(".sop-error")
    error.wait_for()
    assert "only the sigmoid has odds" in error.inner_text()
    assert not root.locator(".sop-whole input").is_checked()
    assert root.locator("input.sop-name").count() == 2  # as before


def test_of_two_pages_in_one_document_one_plays(file, page):
    page.set_content(2 * framed(file.read_text(encoding="utf-8")))
    one, two = (Page(page, page.frame_locator("iframe").nth(i)) for i in range(2))
    playing = {}
    for name, which in (("one", one), ("two", two)):
        which.root.get_by_role("button", name="Play").click()
        which.where.locator(".sop-player[data-state=playing]").wait_for()
        playing[name] = [p.root.get_attribute("data-state") for p in (one, two)]
    assert playing == {"one": ["playing", "paused"], "two": ["paused", "playing"]}


def test_names_are_text_and_a_strangers_script_does_not_run(file, page):
    page.goto(file.as_uri())
    assert page.title() == "A <b>duet</b> & more"
    assert page.locator("h1").inner_text() == "A <b>duet</b> & more"
    added = """() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        return window.ran === undefined;
    }"""
    with page.expect_console_message() as message:
        assert page.evaluate(added)
    assert "Content Security Policy" in message.value.text


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_width_and_theme(file, new_page, width, scheme):
    with new_page(viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.goto(file.as_uri())
        shown = Page(page, page)
        shown.click(11, 4)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        text = page.evaluate("getComputedStyle(document.querySelector('footer')).color")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light") and ground != text


def test_it_clicks_in_a_notebook_that_became_a_page(mono, tmp_path, page):
    player = PixelPlayer(mono, start=START, seconds=2, offline=True)
    data, metadata = player._repr_mimebundle_()
    output = new_output("display_data", data, metadata=metadata)
    notebook = new_notebook(cells=[new_code_cell("player", outputs=[output])])
    path = tmp_path / "notebook.html"
    path.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    page.goto(path.as_uri())
    shown = Page(page, page.frame_locator("iframe"))
    shown.click(11, 4)
    sound = player.scene.tracks([[(11, 4)]])[0]
    assert np.abs(sound).max() > 0.1
    np.testing.assert_allclose(shown.sound(1), sound, atol=3e-4)
    # As high as what is in it, without bars of its own
    assert page.locator("iframe").evaluate(
        "node => node.contentDocument.documentElement.scrollHeight <= node.clientHeight"
    )

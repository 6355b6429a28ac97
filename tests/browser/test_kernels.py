"""The player where its kernel is another program's: in Jupyter Notebook 7, and when it is gone."""

import json
import urllib.request

import numpy as np
import pytest
from test_clicks import SCENE, Player, hertz, prints, python
from test_page_clicks import Page

from sop_core.config import DEMO_WEIGHTS
from sop_core.listening.player import PixelPlayer

SECONDS = 3
OFFLINE = """
from pathlib import Path
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.training.checkpoint import load_model
scene = Scene.from_video(load_model(Path({model!r})), {video!r})
player = PixelPlayer(scene, seconds={seconds}, offline=True)
player
"""
# e is a player's root: what cuts a part of it off, itself, its cell or the window
CUT_OFF = """(() => {
    const box = e.getBoundingClientRect(), cut = [];
    if (box.left < 0 || box.right > window.innerWidth) cut.push('window');
    if (e.scrollWidth > e.clientWidth) cut.push('player');
    for (let node = e.parentElement; !node.matches('.jp-Cell'); node = node.parentElement) {
        const { overflowX, overflowY } = getComputedStyle(node), r = node.getBoundingClientRect();
        const across = box.left < r.left - 1 || box.right > r.right + 1;
        const down = box.bottom > r.bottom + 1;
        const hides = overflowX !== 'visible' && across || overflowY !== 'visible' && down;
        if (hides) cut.push(node.className);
    }
    return cut;
})()"""
GONE = "The kernel is gone"


def test_the_player_in_notebook_7_and_a_kernel_that_is_shut_down(notebook7, page):
    notebook7.run_all(page, notebook7.write("seven.ipynb", SCENE))
    player = Player(page)
    player.click(3, 9)
    player.hears((3, 9))
    assert python(page, "print(player.pixel)") == "(3, 9)"
    player.click(8, 2, shift=True)
    player.names(3)
    with notebook7.dark(page):
        rgb = player.eval("getComputedStyle(e).color.match(/[\\d.]+/g).slice(0, 3).map(Number)")
        assert min(rgb) > 150  # light on dark
        for width in (1280, 620, 320):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("width => window.innerWidth === width", arg=width)
            player.wait(f"!{CUT_OFF}.length")
            w, h = player.eval(
                "(s => [s.clientWidth, s.clientHeight])(e.querySelector('.sop-stage'))"
            )
            assert w / h == pytest.approx(320 / 180, rel=0.02) and w > 0.6 * min(width, 500)
    page.set_viewport_size({"width": 1280, "height": 900})

    notebook7.shut_down(page)
    player.click(0, 0)
    error = player.root.get_by_role("alert")
    error.wait_for()
    assert error.inner_text().startswith(GONE) and "run this cell again" in error.inner_text()
    player.wait("e.dataset.busy === 'false'")  # it waits no longer
    assert player.names(3) == ["right", "bottom left", "the rest"]
    player.click(1, 1)
    player.wait("e.dataset.busy === 'false'")
    player.button("Solo right").click()  # what is there can still be mixed
    player.hears((3, 9))
    player.wait(f"at({hertz((8, 2))}) < -80")


def test_an_offline_player_answers_by_itself_once_its_kernel_is_gone(lab, page, toy_duet):
    """The live player with Python; then, with the tracks that were there, the page without."""
    code = OFFLINE.format(model=str(DEMO_WEIGHTS), video=str(toy_duet.source), seconds=SECONDS)
    lab.run_all(page, lab.write("offline.ipynb", code))
    page.locator(".sop-player[data-frame]").wait_for()
    live = Page(page, page)
    live.click(11, 4)
    assert prints(page, "print(player.pixel)", "(11, 4)")
    assert page.locator("iframe").count() == 0
    marked = "node => node.getBoundingClientRect().top"
    drawn = live.root.locator(".sop-region path").first.evaluate(marked)
    box = live.stage.bounding_box()  # the notebook has rules of its own for pictures in HTML
    assert drawn == pytest.approx(box["y"] + 11 / 14 * box["height"], abs=4)
    live.root.get_by_label("Level of bottom left").fill("-6")

    # By somebody else: this page isn't told.
    kernel = page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
    headers = {"Authorization": f"token {lab.token}"}
    url = f"{lab.url}/api/kernels/{kernel}/restart"
    with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers)) as reply:
        assert json.load(reply)["id"] == kernel
    live.stage.click(position=live.point(7, 10), modifiers=["Shift"])
    page.get_by_text(f"{GONE}: this page answers by itself").wait_for()
    shown = Page(page, page.frame_locator("iframe"))
    shown.where.locator(".sop-track").nth(3).wait_for()
    names = shown.root.locator("input.sop-name").evaluate_all("nodes => nodes.map(n => n.value)")
    assert names == ["bottom left", "right", "the rest"]
    assert shown.root.locator(".sop-level").first.input_value() == "-6"
    player = PixelPlayer(toy_duet, seconds=SECONDS)

    def in_full(regions):
        return np.concatenate([*player._own.tracks(player.scene, regions)], -1)[:, 0]

    full = shown.where.locator(".sop-player[data-band=full]")
    full.wait_for()
    theirs = in_full([[(11, 4)], [(7, 10)]])
    assert np.abs(theirs[:2]).max(1).min() > 0.05
    for i, sound in enumerate(theirs, 1):
        np.testing.assert_allclose(shown.sound(i), sound, atol=1e-3)
    shown.click(3, 9)
    full.wait_for()
    np.testing.assert_allclose(shown.sound(1), in_full([[(3, 9)]])[0], atol=1e-3)

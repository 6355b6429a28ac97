"""The player on a page of its own, in light and dark, with the video's own sound.

JupyterLab has no part in what is tested here, so it isn't started: `bare`.
"""

import io

import numpy as np
import pytest
import soundfile
from bare import plain, show
from PIL import Image
from test_clicks import CAPTION, COLUMNS, COVERED, MIXTURE, Player, hertz
from tones import ToneScene

from sop_core.listening import player as module
from sop_core.listening.player import PixelPlayer

DARK = "background: #111; color: #ddd; color-scheme: dark;"
TICKED = "e.querySelector('.sop-{} input').checked"
PROBE = "e.querySelector('.sop-probe').textContent"
# Whether a link that is clicked by a script was in the page: some browsers want it there
LINKS = """() => {
    const click = HTMLAnchorElement.prototype.click;
    HTMLAnchorElement.prototype.click = function () {
        window.inPage = this.isConnected;
        click.call(this);
    };
}"""
# A click as Safari before 18.2 has it: of no kind, and the button isn't focused
SAFARI = """() => {
    Object.defineProperty(PointerEvent.prototype, "pointerType", { get: () => undefined });
    window.addEventListener("mousedown", event => event.preventDefault(), true);
}"""
# What is heard around the moment at which one sound takes another's place: samples of a channel
SEAM = """async e => {
    const mixer = e.sop, renew = mixer.renew.bind(mixer);
    return new Promise(done => {
        mixer.renew = () => {
            renew();
            const { context, analyser, since } = mixer, samples = new Float32Array(4096);
            const wait = () => { // until the window has the seam in its middle
                if (context.currentTime < since + 0.05) return void setTimeout(wait, 2);
                analyser.getFloatTimeDomainData(samples);
                done([context.sampleRate, ...samples]);
            };
            wait();
        };
    });
}"""


# The answers of Python wait until `release()`
HELD = """() => {
    const tell = window.tellPython, gate = new Promise(done => { window.release = done; });
    window.tellPython = async told => {
        const answer = await tell(told);
        await gate;
        return answer;
    };
}"""
NEVER_FULL = """() => {
    for (const name of ["news", "tellPython"]) {
        const tell = window[name];
        window[name] = async told => {
            const { full, ...others } = await tell(told);
            return others;
        };
    }
}"""
# A mixer whose sound is computed without a sound card: `acts` are [second, code]. Its samples
OFFLINE = """async ({ code, sounds, levels, acts }) => {
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const { Mixer } = await import(url), rate = 44100;
    const context = new OfflineAudioContext(1, 0.2 * rate, rate), resume = context.resume;
    Object.assign(window, { AudioContext: function () { return context; } });
    context.resume = async () => {};
    const constant = value => [new Float32Array(rate).fill(value)];
    const [mixture, ...tracks] = sounds.map(constant);
    const mixer = new Mixer(rate, mixture, 1, () => {});
    mixer.load(tracks);
    mixer.set(levels);
    mixer.play(0);
    for (const [at, act] of acts) context.suspend(at).then(() => {
        new Function("mixer", "constant", act)(mixer, constant);
        resume.call(context);
    });
    return [...(await context.startRendering()).getChannelData(0)];
}"""


class Own:
    """The own sound of a `ToneScene`: in stereo, the same tones, and above the model's band one."""

    channels, times, air = 2, 4, 9_000

    def __init__(self, scene, path):
        self.rate = scene.rate * self.times
        self.time = np.arange(len(scene.mixture) * self.times) / self.rate
        low = 0.5 * np.sin(2 * np.pi * MIXTURE * self.time)
        self.mixture = np.float32([low, low + 0.1 * np.sin(2 * np.pi * self.air * self.time)])

    def tracks(self, scene, regions, partition=False):
        tones = [0.2 * np.sin(2 * np.pi * hertz(region[0]) * self.time) for region in regions]
        yield from np.array_split(np.float32([[tone, tone] for tone in tones]), 3, -1)


@pytest.fixture
def scene():
    return ToneScene()


@pytest.fixture
def stereo(scene, monkeypatch):
    monkeypatch.setattr(module, "OwnSound", Own)
    scene.source = "film.mp4"
    return scene


def shown(page, scene, theme="", **settings):
    """A Python player, and it on the page; it plays in a loop."""
    python = PixelPlayer(scene, **settings)
    python.loop = True
    show(page, python, theme)
    return python, Player(page)


def test_names_are_short_and_the_long_one_is_a_tooltip_and_a_double_click_gives_another(
    page, scene
):
    python, player = shown(page, scene)
    player.drag((5, 2), (8, 3))
    assert player.names(2) == ["bottom left", "the rest"]
    name = player.root.get_by_label("Name of the track").first
    assert "rows 5 to 8, columns 2 to 3" in name.get_attribute("title")
    name.click()
    page.keyboard.type("x")  # no name is given by mistake
    name.dblclick()
    page.keyboard.type("<i>cello")
    page.keyboard.press("Enter")
    player.wait("e.querySelector('.sop-caption').textContent.startsWith('<i>cello: ')")
    player.click(3, 12, shift=True)
    assert player.names(3) == ["<i>cello", "right", "the rest"]
    player.root.get_by_label("nothing else sounds").check()
    player.wait("e.dataset.busy === 'false'")
    assert [m["name"] for m in python.mixer] == ["<i>cello", "right", "the rest"]
    player.tracks.nth(2).focus()
    player.keys("Enter")
    page.keyboard.type("no")
    player.keys("Escape")  # the old one
    assert player.names(3) == ["<i>cello", "right", "the rest"]
    player.tracks.nth(2).focus()
    player.keys("m")  # the keys are the track's again
    player.wait("e.querySelectorAll('.sop-mute')[1].ariaPressed === 'true'")


@pytest.mark.parametrize("browser", [SAFARI, "() => {}"])
def test_after_a_click_on_a_button_the_keys_are_the_players(page, scene, browser):
    _, player = shown(page, scene)
    page.evaluate(browser)
    player.button("Play").click()
    player.wait("e.dataset.state === 'playing'")
    player.wait("document.activeElement === e.querySelector('.sop-stage')")
    player.keys("Space")
    player.wait("e.dataset.state === 'paused'")
    player.button("Play").focus()
    player.keys("Enter")  # a key leaves the focus where it is
    player.wait("e.dataset.state === 'playing'")
    assert player.button("Pause").evaluate("node => document.activeElement === node")


@pytest.mark.parametrize("touch", [True, False])
def test_a_finger_adds_tracks_by_a_button(new_page, scene, touch):
    with new_page(has_touch=touch, is_mobile=touch) as page:
        _, player = shown(page, scene)
        add, text = player.root.locator(".sop-add"), player.root.inner_text()
        assert add.is_visible() == touch
        assert ("“add” is for more" in text, "Shift-click" in text) == (touch, not touch)
        if not touch:
            return

        def tap(row, column):
            page.touchscreen.tap(*player.point(row, column))

        tap(3, 9)
        assert player.names(2) == ["right", "the rest"]
        player.root.get_by_label("nothing else sounds").check()
        player.wait(f"{CAPTION}.includes('a tap after “add” adds another')")
        player.root.get_by_role("button", name="add", pressed=False).tap()
        player.root.get_by_role("button", name="add", pressed=True).wait_for()
        tap(8, 2)
        assert player.names(3) == ["right", "bottom left", "the rest"]
        add.tap()
        tap(0, 2)
        assert player.names(2) == ["top left", "the rest"]


def test_mute_and_solo_work_where_aria_is_no_property(page, scene):
    """Firefox before 119: the attributes are there all the same, which styles and readers read."""
    page.evaluate("() => ['Pressed', 'Label'].forEach(n => delete Element.prototype[`aria${n}`])")
    python, player = shown(page, scene)
    player.click(3, 9)
    player.names(2)
    for name, expected in (("mute", [False, True]), ("solo", [True, False])):
        for value in expected:  # the rest is mute at first
            node = player.root.locator(f".sop-{name}").nth(1)
            node.click()
            assert node.get_attribute("aria-pressed") == str(value).lower()
            assert node.get_attribute("aria-label") == f"{name.title()} the rest"
            page.wait_for_function("() => true")
            assert python.mixer[1][name] is value


def test_where_nothing_else_sounds_the_tracks_are_the_mixture_and_undo_knows(page, scene):
    python, player = shown(page, scene)
    player.click(3, 9)
    player.hears((3, 9))
    player.root.get_by_label("nothing else sounds").check()
    player.wait(f"at({MIXTURE}) > -40 && at({hertz((3, 9))}) < -60")  # tone + (mixture - tone)
    assert python.whole and "one track alone has everything" in player.root.inner_text()
    player.keys("z")
    player.hears((3, 9))
    assert not python.whole and not player.eval(TICKED.format("whole"))
    python.whole = True  # from Python
    player.wait(TICKED.format("whole"))


def test_one_number_for_one_thing(page, scene):
    """Bold and grey: after a click, and after a drag whose last cell is silent."""
    _, player = shown(page, scene)
    scene.heard = lambda regions, partition=False: (scene.tracks(regions), [0.4, 0.6])
    player.drag((2, 0), (0, 1))  # to a cell that has nothing by the map
    player.caption("top left: 40 % of the energy")
    player.wait(f"{PROBE} === 'rows 0 to 2, columns 0 to 1: 40 % of the energy'")
    page.mouse.move(*player.point(8, 13))
    player.wait(f"{PROBE} === 'row 8, column 13: 100 % of the energy'")
    player.root.get_by_label("Show").select_option("now")
    page.mouse.move(*player.point(8, 12))
    player.wait(f"{PROBE}.startsWith('row 8, column 12: 99 % of the energy; at this moment ')")


def test_what_is_done_to_a_track_is_heard_though_the_mixture_was(page, scene):
    _, player = shown(page, scene)
    player.click(3, 9)
    player.click(8, 2, shift=True)
    player.names(3)
    for press in ("Solo right", "Mute bottom left"):
        player.button("A mixture").click()
        player.wait("e.dataset.hears === 'mixture'")
        player.button(press).click()
        player.wait("e.dataset.hears === 'selection'")
    player.button("A mixture").click()
    player.root.get_by_label("Level of right").fill("-6")
    player.wait("e.dataset.hears === 'selection'")
    player.wait("e.querySelector('.sop-loud').textContent === '−6.0 dB'")


def test_a_level_is_in_db_and_a_meter_moves_with_each_track(page, scene):
    python, player = shown(page, scene)
    player.click(3, 9)
    player.hears((3, 9))
    meters = """[...e.querySelectorAll('.sop-fill')].map(node =>
        new DOMMatrix(getComputedStyle(node).transform).a)"""
    loud = 1 + 20 * np.log10(0.2 / np.sqrt(2)) / 48  # of a sine of 0.2: 17 dB below full scale
    player.wait(f"Math.abs({meters}[1] - {loud}) < 0.02")
    assert player.eval(f"{meters}[0] === 0 && {meters}[2] === 0")  # neither is heard
    player.root.get_by_label("Level of right").fill("-12")
    player.wait(f"Math.abs({meters}[1] - {loud - 12 / 48}) < 0.02")
    page.wait_for_function("() => true")
    assert python.mixer[0]["level"] == pytest.approx(10 ** (-12 / 20), abs=1e-6)
    player.root.get_by_label("Level of right").fill("-40")
    player.wait("e.querySelector('.sop-loud').textContent === 'off'")
    player.silent()
    player.keys("Space")
    player.wait(f"{meters}.every(out => out === 0)")


def test_a_track_that_was_removed_comes_back(page, scene):
    python, player = shown(page, scene)
    player.click(3, 9)
    player.click(8, 2, shift=True)
    player.names(3)
    player.root.get_by_label("Level of right").fill("-6")
    player.button("Remove right").click()
    assert player.names(2) == ["bottom left", "the rest"]
    assert "right was removed" in player.root.inner_text()
    player.button("Undo: bring right back").click()
    assert player.names(3) == ["right", "bottom left", "the rest"]
    player.wait("e.querySelector('.sop-loud').textContent === '−6.0 dB'")
    assert "was removed" not in player.root.inner_text()


def test_all_tracks_are_downloaded_at_once_and_python_makes_the_player_again(
    page, stereo, tmp_path
):
    python, player = shown(page, stereo)
    assert player.button("all tracks").is_disabled()
    player.click(3, 9)
    player.click(8, 2, shift=True)
    player.names(3)
    player.root.get_by_label("Level of right").fill("-6")
    page.evaluate(LINKS)
    with page.expect_download() as waiting:
        player.button("all tracks").click()
    assert waiting.value.suggested_filename == "tracks.zip"
    assert page.evaluate("() => window.inPage && !document.querySelector('a[download]')")
    waiting.value.save_as(tmp_path / "tracks.zip")
    with module.saved.zipfile.ZipFile(tmp_path / "tracks.zip") as archive:
        assert archive.testzip() is None
        names = ["1 right.wav", "2 bottom left.wav", "3 the rest.wav", "mix.wav", "player.json"]
        assert archive.namelist() == names
        sounds = [soundfile.read(io.BytesIO(archive.read(name))) for name in names[:4]]
    assert {rate for _, rate in sounds} == {44_100}
    one, two, rest, mix = (samples.T for samples, _ in sounds)
    own = Own(stereo, "")
    np.testing.assert_allclose(one + two + rest, own.mixture, atol=2e-4)  # it waited for all of it
    np.testing.assert_allclose(mix, 10 ** (-6 / 20) * one + two, atol=2e-4)
    again = PixelPlayer.load(ToneScene(), tmp_path / "tracks.zip")
    assert again.regions == [[(3, 9)], [(8, 2)]]
    assert again.mixer[0]["level"] == pytest.approx(10 ** (-6 / 20)) and not again.whole


def test_what_is_saved_never_clips_is_softer_by_one_factor_and_says_so(page, tmp_path):
    """Tracks louder than full scale, and a mix at +6 dB: files still add up."""
    scene = ToneScene(level=0.9)
    _, player = shown(page, scene)

    def saved(press, name):
        with page.expect_download() as waiting:
            player.button(press).click()
        waiting.value.save_as(tmp_path / name)
        return tmp_path / name

    player.click(3, 9)
    player.names(2)
    one, rest = scene.tracks([[(3, 9)]])
    assert np.abs(one).max() < 1 < np.abs(rest).max()
    samples, _ = soundfile.read(saved("Download right as WAV", "one.wav"))
    np.testing.assert_allclose(samples, one / np.abs(rest).max(), atol=2e-4)
    assert "2.9 dB softer" in player.root.get_by_role("alert").inner_text()
    player.root.get_by_label("Level of right").fill("6")
    with module.saved.zipfile.ZipFile(saved("all tracks", "tracks.zip")) as archive:
        names = ["1 right.wav", "2 the rest.wav", "mix.wav"]
        files = [soundfile.read(io.BytesIO(archive.read(name)))[0] for name in names]
    loudest = np.abs(2 * one).max()
    for samples, sound in zip(files, (one, rest, 2 * one), strict=True):
        np.testing.assert_allclose(samples, sound / loudest, atol=2e-4)
    assert "5.1 dB softer" in player.root.get_by_role("alert").inner_text()
    player.click(0, 0)  # the next answer takes the line away
    player.root.get_by_role("alert").wait_for(state="hidden")


def test_a_level_that_is_changed_while_a_click_is_refused_reaches_python(page, scene):
    python, player = shown(page, scene)
    player.click(3, 9)
    player.names(2)
    scene.tracks = lambda regions: 1 / 0
    busy = player.eval(
        """(() => {
            const press = key => e.querySelector('.sop-stage').dispatchEvent(
                new KeyboardEvent('keydown', { key, bubbles: true }));
            ['ArrowRight', 'ArrowRight', 'Enter'].forEach(press);
            const level = e.querySelector('.sop-level');
            level.value = -12;
            level.dispatchEvent(new Event('input'));
            return e.dataset.busy;
        })()"""
    )
    assert busy == "true"
    player.root.get_by_role("alert").wait_for()
    player.wait("e.dataset.busy === 'false'")
    page.wait_for_function("() => true")
    assert python.regions == [[(3, 9)]] and "ZeroDivisionError" in python.error
    assert python.mixer[0]["level"] == pytest.approx(10 ** (-12 / 20), abs=1e-6)


def test_a_name_is_typed_on_though_an_answer_comes(page, scene):
    python, player = shown(page, scene)
    player.click(3, 9)
    assert player.names(2) == ["right", "the rest"]
    page.evaluate(HELD)
    player.click(8, 2, shift=True)
    name = player.root.get_by_label("Name of the track").first
    name.dblclick()
    page.keyboard.type("ac")
    page.keyboard.press("ArrowLeft")
    page.evaluate("() => window.release()")
    assert player.names(3)[0] == "ac"
    page.keyboard.type("bs")
    page.keyboard.press("Backspace")
    assert player.names(3) == ["abc", "bottom left", "the rest"]
    # The Enter that ends a word in Japanese ends no name.
    composing = "{ key: 'Enter', isComposing: true, bubbles: true, composed: true }"
    name.evaluate(f"node => node.dispatchEvent(new KeyboardEvent('keydown', {composing}))")
    assert name.evaluate("node => !node.readOnly")
    page.keyboard.press("Enter")
    assert name.evaluate("node => node.readOnly")
    assert [m["name"] for m in python.mixer] == ["abc", "bottom left", "the rest"]


def test_another_window_of_the_same_kernel_shows_what_was_clicked(page, scene):
    """Python tells it the answer, but not the regions, which came from the first window."""
    _, player = shown(page, scene)
    first = PixelPlayer(scene, pixel=(3, 9))
    told = {name: plain(getattr(first, name)) for name in ("mixer", "answer")}
    page.evaluate("told => { window.news = async () => told; }", told)
    assert player.names(2) == ["right", "the rest"]
    assert player.root.locator(".sop-badges .sop-badge").count() == 1
    assert player.eval("e.dataset.state") == "paused"


def test_a_wave_is_of_all_channels(page, stereo, monkeypatch):
    """Half a second of nothing on the left and a tone on the right is no flat line."""

    class Right(Own):
        def __init__(self, scene, path):
            super().__init__(scene, path)
            self.mixture = self.mixture * np.float32([[0], [1]])

    monkeypatch.setattr(module, "OwnSound", Right)
    _, player = shown(page, stereo)
    heights = """(() => {
        const wave = e.querySelector('.sop-wave'), { width, height } = wave;
        const { data } = wave.getContext('2d').getImageData(width / 2, 0, 1, height);
        return data.filter((value, i) => i % 4 === 3 && value).length / height;
    })()"""
    assert player.eval(heights) > 0.4  # of the lane; a flat line has 0.03


def test_what_is_saved_before_the_full_band_is_there_says_so(page, stereo, tmp_path):
    _, player = shown(page, stereo)
    page.evaluate(NEVER_FULL)
    player.click(3, 9)
    player.names(2)
    player.button("Download right as WAV").click()
    with page.expect_download() as waiting:
        player.click(8, 2)  # its answer takes the place of what was to be saved
    waiting.value.save_as(tmp_path / "one.wav")
    assert soundfile.info(tmp_path / "one.wav").channels == 1
    assert "the full band was not ready" in player.root.get_by_role("alert").inner_text()


def test_quick_seeks_do_not_crackle_and_what_is_mute_stays_so(page):
    """The samples of a constant sound: no step, whatever was still fading in."""

    def heard(sounds, levels, acts):
        code = (module.STATIC / "mixer.js").read_text(encoding="utf-8")
        given = {"code": code, "sounds": sounds, "levels": levels, "acts": acts}
        return np.array(page.evaluate(OFFLINE, given))

    page.set_content("<p>")
    seeks = [[0.05 + k / 120, f"mixer.seek({k / 10})"] for k in range(8)]
    steady = heard([0.5], [1], seeks)
    assert np.abs(np.diff(steady)).max() < 0.01 and steady.max() > 0.4
    # A track of silence is heard, and the rest (0.5) is mute; a second track comes, as by `accept`.
    more = "mixer.load([constant(0), constant(0)]); mixer.levels = [0, 1, 1, 0]; mixer.play();"
    assert np.abs(heard([0.5, 0], [0, 1, 0], [[0.05, more]])).max() < 1e-6


def test_full_band_and_stereo_follow_a_click_without_a_seam(page, stereo):
    """A tone goes on as it was: what is left beside it is 50 dB softer, at the seam too."""
    python, player = shown(page, stereo)
    player.button("Play").click()
    player.wait(f"at({Own.air}) > -50")  # nothing was clicked yet
    seam = page.evaluate_handle(f"e => ({{ heard: ({SEAM})(e) }})", player.root.element_handle())
    player.click(3, 9)
    rate, *samples = page.evaluate("seam => seam.heard", seam)
    assert rate == 44_100 and player.eval("e.dataset.band") == "full"
    t = np.arange(len(samples)) / rate
    waves = np.stack([f(2 * np.pi * hertz((3, 9)) * t) for f in (np.sin, np.cos)], 1)
    fitted = waves @ np.linalg.lstsq(waves, samples, rcond=None)[0]
    error = np.abs(samples - fitted).max() / np.abs(fitted).max()
    assert error < 0.003, error
    assert player.eval("e.sop.sounds.map(sound => sound.length)") == [2, 2, 2]
    player.button("Mute the rest").click()
    player.wait(f"at({Own.air}) > -50")
    player.root.get_by_label("full band, stereo").uncheck()
    player.wait(f"at({Own.air}) < -80 && at({MIXTURE}) > -25 && e.dataset.band === 'model'")
    player.button("A mixture").click()
    player.wait(f"at({Own.air}) < -80 && at({MIXTURE}) > -25")
    player.click(8, 2)
    player.hears((8, 2))
    assert python.band == "model" and python.full["regions"] == [[(3, 9)]]


def test_without_a_sound_of_its_own_a_video_is_played_as_it_was(page, scene):
    _, player = shown(page, scene)
    assert player.root.get_by_label("full band").is_hidden()
    player.click(3, 9)
    player.hears((3, 9))
    assert player.eval("[e.sop.rate, e.sop.buffers.length].join()") == "11025,1"


@pytest.mark.parametrize("theme", ["", DARK])
@pytest.mark.parametrize("grey", [12, 128, 250])
def test_energy_is_added_to_a_picture_that_stays_as_it_is(page, scene, theme, grey):
    """Where nothing sounds it is the video's own; where much does, dark and bright ones show it."""
    scene.pictures = lambda: np.full((20, 180, 320, 3), grey, np.uint8)
    energy = np.zeros(scene.grid)
    energy[6:, 9:] = 0.6
    scene.energy = lambda: energy
    _, player = shown(page, scene, theme)
    image = Image.open(io.BytesIO(player.stage.screenshot())).convert("RGB")
    w, h = image.size
    silent, loud = image.getpixel((w // 4, h // 4)), image.getpixel((int(0.85 * w), int(0.85 * h)))
    assert max(abs(value - grey) for value in silent) <= 3
    assert max(abs(value - grey) for value in loud) > 45


@pytest.mark.parametrize("width", [320, 1280])
def test_a_number_lies_beside_its_cell(page, scene, width):
    page.set_viewport_size({"width": width, "height": 900})
    _, player = shown(page, scene)
    for cell in [(3, 9), (0, 0), (8, COLUMNS - 1), (0, 5)]:
        player.click(*cell)
        player.names(2)
        assert player.eval(COVERED) < 0.12, cell
        inside = player.eval(
            """(() => { const box = s => e.querySelector(s).getBoundingClientRect();
            const [n, s] = [box('.sop-badges .sop-badge'), box('.sop-stage')];
            return n.left > s.left - 1 && n.right < s.right + 1 && n.top > s.top - 1; })()"""
        )
        assert inside, cell
    player.wait("e.scrollWidth <= e.clientWidth")


def test_a_report_of_a_fault_can_be_copied(page, scene):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    python, player = shown(page, scene, pixel=(3, 9))
    player.stage.focus()
    player.keys("?")
    player.button("Copy this for a bug report").click()
    player.wait("e.querySelector('.sop-copy').textContent === 'Copied'")
    text = player.root.get_by_label("Text for a bug report").input_value()
    assert text.startswith(python.about)
    for part in ("Chrome/", "regions [[[3,9]]]", "whole false", "error none", "page 1280 x 900"):
        assert part in text

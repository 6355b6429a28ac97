"""Make docs/player.png anew: the player with a duet of the toy orchestra, two regions marked.

python tests/browser/picture.py
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bare import show
from playwright.sync_api import sync_playwright

from sop_core.config import DEMO_WEIGHTS
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.toy.render import render_clip
from sop_core.training.checkpoint import load_model

OUT = Path(__file__).resolve().parents[2] / "docs/player.png"
CELLO, TRUMPET = ((6, 2), (12, 5)), ((3, 8), (6, 11))  # cells: corners of two regions
AT = 4.2  # s
READY = ".sop-player[data-band=full][data-busy=false]"


def main() -> None:
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        video = render_clip(Path(folder) / "duet", ("cello", "trumpet"), k=0, seed=2027)
        pictures, sound = read_video(video, 24, 44_100)
        stereo = Path(folder) / "stereo.mp4"
        write_video(stereo, pictures, 24, np.stack([sound, np.roll(sound, 441)]), 44_100)
        player = PixelPlayer(Scene.from_video(load_model(DEMO_WEIGHTS), stereo))
        player.regions = [
            [(r, c) for r in range(r0, r1 + 1) for c in range(c0, c1 + 1)]
            for (r0, c0), (r1, c1) in (CELLO, TRUMPET)
        ]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1116, "height": 800}, device_scale_factor=1.5)
        show(page, player)
        page.locator(READY).wait_for()
        for name in ("Play", "Pause"):  # else it says that it was not heard yet
            page.get_by_role("button", name=name).click()
        page.get_by_label("Time", exact=True).fill(str(AT))
        page.wait_for_function(
            "k => document.querySelector('.sop-player').dataset.frame >= k",
            arg=int(AT * player.fps) - 1,
        )
        page.mouse.move(0, 0)
        page.get_by_label("Time", exact=True).blur()
        page.locator(".sop-player").screenshot(path=OUT)
        browser.close()


if __name__ == "__main__":
    main()

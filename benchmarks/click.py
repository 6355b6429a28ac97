"""The time from a click to its sound, in a real browser.

30 clicks on a duet in stereo at 44.1 kHz, in JupyterLab, in headless Chromium. Then 30 in the
model's band alone, mono at 11 kHz, on the same player; then as many on the page that needs no
kernel, of 10 s of the same duet.

    python benchmarks/click.py [--clicks 30] [--seconds 6] [--page 10] [--model data/demo_weights]

The page itself takes the time: from the moment the mouse button comes up to the moment the page
hands the sound's samples to the browser's sound thread. The way to the kernel and back lies
between. The kernel's own time, on the same clicks, is printed beside it, and the time until all of
the band is heard, in stereo.
"""

import argparse
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from playwright.sync_api import sync_playwright

from sop_core.config import DEMO_WEIGHTS

CELLS = (
    """
import time
from pathlib import Path
import numpy as np
from sop_core.listening.player import PixelPlayer
from sop_core.listening.scene import Scene
from sop_core.media.stream import read_video
from sop_core.media.write import write_video
from sop_core.toy.render import render_clip
from sop_core.training.checkpoint import load_model
model = load_model(Path({model!r}))
video = render_clip(Path("duet"), ("cello", "trumpet"), k=0, seed=2027)
frames, sound = read_video(video, 24, 44_100)
write_video("stereo.mp4", frames, 24, np.stack([sound, np.roll(sound, 441)]), 44_100)
player = PixelPlayer(Scene.from_video(model, "stereo.mp4"), seconds={seconds})
taken, heard = [], player.scene.heard
def timed(*args):
    start = time.perf_counter()
    found = heard(*args)
    taken.append(1e3 * (time.perf_counter() - start))
    return found
player.scene.heard = timed
PixelPlayer(Scene.from_video(model, "stereo.mp4"), seconds={page}).to_html("page.html")
player
""",
    "player.band = 'model'; print('kernel', sorted(taken)[len(taken) // 2])",
)

# Javascript: the open notebook, and its kernel's state
CONTENT = "window.jupyterapp.shell.currentWidget.content"
STATUS = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"


def notebook(*cells: str) -> str:
    empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    made = [empty | {"id": f"c{i}", "source": source} for i, source in enumerate(cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def serve(folder: Path) -> tuple[subprocess.Popen, str, str]:
    with closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token, url = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]
    command += ["--expose-app-in-browser"]
    env = dict(os.environ)
    env["JUPYTER_CONFIG_DIR"] = str(folder / ".config")
    env["JUPYTER_RUNTIME_DIR"] = str(folder / ".run")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=folder, env=env, **quiet)
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/api/status?token={token}", timeout=5).close()
            return server, url, token
        except OSError:
            time.sleep(0.1)
    raise SystemExit("JupyterLab didn't start")


def run(page, cell: int) -> None:
    """Run one cell of the open notebook and wait for its end."""
    page.evaluate(f"() => {{ {CONTENT}.activeCellIndex = {cell}; }}")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    done = f"{CONTENT}.model.toJSON().cells[{cell}].execution_count"
    page.wait_for_function(f"() => {done}", timeout=180_000)


def click(page, row: int, column: int, band: str) -> dict[str, float]:
    """Milliseconds from a click on a cell to its sound, the page's own part, to all of the band."""
    root = page.locator(".sop-player[data-frame]")
    stage = root.locator(".sop-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    root.evaluate("root => { delete root.dataset.clickMs; }")
    x, y = (column + 0.5) / 14 * box["width"], (row + 0.5) / 14 * box["height"]
    stage.click(position={"x": x, "y": y})
    # Asked every 100 ms: asked at every frame, it would cost the page time. The page without a
    # kernel allows no `wait_for_function`.
    done = f"root => root.dataset.clickMs && root.dataset.band === '{band}'"
    while not root.evaluate(done):
        time.sleep(0.1)
    times = root.evaluate("({ dataset: d }) => [d.clickMs, d.pageMs, d.fullMs].map(Number)")
    names = ("click to sound", "of which the page's", "click to all of the band")
    return dict(zip(names, times[: 3 if band == "full" else 2], strict=False))


def clicks(page, count: int, band: str, what: str) -> None:
    """So many clicks, and one before, which opens the sound card; prints their times."""
    taken: dict[str, list[float]] = {}
    for i in range(count + 1):
        for part, ms in click(page, 3 + 3 * i % 10, (1 + 5 * i) % 14, band).items():
            taken.setdefault(part, []).append(ms)
    for part, times in taken.items():
        times = sorted(times[1:])
        median, spread = statistics.median(times), f"{times[0]:.1f} to {times[-1]:.1f}"
        print(f"{what}, {part}: median {median:.1f}, {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--page", type=float, default=10.0, help="seconds of the page")
    parser.add_argument("--model", type=Path, default=DEMO_WEIGHTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        first = {"model": str(args.model.resolve()), "seconds": args.seconds, "page": args.page}
        cells = (CELLS[0].format(**first), CELLS[1])
        (folder / "click.ipynb").write_text(notebook(*cells))
        server, url, token = serve(folder)
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{url}/lab/tree/click.ipynb?reset&token={token}")
            page.wait_for_function(f"() => {STATUS} === 'idle'", timeout=60_000)
            run(page, 0)
            print(f"{args.clicks} clicks on {args.seconds:g} s, milliseconds:")
            clicks(page, args.clicks, "full", "band=full")
            run(page, 1)
            clicks(page, args.clicks, "model", "band=model")
            cell = f"{CONTENT}.model.toJSON().cells[1].outputs[0].text"
            kernel = "".join(page.evaluate(f"() => [{cell}].flat()")).split()[1]
            print(f"of which the kernel makes the tracks in {float(kernel):.1f} ms, median")
            page.goto((folder / "page.html").as_uri())
            size = (folder / "page.html").stat().st_size / 1e6
            what = f"the page without a kernel, {args.page:g} s, {size:.1f} MB"
            clicks(page, args.clicks, "full", what)
            browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

"""A real JupyterLab, Jupyter Notebook 7 and Chromium, all of them this machine's own.

Where one is missing, the tests skip and say so. No test waits by sleeping: it asks Lab for its
state (`--expose-app-in-browser`), and the page for its elements.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = 180  # seconds that Lab may take to answer, on a slow machine beside other tests
RUN = 900  # seconds that a whole notebook may take

NOTEBOOKS = "/static/notebook/"  # scripts of Notebook 7, which throws a little when it starts

# Javascript, of the open notebook
CODE_CELLS = (
    "window.jupyterapp.shell.currentWidget.content.model.toJSON().cells"
    ".filter(c => c.cell_type === 'code' && [c.source].flat().join('').trim())"
)
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Lab:
    """A running JupyterLab: `url`, and `folder`, whose notebooks it serves.

    Args: `place`: where it shows a notebook, below `url`
    """

    def __init__(self, url: str, token: str, folder: Path, place: str = "lab/tree"):
        self.url, self.token, self.folder, self.place = url, token, folder, place

    def write(self, name: str, *cells: str) -> str:
        """A notebook of code cells, fresh in the folder; gives its name."""
        empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        made = [empty | {"id": f"cell-{i}", "source": source} for i, source in enumerate(cells)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        about = {"metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        notebook = {"cells": made} | about
        (self.folder / name).write_text(json.dumps(notebook))
        return name

    def open(self, page, name: str) -> None:
        """Open a notebook of the folder and wait for its kernel."""
        page.goto(f"{self.url}/{self.place}/{name}?reset&token={self.token}")
        page.wait_for_function(
            "name => window.jupyterapp?.shell.currentWidget?.context?.path === name"
            f" && {KERNEL} === 'idle'",
            arg=name,
            timeout=START * 1000,
        )

    def run_all(self, page, name: str, timeout: float = RUN) -> list[dict]:
        """`open` and `run`."""
        self.open(page, name)
        return self.run(page, timeout)

    def run(self, page, timeout: float = RUN) -> list[dict]:
        """Pick Run > Run All Cells in the open notebook, and wait for the last cell.

        Returns its code cells with their outputs.

        Fails with the traceback of the first cell that raised.
        """
        # A shipped notebook has counts and outputs already. Once they are gone, all is new.
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        page.wait_for_function(
            f"() => {CODE_CELLS}.every(c => !c.execution_count && !c.outputs.length)"
        )
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        ended = f"{CODE_CELLS}.every(c => c.execution_count)"
        failed = f"{CODE_CELLS}.some(c => c.outputs.some(o => o.output_type === 'error'))"
        page.wait_for_function(
            f"() => {KERNEL} === 'idle' && ({ended} || {failed})", timeout=timeout * 1000
        )
        cells = page.evaluate(f"() => {CODE_CELLS}")
        for cell in cells:
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    pytest.fail(
                        f"this cell failed:\n{cell['source']}\n" + "\n".join(output["traceback"])
                    )
        return cells

    def shut_down(self, page) -> None:
        """End the open notebook's kernel, as somebody else's page may: the server is told."""
        kernel = page.evaluate(f"() => {KERNEL.replace('status', 'id')}")
        headers = {"Authorization": f"token {self.token}"}
        url = f"{self.url}/api/kernels/{kernel}"
        urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="DELETE"))

    @contextmanager
    def dark(self, page):
        """`with lab.dark(page):` the dark theme, and the light one after it."""

        def put_on(theme: str, light: str) -> None:
            page.evaluate(
                "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })",
                f"JupyterLab {theme}",
            )
            page.wait_for_function("is => document.body.dataset.jpThemeLight === is", arg=light)

        put_on("Dark", "false")
        try:
            yield
        finally:
            put_on("Light", "true")

    @staticmethod
    def printed(cells: list[dict]) -> str:
        """All text that the cells printed or showed, as one string."""
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        return "\n".join(
            "".join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in outputs
        )


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """One JupyterLab for all tests, on a free port, without the user's settings or kernels."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed: pip install -e .[dev]")
    home = tmp_path_factory.mktemp("jupyter")
    folder = tmp_path_factory.mktemp("notebooks")
    settings = (
        home
        / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    )
    settings.parent.mkdir(parents=True)
    settings.write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )  # no question, no network
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),  # where a user's kernels would be
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_TOKEN"):
        env.pop(name, None)
    # A kernel of this very interpreter, found before any other of that name.
    kernel = home / "data/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))

    with closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token, url = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    log = home / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    command += [f"--IdentityProvider.token={token}"]
    command += ["--JupyterNotebookApp.expose_app_in_browser=True"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    with log.open("w") as out:
        server = subprocess.Popen(
            command, env=env, cwd=folder, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(f"{url}/api/status?token={token}", server, log)
        yield Lab(url, token, folder)
    finally:
        server.terminate()  # takes its kernels along
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def notebook7(lab):
    """Jupyter Notebook 7, of the same server."""
    pytest.importorskip(
        "notebook", "7", reason="notebook>=7 is not installed: pip install -e .[dev]"
    )
    return Lab(lab.url, lab.token, lab.folder, "notebooks")


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)  # of the poll: there is nothing to listen to before the port is open
    pytest.fail(f"JupyterLab didn't start within {START} s; its log:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium, with its own autoplay rule: a page is silent before the first click."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]"
    )
    program = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if not program:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        flags += ["--disable-sync", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def new_page(chromium):
    """`with new_page() as page`: closed at the end. An error in the page's scripts is a failure."""

    @contextmanager
    def make(**settings):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | settings)
        page, thrown = context.new_page(), []
        page.set_default_timeout(START * 1000)
        page.on("pageerror", lambda error: NOTEBOOKS in str(error.stack) or thrown.append(error))
        try:
            yield page
        finally:
            context.close()
        assert not thrown, f"the page's scripts threw: {thrown}"

    return make


@pytest.fixture
def page(new_page):
    with new_page() as page:
        yield page

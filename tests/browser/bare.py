"""A player on a page of its own, without JupyterLab: starts in a tenth of the time.

The page's model is a few lines of JavaScript; behind it is a real `PixelPlayer`. A message of the
page runs in Python when the test waits for the page.
"""

import base64
import contextlib
from typing import Any

from sop_core.errors import SopError
from sop_core.listening.player import STATIC

PAGE = """<!doctype html><meta charset="utf-8"><style>CSS body { margin: 8px; THEME }</style>
<div id="here"></div>"""
MODEL = """async ({ code, state }) => {
    const view = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
    const each = v => Object.fromEntries(Object.entries(v).map(([k, w]) => [k, bytes(w)]));
    const bytes = v => Array.isArray(v) ? v.map(bytes)
        : v && typeof v === "object" ? ("b64" in v ? view(v.b64) : each(v)) : v;
    const values = bytes(state), listeners = [];
    let changed = {};
    const emit = name =>
        listeners.filter(([event]) => event === `change:${name}`).forEach(([, f]) => f());
    const set = (name, value) => {
        const before = JSON.stringify(values[name]);
        values[name] = value;
        if (before !== JSON.stringify(value)) emit(name);
    };
    const model = {
        get: name => values[name],
        set: (name, value) => { changed[name] = value; set(name, value); },
        save_changes: () => {
            tell(changed);
            changed = {};
        },
        on: (event, f) => listeners.push([event, f]),
        off: (event, f) => {
            listeners.splice(listeners.findIndex(([e, g]) => e === event && g === f), 1);
        },
    };
    const fromPython = state => { // all of them, then the events: as a message of Jupyter's
        Object.assign(values, bytes(state));
        Object.keys(state).forEach(emit);
    };
    const tell = async told => fromPython(await window.tellPython(told));
    setInterval(async () => fromPython(await window.news()), 50); // what Python does by itself
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const { default: widget } = await import(url);
    widget.render({ model, el: document.getElementById("here") });
}"""


def plain(value: Any) -> Any:
    """A trait's value as JSON, bytes as base64."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def show(page, player, theme: str = "") -> None:
    """Put a player on a page. `theme`: CSS of the body."""

    def synced(name):
        return not name.startswith("_") and name not in ("layout", "tabbable")

    def to_python(told):
        with contextlib.suppress(SopError):  # it is in the trait `error`, too
            player.set_state(told)
        for name, value in told.items():  # no echo
            if plain(getattr(player, name)) == value:
                waiting.pop(name, None)
        return news()

    def news():
        changed = {name: plain(getattr(player, name)) for name in waiting}
        waiting.clear()
        return changed

    waiting: dict[str, None] = {}  # traits of which the page doesn't know yet, in their order
    player.observe(lambda change: synced(change.name) and waiting.setdefault(change.name))
    page.expose_function("tellPython", to_python)
    page.expose_function("news", news)
    css = (STATIC / "player.css").read_text(encoding="utf-8")
    page.set_content(PAGE.replace("CSS", css).replace("THEME", theme))
    state = {name: plain(getattr(player, name)) for name in filter(synced, player.keys)}
    page.evaluate(MODEL, {"code": str(player._esm), "state": state})

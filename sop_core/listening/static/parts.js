// What the player consists of on its page: elements, and how a track's row is filled. They know no model and no state.

const OVERLAYS = { none: "picture only", now: "energy, this moment", clip: "energy, whole clip", clusters: "what sounds alike" };
const HELP = {
  "Click, drag": "hear a cell, or a rectangle of them; with Shift: as another track",
  "Arrow keys": "on the picture: move from cell to cell; with Shift: stretch a rectangle, Esc drops it",
  Enter: "on the picture: hear what is marked; with Shift: as another track",
  Space: "play, pause",
  "A, B": "the mixture, the selection",
  ", and .": "one picture back, one on",
  L: "loop, or play once",
  "M, S, Delete": "in a track: mute it, solo, remove it",
  "Enter, double click": "in a track: give it another name; Esc keeps the old one",
  Z: "undo: the tracks as they were, with their names and levels; with Shift: redo",
};
const WHOLE = "Everything is dealt out among the tracks, and nothing is left for the rest. With one track alone, that one has everything.";
const ADD = "What is clicked becomes another track, as with Shift";
const COPY = "Copy this for a bug report";

const ICONS = {
  play: "M4.5 2.5v11l9-5.5z",
  pause: "M4.2 3h2v10h-2zM9.8 3h2v10h-2z",
  loop: "M3 7.5V6a2 2 0 0 1 2-2h7.5M10.3 1.6 12.7 4l-2.4 2.4M13 8.5V10a2 2 0 0 1-2 2H3.5M5.7 9.6 3.3 12l2.4 2.4",
  undo: "M5.8 3 2.8 6l3 3M2.8 6h7a3.5 3.5 0 0 1 0 7H5.5",
  save: "M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10",
  remove: "M4.2 4.2l7.6 7.6M11.8 4.2l-7.6 7.6",
};

/** Firefox has no properties for ARIA's attributes before 119. */
function nameAria() {
  for (const name of ["Busy", "Disabled", "Hidden", "Label", "Live", "Pressed", "ValueText"]) {
    const attribute = `aria-${name.toLowerCase()}`, get = function () { return this.getAttribute(attribute); };
    const set = function (value) { this.setAttribute(attribute, value); };
    if (!(`aria${name}` in Element.prototype)) Object.defineProperty(Element.prototype, `aria${name}`, { configurable: true, get, set });
  }
}

/** A node of this class at the end of `parent`. What is no property of it (aria-label, ...) is set as an attribute. */
function element(tag, name, parent, settings = {}) {
  const svg = ["svg", "g", "path"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  node.setAttribute("class", name && `sop-${name}`);
  for (const [key, value] of Object.entries(settings)) {
    if (!svg && key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  parent.append(node);
  return node;
}

function button(name, parent, settings, icon) {
  const node = element("button", `button sop-${name}`, parent, { type: "button", ...settings });
  if (icon) element("path", "", element("svg", "icon", node, { viewBox: "0 0 16 16", "aria-hidden": true }), { d: ICONS[icon] });
  return node;
}

/** An accessible name that the mouse can read, too. */
function label(node, text) {
  node.ariaLabel = node.title = text;
}

/** A line that is seen on any picture: its colour between dark ones, white in its middle. */
function mark(parent, cells, name, tint = "") {
  const group = element("g", `mark sop-${name}`, parent), d = outline(cells);
  group.style.color = tint;
  for (const layer of ["dark", "tint", "light"]) element("path", layer, group, { d, "vector-effect": "non-scaling-stroke" });
}

function paintPixels(canvas, bytes, width, height) {
  Object.assign(canvas, { width, height }).getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
}

/** A box to tick, with words beside it. */
function ticked(name, parent, text, title) {
  const line = element("label", `tick sop-${name}`, parent, { title }), box = element("input", "", line, { type: "checkbox" });
  line.append(text);
  return box;
}

function build(el, [rows, columns], seconds, fps, own) {
  nameAria();
  const root = element("div", "player", el, { role: "group", ariaLabel: "Player" });
  const body = element("div", "body", root), left = element("div", "left", body);
  const stage = element("div", "stage", left, { tabIndex: 0, role: "application" });
  stage.ariaLabel = `Picture with sound, ${rows} rows and ${columns} columns: arrow keys move, Enter plays, Shift and Enter adds`;
  const picture = element("canvas", "picture", stage), heat = element("canvas", "heat", stage);
  const box = { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", "aria-hidden": true };
  const marks = element("svg", "marks", stage, box);
  const badges = element("div", "badges", stage, { ariaHidden: true });

  const transport = element("div", "bar", left), play = button("play", transport, {}, "play");
  const slider = element("input", "slider", transport, { type: "range", max: seconds, step: 1 / fps, value: 0, ariaLabel: "Time" });
  const time = element("span", "time", transport), loop = button("loop", transport, {}, "loop");
  label(loop, "Loop");
  const undo = button("undo", transport, { title: "Undo: the tracks as they were (key Z)", ariaLabel: "Undo" }, "undo");

  const bar = element("div", "bar", left), choice = element("div", "choice", bar, { role: "group", ariaLabel: "What is heard" });
  const a = button("a", choice, { textContent: "A mixture", title: "Everything together (key A)" });
  const b = button("b", choice, { textContent: "B selection", title: "What the tracks' mixer lets through (key B)" });
  const overlay = element("select", "overlay", element("label", "field", bar, { textContent: "Show " }));
  for (const [value, textContent] of Object.entries(OVERLAYS)) element("option", "", overlay, { value, textContent });
  const legend = element("div", "legend", left);

  const says = element("div", "says", left);
  const caption = element("div", "caption", says, { ariaLive: "polite" }), probe = element("div", "probe", says);
  const error = element("div", "error", left, { role: "alert", hidden: true });
  const help = element("details", "help", left), keys = element("dl", "keys", help);
  element("summary", "", help, { textContent: "Mouse and keys" });
  for (const [key, use] of Object.entries(HELP)) {
    element("dt", "", keys, { textContent: key });
    element("dd", "", keys, { textContent: use });
  }
  const copy = button("copy", help, { textContent: COPY });
  const report = element("textarea", "report", help, { readOnly: true, rows: 7, spellcheck: false, ariaLabel: "Text for a bug report" });

  const side = element("div", "side", body), tools = element("div", "bar sop-tools", side, { role: "group", ariaLabel: "All tracks" });
  const add = button("add", tools, { textContent: "add", title: ADD, ariaPressed: false }); // for fingers: see player.css
  const whole = ticked("whole", tools, "nothing else sounds", WHOLE);
  const stereo = own?.channels === 2, wide = `The video's own sound${stereo ? ", in stereo" : ""}; without: mono in the model's band, as the nets hear it`;
  const band = ticked("band", tools, stereo ? "full band, stereo" : "full band", wide);
  band.parentNode.hidden = !own;
  const all = button("all", tools, { title: "A zip: each track and the mix as it is set as WAV, and regions and levels for PixelPlayer.load" }, "save");
  all.append(" all tracks");
  const tracks = element("div", "tracks", side, { role: "group", ariaLabel: "Tracks" });
  return {
    root, stage, picture, heat, marks, badges, play, slider, time, loop, undo, a, b, overlay, legend, caption, probe, error, help, copy, report,
    add, whole, band, all, tracks,
  };
}

/** A track's row; `act(what, value)` is told what is done to it (`mute` and `solo`: the other way round). The mixture's own isn't `mixed`. */
function buildRow(parent, { name, badge, tint, share, mixed, removable }, act) {
  const root = element("div", "track", parent, { role: "group", tabIndex: -1 }), head = element("div", "head", root);
  root.style.setProperty("--sop-tint", tint);
  element("span", "badge", head, { textContent: badge, ariaHidden: true });
  const row = { root };
  if (mixed) {
    row.name = element("input", "name", head, { maxLength: 80, spellcheck: false, readOnly: true, ariaLabel: "Name of the track" });
    row.name.oninput = () => act("name", row.name.value);
    row.name.ondblclick = () => act("rename");
    row.name.onblur = () => { row.name.readOnly = true; };
    element("span", "share", head, { textContent: loudness(share), title: "Share of the mixture's energy, from beginning to end" });
  } else element("span", "name", head, { textContent: name });
  const controls = element("div", "controls", head);
  if (mixed) {
    row.mute = button("mute", controls, { textContent: "M", onclick: () => act("mute") });
    row.solo = button("solo", controls, { textContent: "S", onclick: () => act("solo") });
    row.level = element("input", "level", controls, { type: "range", min: LOWEST, max: HIGHEST, step: 0.5 });
    row.level.oninput = () => act("level", levelOf(Number(row.level.value)));
    row.level.ondblclick = () => act("level", 1);
    row.loud = element("span", "loud", controls);
  }
  row.save = button("save", controls, { onclick: () => act("save") }, "save");
  if (removable) row.remove = button("remove", controls, { onclick: () => act("remove") }, "remove");

  row.meter = element("div", "fill", element("div", "meter", root, { ariaHidden: true }));
  const lane = element("div", "lane", root, { title: "Click to go there" });
  const seek = (event) => act("seek", (event.clientX - lane.getBoundingClientRect().left) / lane.clientWidth);
  lane.onpointerdown = (event) => {
    lane.setPointerCapture(event.pointerId);
    seek(event);
  };
  lane.onpointermove = (event) => lane.hasPointerCapture(event.pointerId) && seek(event);
  row.spectrum = element("canvas", "spectrum", lane, { role: "img" });
  row.wave = element("canvas", "wave", lane, { ariaHidden: true });
  row.needle = element("div", "needle", lane);
  return row;
}

/** What of a row may change without a new answer; `gain`: how much of it is heard now. */
function fillRow(row, { name, level, mute, solo }, gain, where) {
  row.root.classList.toggle("sop-unheard", !gain);
  row.root.ariaLabel = name;
  row.spectrum.ariaLabel = `Spectrogram of ${name}`;
  label(row.save, `Download ${name} as WAV`);
  if (row.remove) label(row.remove, `Remove ${name}`);
  if (!row.mute) return;
  if (row.name.value !== name) row.name.value = name; // else the caret would jump
  row.name.title = `${name === where ? name : `${name}: ${where}`} (double click: another name)`; // there may be no room for all of it
  label(row.mute, `Mute ${name}`);
  label(row.solo, `Solo ${name}`);
  label(row.level, `Level of ${name}`);
  row.mute.ariaPressed = mute;
  row.solo.ariaPressed = solo;
  row.level.value = slideOf(level);
  row.loud.textContent = row.level.ariaValueText = decibels(level);
}

function drawWave(row, tint, channels, peak) {
  const [w, h] = [800, 64], all = channels.map((samples) => waveform(samples, w)), y = (sample) => (h / 2) * (1 - sample / peak);
  const context = Object.assign(row.wave, { width: w, height: h }).getContext("2d");
  context.fillStyle = tint;
  for (let x = 0; x < w; x++) {
    const [low, high] = [Math.min(...all.map((sides) => sides[2 * x])), Math.max(...all.map((sides) => sides[2 * x + 1]))];
    context.fillRect(x, y(high) - 0.5, 1, y(low) - y(high) + 1);
  }
}

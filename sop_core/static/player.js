// The page's half of PixelPlayer (sop_core/widget.py): a picture whose pixels can be heard.
// A cell is [row, column], row 0 on top. State lives in the model's traits; this file draws it and plays it.
// The sound is on its way exactly while `pixel` and `heard` differ.

// === GEOMETRY AND WORDS: pure, tested by tests/geometry.test.mjs ===

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The cell under a point of the page. `rect`: where the picture is, in the same (CSS) pixels. */
export function cellAt(x, y, rect, [rows, columns]) {
  const row = Math.floor(((y - rect.top) / rect.height) * rows) || 0; // || 0: a picture of no size yet
  const column = Math.floor(((x - rect.left) / rect.width) * columns) || 0;
  return [clamp(row, 0, rows - 1), clamp(column, 0, columns - 1)];
}

/** Where a cell lies in a picture of width x height. */
export function cellRect([row, column], [rows, columns], width, height) {
  const h = height / rows, w = width / columns;
  return { left: column * w, top: row * h, width: w, height: h };
}

/** The cell that an arrow key leads to; null for any other key. */
export function step([row, column], key, [rows, columns]) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!Object.hasOwn(moves, key)) return null;
  return [clamp(row + moves[key][0], 0, rows - 1), clamp(column + moves[key][1], 0, columns - 1)];
}

export const same = (a, b) => a === b || (!!a && !!b && a[0] === b[0] && a[1] === b[1]);

/** "42 %": a share in whole percent, but never "0 %" for something. */
export function percent(share) {
  return share > 0 && share < 0.005 ? "under 1 %" : `${Math.round(100 * share)} %`;
}

/** "row 3, column 9: 42 % of the energy" */
export function describe(cell, energy, [, columns]) {
  return `row ${cell[0]}, column ${cell[1]}: ${percent(energy[cell[0] * columns + cell[1]])} of the energy`;
}

// Matplotlib's inferno at 0.25, 0.4, ... 1: its dark end would only dim the picture where there is nothing to hear.
const COLOURS = [[87, 16, 110], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];

/** [red, green, blue, alpha], each 0..255, of an energy 0..1; nothing is transparent. */
export function colour(share) {
  const e = clamp(share, 0, 1), at = e * (COLOURS.length - 1);
  const i = Math.min(Math.floor(at), COLOURS.length - 2);
  const rgb = COLOURS[i].map((low, k) => Math.round(low + (at - i) * (COLOURS[i + 1][k] - low)));
  return [...rgb, Math.round(255 * 0.9 * Math.sqrt(e))];
}

/** RGBA bytes of `scale` x `scale` points a cell. Energies are interpolated, not colours; a cell's middle is exact. */
export function heatmap(energy, [rows, columns], scale) {
  const bytes = new Uint8ClampedArray(4 * rows * columns * scale * scale);
  const near = (i, n) => { // the two cells that a point lies between, and how far it is into the second
    const at = clamp((i + 0.5) / scale - 0.5, 0, n - 1), low = Math.floor(at);
    return [low, Math.min(low + 1, n - 1), at - low];
  };
  let k = 0;
  for (let y = 0; y < rows * scale; y++) {
    const [top, bottom, v] = near(y, rows);
    for (let x = 0; x < columns * scale; x++, k += 4) {
      const [left, right, u] = near(x, columns);
      const row = (r) => (1 - u) * energy[r * columns + left] + u * energy[r * columns + right];
      bytes.set(colour((1 - v) * row(top) + v * row(bottom)), k);
    }
  }
  return bytes;
}

// === DOM SETUP ===

function element(tag, name, parent, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  node.className = `sop-${name}`;
  parent.append(node);
  return node;
}

function build(el) {
  const root = element("div", "player", el);
  const stage = element("div", "stage", root, { tabIndex: 0 });
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-label", "Picture with sound: arrow keys move from cell to cell, Enter plays a cell");
  const picture = element("img", "picture", stage, { alt: "", draggable: false });
  const heat = element("canvas", "heat", stage);
  const chosen = element("div", "chosen", stage, { hidden: true });
  const cursor = element("div", "cursor", stage, { hidden: true });

  const says = element("div", "says", root);
  const caption = element("span", "caption", says);
  caption.setAttribute("aria-live", "polite");
  const probe = element("span", "probe", says);
  const error = element("div", "error", root, { hidden: true });
  error.setAttribute("role", "alert");

  const audio = element("audio", "audio", root, { controls: true, preload: "auto" });
  const bar = element("div", "bar", root);
  const pixel = element("button", "button", bar, { type: "button", textContent: "▶ Pixel" });
  pixel.title = "Play the chosen pixel again";
  const mixture = element("button", "button", bar, { type: "button", textContent: "▶ Mixture" });
  mixture.title = "Play everything together";
  const overlay = element("button", "button", bar, { type: "button", textContent: "Overlay" });
  overlay.title = "Show or hide the energy on the picture";
  const legend = element("span", "legend", bar, { title: "A pixel's share of the mixture's energy" });
  element("span", "tick", legend, { textContent: "energy 0 %" });
  const scale = element("span", "scale", legend);
  element("span", "tick", legend, { textContent: "100 %" });
  const stops = Array.from({ length: 13 }, (_, i) => colour(i / 12)).map(([r, g, b, a]) => `rgb(${r} ${g} ${b} / ${a / 255})`);
  scale.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  return { root, stage, picture, heat, chosen, cursor, caption, probe, error, audio, bar, legend, buttons: { pixel, mixture, overlay } };
}

function place(box, cell, grid) {
  box.hidden = !cell;
  if (!cell) return;
  const r = cellRect(cell, grid, 100, 100); // percent: nothing to do when the page changes its width
  for (const side of ["left", "top", "width", "height"]) box.style[side] = `${r[side]}%`;
}

function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// === MODEL WIRING ===

const PATIENCE = 8000; // ms without an answer before the page says what may be wrong

function render({ model, el }) {
  const ui = build(el);
  const stop = new AbortController(); // takes every listener away again
  const urls = {}; // name of a Bytes trait -> object URL of its newest value
  let cursor = null, energy = new Float32Array(0), patience = 0;

  const grid = () => model.get("grid");
  const busy = () => !same(model.get("pixel"), model.get("heard"));

  function url(name, type) {
    URL.revokeObjectURL(urls[name]);
    const bytes = model.get(name);
    urls[name] = bytes?.byteLength ? URL.createObjectURL(new Blob([bytes], { type })) : "";
    return urls[name];
  }

  // --- hearing
  async function play(what) {
    if (!urls[what]) return;
    load(what);
    ui.audio.currentTime = 0;
    try {
      await ui.audio.play();
    } catch (e) {
      if (e.name === "NotAllowedError") ui.caption.textContent += " (press play to hear it)";
      else if (e.name !== "AbortError") complain(`The browser can't play this sound: ${e.message}`); // Abort: a newer click
    }
  }

  function load(what) {
    if (ui.audio.src !== urls[what]) ui.audio.src = urls[what];
    ui.audio.dataset.what = what; // "sound" or "mixture"
    say();
  }

  // --- showing
  function say() {
    const pixel = model.get("pixel"), what = ui.audio.dataset.what;
    clearTimeout(patience);
    ui.root.classList.toggle("sop-busy", busy());
    ui.stage.setAttribute("aria-busy", busy());
    ui.buttons.pixel.disabled = !urls.sound;
    ui.buttons.pixel.classList.toggle("sop-on", what === "sound");
    ui.buttons.mixture.classList.toggle("sop-on", what === "mixture");
    place(ui.chosen, pixel, grid());
    if (busy()) {
      ui.caption.textContent = pixel ? `row ${pixel[0]}, column ${pixel[1]}: on its way …` : "";
      patience = setTimeout(() => {
        ui.caption.textContent += " Python hasn't answered yet: is a cell still running? After a kernel restart, run this cell again.";
      }, PATIENCE);
    } else if (what === "mixture") ui.caption.textContent = "the mixture: everything together";
    else if (pixel) ui.caption.textContent = describe(pixel, energy, grid());
    else ui.caption.textContent = "Click the picture to hear a pixel.";
  }

  function complain(text) {
    ui.error.textContent = text; // textContent, here and everywhere: nothing of a scene is ever read as HTML
    ui.error.hidden = !text;
  }

  function point(cell, aloud = false) {
    cursor = cell;
    place(ui.cursor, cell, grid());
    ui.probe.setAttribute("aria-live", aloud ? "polite" : "off"); // keys are spoken, the mouse isn't
    ui.probe.textContent = cell && !same(cell, model.get("pixel")) ? describe(cell, energy, grid()) : "";
  }

  function draw() {
    const [rows, columns] = grid(), scale = 16;
    energy = floats(model.get("energy"));
    Object.assign(ui.heat, { width: columns * scale, height: rows * scale });
    const image = new ImageData(heatmap(energy, grid(), scale), columns * scale, rows * scale);
    ui.heat.getContext("2d").putImageData(image, 0, 0);
    say();
  }

  // --- from the page to Python
  function click(cell) {
    point(cell);
    if (same(cell, model.get("pixel"))) {
      if (busy()) return;
      complain("");
      play("sound"); // no trait changes, so Python wouldn't answer
    } else {
      model.set("pixel", cell);
      model.save_changes();
    }
  }

  const on = (node, name, handler, capture = false) => node.addEventListener(name, handler, { signal: stop.signal, capture });
  const under = (event) => cellAt(event.clientX, event.clientY, ui.picture.getBoundingClientRect(), grid());
  on(ui.stage, "click", (event) => {
    ui.stage.focus({ preventScroll: true });
    click(under(event));
  });
  on(ui.stage, "pointermove", (event) => point(under(event)));
  on(ui.stage, "pointerleave", () => point(null));
  on(ui.stage, "blur", () => point(null));
  // On the window, before JupyterLab: its own keys (arrows walk through cells) are caught on the document.
  on(window, "keydown", (event) => {
    if (!event.composedPath().includes(ui.stage) || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const from = cursor ?? model.get("pixel") ?? grid().map((n) => Math.floor(n / 2));
    const next = step(from, event.key, grid());
    if (next) point(cursor || model.get("pixel") ? next : from, true);
    else if (event.key === "Enter" || event.key === " ") click(from);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  on(ui.buttons.pixel, "click", () => play("sound"));
  on(ui.buttons.mixture, "click", () => play("mixture"));
  on(ui.buttons.overlay, "click", () => {
    model.set("overlay", !model.get("overlay"));
    model.save_changes();
  });
  // One player at a time. Media events don't bubble, but they can be captured; each widget has this module to itself.
  on(document, "play", (event) => {
    if (event.target !== ui.audio && event.target.classList?.contains("sop-audio")) ui.audio.pause();
  }, true);
  on(ui.picture, "load", () => {
    ui.root.style.setProperty("--sop-aspect", ui.picture.naturalWidth / ui.picture.naturalHeight);
  });

  // --- from Python to the page
  const wires = {
    picture: () => { ui.picture.src = url("picture", "image/jpeg"); },
    energy: draw,
    grid: draw,
    mixture: () => {
      url("mixture", "audio/wav");
      if (ui.audio.dataset.what === "mixture") load("mixture");
    },
    overlay: () => {
      ui.heat.hidden = ui.legend.hidden = !model.get("overlay");
      ui.stage.classList.toggle("sop-muted", model.get("overlay"));
      ui.buttons.overlay.setAttribute("aria-pressed", model.get("overlay"));
    },
    sound: () => {
      url("sound", "audio/wav");
      if (urls.sound) load("sound");
      else {
        ui.audio.removeAttribute("src");
        delete ui.audio.dataset.what;
        ui.audio.load();
      }
      say();
    },
    error: () => complain(model.get("error")),
    pixel: say,
    // Two pixels may sound alike, and then only this changes. Later, since `sound` of the same message may come after it.
    heard: () => queueMicrotask(() => {
      say();
      if (!busy() && model.get("heard")) play("sound");
    }),
  };
  const connect = Object.entries(wires).map(([name, wire]) => [`change:${name}`, () => wire()]);
  for (const name of ["picture", "energy", "mixture", "overlay", "sound", "error", "pixel"]) wires[name]();
  for (const [event, wire] of connect) model.on(event, wire);

  return () => {
    for (const [event, wire] of connect) model.off(event, wire);
    stop.abort();
    clearTimeout(patience);
    ui.audio.pause();
    for (const link of Object.values(urls)) URL.revokeObjectURL(link);
  };
}

export default { render };

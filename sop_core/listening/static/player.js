// The page's half of PixelPlayer (listening/player.py): a picture whose pixels can be heard, and a mixer for what was found.
// State lives in the model's traits; this file draws it and plays it. Of a scene nothing changes but the traits in `wires`.
// A sound is on its way exactly while `regions` and `whole` differ from the answer's.

const PATIENCE = 8000; // ms without an answer before the page says what may be wrong
const HOLD = 100; // ms for which all drawing makes way for a sound that is to come
const TYPING = "input.sop-name:read-write"; // a name that is being given
const BEATS = 12; // times a second that the time is shown, at least; as a rule with each picture
const ALONE = "one track alone has everything: ";
const METER = 50; // times a second that a track's loudness is known
const WELCOME = "What you click becomes a track here, with a level, mute and solo of its own. ";
const HASTY = "Saved in the model's band, in mono: the full band was not ready. Save again for all of it.";
const GONE = "The kernel is gone, and new sounds with it: run this cell again (after a restart, all cells down to it).";
const UNANSWERED = "Python hasn't answered yet: is a cell still running? After a kernel restart, run all cells down to this one again.";

function bytesOf(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function render({ model, el }) {
  const [grid, fps, seconds, start] = ["grid", "fps", "seconds", "start"].map((name) => model.get(name));
  const [scene, sizes, mixture, legend] = ["frames", "frame_sizes", "mixture", "legend"].map((name) => model.get(name));
  const [energy, moments, labels] = ["energy", "moments", "clusters"].map((name) => bytesOf(model.get(name)));
  const shares = new Float32Array(energy.slice().buffer);
  const fine = Math.max(1, Math.round(224 / Math.max(...grid))); // points a cell of the overlay
  const own = model.get("own")?.pcm ? model.get("own") : null, wide = own && channelsOf(own, own.channels);
  const rate = own?.rate ?? model.get("rate"), times = rate / model.get("rate"), narrow = (track) => [upsample(samplesOf(track), times)];
  const plain = narrow(mixture), inFull = () => !!own && model.get("band") !== "model"; // plain: as the nets hear it
  const ui = build(el, grid, seconds, fps, own), gone = new AbortController(); // takes every listener away again
  const broken = (k, e) => complain(`Picture ${k} can't be shown: ${e.message}`);
  const touch = matchMedia("(pointer: coarse)").matches; // then `add` is shown, in place of Shift
  const film = new Film(scene, sizes, (k) => k === frame && drawPicture(), broken);
  const sounds = new Mixer(rate, inFull() ? wide : plain, Math.max(mixture.peak, own?.peak ?? 0), () => refresh());
  let hears = "mixture", frame = -1, shown = -1, beat = 0, blocked = false; // frame, shown: picture and time on the screen; blocked: the browser wants a click first
  let cursor = null, anchor = null, drag = null; // cells: where mouse or keys are, where their rectangle began; a drag's beginning
  let accepted = null, mixer = [], colours = new Map(), rows = []; // the answer that is shown: its tracks, colours, rows
  let asked = null, turn = null, timers = [], waits = false, lost = false; // turn: the view of this scene that was used last; waits: see HOLD
  const past = [], future = []; // regions and their mixers that can be gone back to, and on to again; the nearest last
  const late = new Map(); // what was done to tracks while an answer was on its way
  let quick = [], complete = true, removed = ""; // the answer's sounds; whether what plays is all of the band; the track that was just removed
  const downloads = []; // that wait for all of the band
  let adding = false; // counts as Shift

  const on = (node, name, handler, capture = false) => node.addEventListener(name, handler, { signal: gone.signal, capture });
  const wanted = () => [model.get("regions"), model.get("whole") ?? false], told = ({ regions, whole = false }) => [regions, whole];
  const busy = () => !same(wanted(), told(model.get("answer")));
  const part = (values) => values.subarray(frame * grid[0] * grid[1], (frame + 1) * grid[0] * grid[1]); // of this picture
  const cellsIn = (region) => (typeof region === "number" ? cellsOf(region, labels, frame, grid) : region);
  const trackOf = (i) => keyOf(accepted.regions[i] ?? "the rest");
  const tints = (regions) => paint(regions, colours, legend.length, (region) => clusterUnder(region, labels, grid));
  const put = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };

  // --- hearing
  async function play(at) {
    announce(ui.root);
    try {
      sounds.play(at);
    } catch (e) {
      complain(`This browser can't play the sound: ${e.message}`);
      return;
    }
    blocked = false;
    refresh();
    const runs = await sounds.runs();
    if (runs || !sounds.playing || gone.signal.aborted) return;
    blocked = true;
    pause();
  }

  function pause() {
    sounds.pause();
    refresh();
  }

  function toggle() {
    if (sounds.playing) pause();
    else play();
  }

  function seek(at) {
    sounds.seek(Math.min(seconds, Math.max(0, at)));
    shown = -1; // to the very place, be it in the same picture
    show();
  }

  function hear(what) {
    if (mixer.length) hears = what;
    adjust();
  }

  /** One player at a time; and of a scene's views the one that was used last answers. Pages in frames of one document, too. */
  const together = window.frameElement ? window.parent.document : document;
  function announce(who) {
    together.dispatchEvent(new CustomEvent("sop-turn", { detail: { who, scene } }));
  }
  on(together, "sop-turn", ({ detail }) => {
    if (detail.scene === scene) turn = detail.who;
    if (detail.who && detail.who !== ui.root) pause();
  });

  // --- from the page to Python
  /** By mouse or key; with Shift, or while `adding`: as another track. */
  function click(region, { shiftKey, timeStamp }) {
    const before = model.get("regions"), known = before.some((other) => same(other, region));
    ask(!shiftKey && !adding ? [region] : known ? before : [...before, region], true, timeStamp);
  }

  /** Set `regions` and `whole`. `aloud`: and hear them; `since`: when that was wanted. Returns whether anybody will answer. */
  function ask(regions, aloud, since, whole = model.get("whole") ?? false) {
    const fresh = !same([regions, whole], wanted());
    if (fresh && model.get("kernel_gone")) {
      complain(GONE); // what is there can still be heard and mixed
      say(); // a tick that was set is taken back
      return false;
    }
    asked = { regions, whole, aloud, since };
    if (aloud) {
      announce(ui.root);
      sounds.prepare(); // now: within the click that the browser waits for
    }
    if (fresh) put({ whole, regions });
    else if (!busy()) { // no trait changes, so Python wouldn't answer
      const again = sounds.playing && hears === "selection";
      complain("");
      hear("selection");
      play(again ? 0 : undefined);
    }
    return true;
  }

  /** To the nearest of `from`, whose tracks come back as they were; those that are here stay as they are. */
  function travel(from, to) {
    if (!from.length || busy()) return;
    const { regions, mixer: then } = from.at(-1), entry = from.at(-1), here = new Set(accepted.regions.map(keyOf));
    const again = new Map(regions.map((region, i) => [keyOf(region), then[i]]).filter(([key]) => !here.has(key)));
    if (again.size === regions.length) again.set(keyOf("the rest"), then.at(-1));
    if (ask(regions, false, undefined, from.at(-1).whole)) asked.travel = { from, to, again, entry };
  }

  function edit(i, change) {
    mixer = mixer.map((track, k) => (k === i ? { ...track, ...change } : track));
    if (busy()) late.set(trackOf(i), { ...late.get(trackOf(i)), ...change }); // Python has another list by now
    else put({ mixer });
    if ("name" in change) adjust();
    else hear("selection"); // else nothing would change
  }

  function remove(i) {
    const { name } = mixer[i];
    if (ask(model.get("regions").filter((region) => keyOf(region) !== trackOf(i)), false)) asked.removed = name;
  }

  /** By double click or Enter. */
  function rename(i) {
    const { name } = rows[i];
    Object.assign(name, { readOnly: false, before: name.value });
    name.focus();
    name.select();
  }

  /** A file of `bytes()`, once all of the band is there, or after the patience for it. */
  function download(name, type, bytes) {
    const write = () => {
      const href = URL.createObjectURL(new Blob([bytes()], { type }));
      const link = element("a", "", document.body, { href, download: name }); // some browsers want it in the page
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(href), 60_000); // some read it later
    };
    if (complete) return write();
    const item = { write };
    item.timer = setTimeout(() => (downloads.splice(downloads.indexOf(item), 1), write()), PATIENCE);
    downloads.push(item);
  }

  /** Write what waits, from the sounds that are there: the next answer's have other names. */
  function flush() {
    downloads.splice(0).forEach(({ timer, write }) => (clearTimeout(timer), write()));
  }

  /** Bytes of a WAV file for each of `list`: as loud as they are, or all softer by one factor, so that `fit` do not clip. It says that, and
   *  what they lack. */
  function wavs(list, fit) {
    const scale = fitting(fit), softer = (sound) => sound.map((samples) => samples.map((sample) => sample * scale));
    const loud = `A track or the mix would be louder than full scale, so all that is saved is ${Math.max(0.1, -20 * Math.log10(scale)).toFixed(1)} dB softer.`;
    const words = [complete ? "" : HASTY, scale < 1 ? loud : ""].filter(Boolean);
    if (words.length) complain(words.join(" "));
    return list.map((sound) => wav(scale < 1 ? softer(sound) : sound, rate));
  }

  const save = (i) => download(fileName(mixer[i - 1]?.name ?? mixture.name), "audio/wav", () => wavs([sounds.sounds[i]], sounds.sounds)[0]);

  /** Made here and not in Python: the page has all of it, and a page without a kernel has nothing else. */
  function saveAll() {
    if (!mixer.length) return;
    const of = { mixer, regions: accepted.regions, whole: accepted.whole ?? false };
    download("tracks.zip", "application/zip", () => {
      const { mixer, regions, whole } = of, names = [...numbered(mixer.map(({ name }) => name)), "mix.wav"];
      const list = [...sounds.sounds.slice(1), mixed(sounds.sounds, gains(mixer, "selection"))], all = wavs(list, list);
      const files = names.map((name, i) => ({ name, bytes: all[i] }));
      const json = playerFile({ grid, start, seconds, whole, regions, mixer });
      return zip([...files, { name: "player.json", bytes: new TextEncoder().encode(json) }]);
    });
  }

  /** What the mixer plays: the answer, or the same in all of the band if it has come. Until then it is mono: half the work.
   *  `others`: these are other tracks than before; those that still fade away keep their levels. */
  function load(others = false) {
    const { full } = { full: model.get("full") ?? {} }, there = inFull() && full.tracks && same(told(full), told(accepted));
    complete = !inFull() || !quick.length || !!there;
    const tracks = there ? full.tracks.map((track) => channelsOf(track, own.channels)) : quick;
    sounds.load(tracks, inFull() && complete ? wide : plain);
    if (others) sounds.levels = gains(mixer, hears);
    else sounds.set(gains(mixer, hears));
    ui.root.dataset.band = inFull() ? (complete ? "full" : "quick") : "model";
    if (complete) flush();
  }

  // --- from Python to the page
  function settle() {
    if (!busy()) {
      if (model.get("answer") !== accepted) accept(model.get("answer"));
      else if (late.size) put({ mixer }); // a click was refused, and what was done to tracks meanwhile is still to be told
      late.clear();
    }
    timers.forEach(clearTimeout);
    [waits, lost] = [busy(), false];
    timers = waits ? [setTimeout(wait, HOLD), setTimeout(wait, PATIENCE, true)] : [];
    ui.root.dataset.busy = waits;
    if (!waits) wait();
  }

  /** Show that a sound is on its way; or, if it has come, where it is from. */
  function wait(long = false) {
    [waits, lost] = [false, long];
    drawMarks();
    refresh();
  }

  function accept(answer) {
    complain(model.get("error")); // first: what is saved now may say more
    flush();
    const began = performance.now(), mine = asked && same(told(asked), told(answer));
    // What Python has clicked is heard where somebody listens, and nowhere before somebody did: "run all cells" is no wish to hear.
    const first = !accepted, aloud = !first && (mine ? asked.aloud : turn === ui.root), travelled = mine ? asked.travel : null;
    const before = { regions: accepted?.regions, whole: accepted?.whole ?? false, mixer };
    removed = (mine && asked.removed) || "";
    if (travelled) {
      const place = travelled.from.indexOf(travelled.entry);
      if (place >= 0) travelled.from.splice(place, 1); // not there: something else was done meanwhile
      travelled.to.push(before);
      asked.travel = null;
    } else if (!first && !same(told(before), told(answer))) {
      past.push(before);
      future.length = 0;
    }
    blocked = !mine && !turn && answer.tracks.length > 0;
    accepted = answer;
    mixer = model.get("mixer").map((track, i) => ({ ...track, ...travelled?.again.get(trackOf(i)), ...late.get(trackOf(i)) }));
    if (aloud || first || blocked || !before.mixer.length || !mixer.length) hears = mixer.length ? "selection" : "mixture";
    quick = answer.tracks.slice(0, -1).map(narrow);
    load(true);
    if (aloud && mixer.length) play();
    else if (sounds.playing) sounds.play();
    const now = performance.now();
    Object.assign(ui.root.dataset, { pageMs: now - began, clickMs: mine && aloud ? now - asked.since : "" });
    drawRows();
    tell();
    if (late.size || travelled) put({ mixer });
  }

  // --- showing
  function refresh() {
    say();
    if (!sounds.playing) drawMeters(-1);
    tick();
  }

  function tick() {
    cancelAnimationFrame(beat);
    if (waits) return;
    show();
    if (sounds.playing) beat = requestAnimationFrame(tick);
  }

  /** All that moves with time. */
  function show() {
    const at = sounds.heardAt(), k = frameAt(at, fps, sizes.length), text = `${clock(start + at)} / ${clock(start + seconds)}`;
    const moved = Math.floor(at * Math.max(BEATS, fps));
    if (moved === shown && k === frame) return; // what is drawn more often takes the time from the kernel
    shown = moved;
    ui.slider.value = at;
    drawMeters(at);
    for (const { needle } of rows) needle.style.transform = `translateX(${(100 * at) / seconds}%)`;
    if (ui.time.textContent !== text) ui.time.textContent = ui.slider.ariaValueText = text;
    if (k === frame) return;
    frame = k;
    drawPicture();
    if (["now", "clusters"].includes(model.get("overlay"))) drawOverlay();
    if (model.get("regions").some((region) => typeof region === "number")) drawMarks();
  }

  /** How loud each track is heard now. */
  function drawMeters(at) {
    const levels = gains(mixer, hears), k = Math.floor(at * METER);
    rows.forEach(({ meter, loudness }, i) => {
      const rms = sounds.playing ? (loudness[Math.min(k, loudness.length - 1)] ?? 0) * levels[i] * sounds.master : 0;
      meter.style.transform = `scaleX(${meterOf(rms).toFixed(3)})`;
    });
  }

  function drawPicture() {
    const bitmap = film.at(frame);
    if (!bitmap) return; // comes soon; until then the one before stays
    const { width, height } = bitmap;
    if (ui.picture.width !== width || ui.picture.height !== height) Object.assign(ui.picture, { width, height });
    ui.root.style.setProperty("--sop-aspect", width / height);
    ui.picture.getContext("2d").drawImage(bitmap, 0, 0);
    ui.root.dataset.frame = frame;
  }

  function drawOverlay() {
    const pixels = {
      now: () => heatmap(Array.from(part(moments), (share) => share / 255), grid, fine),
      clip: () => heatmap(shares, grid, fine),
      clusters: () => clusterMap(part(labels), grid, fine),
    }[model.get("overlay")]?.();
    ui.heat.hidden = !pixels;
    if (pixels) paintPixels(ui.heat, pixels, grid[1] * fine, grid[0] * fine);
  }

  function drawLegend() {
    const kind = model.get("overlay");
    ui.overlay.value = kind;
    ui.legend.replaceChildren();
    if (kind === "clusters") {
      legend.forEach(drawChip);
      ui.legend.append(excess(legend.map(({ share }) => share)));
    } else if (kind !== "none") {
      const stops = Array.from({ length: 13 }, (_, i) => colour(i / 12)).map(([r, g, b, a]) => `rgb(${r} ${g} ${b} / ${a / 255})`);
      ui.legend.append("0 %");
      const scale = element("span", "scale", ui.legend);
      element("span", "ramp", scale).style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      ui.legend.append("100 % of the energy");
    }
    drawOverlay();
    drawMarks();
  }

  function drawChip({ name, share }, k) {
    const title = `Hear ${name}; with Shift: as another track`;
    const chip = button("chip", ui.legend, { title, onclick: (event) => click(k, event) });
    element("span", "dot", chip).style.background = colourOf(k);
    element("span", "", chip, { textContent: `${name}: ${percent(share)}` });
  }

  function drawMarks() {
    const regions = model.get("regions");
    colours = tints(regions);
    ui.marks.replaceChildren();
    ui.badges.replaceChildren();
    const all = regions.map(cellsIn);
    regions.forEach((region, i) => {
      const cells = all[i], tint = colourOf(colours.get(keyOf(region)));
      if (!cells.length) return; // a cluster that is silent now
      const beside = badgeCell(cells, all.flat(), grid), [y, x] = [0, 1].map((k) => beside[k] - cells[0][k]);
      const { left, top } = cellRect(cells[0], grid, 100, 100); // percent: nothing to do when the page changes its width
      mark(ui.marks, cells, "region", tint);
      const badge = element("span", "badge", ui.badges, { textContent: i + 1 });
      // At the cell's edge that looks to the free one; of a cell in the lower rows or on the right the far edge.
      const there = { left: `${left + (x > 0 ? 100 / grid[1] : 0)}%`, top: `${top + (y > 0 ? 100 / grid[0] : 0)}%` };
      Object.assign(badge.style, { ...there, background: tint, translate: `${x < 0 ? -100 : 0}% ${y < 0 ? -100 : 0}%` });
    });
    if (cursor) mark(ui.marks, cellsBetween(anchor ?? cursor, cursor), "cursor");
    [...ui.legend.querySelectorAll(".sop-chip")].forEach((chip, k) => { chip.ariaPressed = regions.includes(k); });
  }

  function drawRows() {
    const held = rows.findIndex(({ root }) => root.contains(root.getRootNode().activeElement)), old = rows[held];
    const typed = old?.name?.matches(TYPING) && { before: old.name.before, caret: [old.name.selectionStart, old.name.selectionEnd] };
    colours = tints(accepted.regions);
    const tracks = accepted.tracks.map((track, i) => {
      const region = accepted.regions[i], removable = region !== undefined; // not the rest
      const tint = removable ? colourOf(colours.get(keyOf(region))) : GREY;
      return { ...track, tint, badge: removable ? i + 1 : "R", mixed: true, removable };
    });
    ui.tracks.replaceChildren();
    rows = [{ ...mixture, tint: GREY, badge: "A" }, ...tracks].map((track, i) => {
      const row = buildRow(ui.tracks, track, (what, value) => {
        if (what === "seek") seek(value * seconds);
        else if (what === "save") save(i);
        else if (what === "remove") remove(i - 1);
        else if (what === "rename") rename(i);
        else edit(i - 1, { [what]: value ?? !mixer[i - 1][what] });
      });
      drawWave(row, track.tint, sounds.sounds[i], Math.max(mixture.peak, own?.peak ?? 0));
      row.loudness = envelope(sounds.sounds[i], METER, rate);
      row.key = i && trackOf(i - 1);
      return row;
    });
    shown = -1; // the needles are new: `wait` shows where they are
    drawSpectra();
    if (removed) {
      const line = element("div", "gone", ui.tracks, { textContent: `${removed} was removed ` });
      button("back", line, { textContent: "Undo", ariaLabel: `Undo: bring ${removed} back`, onclick: () => travel(past, future) });
    }
    if (!mixer.length) element("div", "empty", ui.tracks, { textContent: WELCOME + (touch ? "“add” is for more of them." : "Shift-click for more of them.") });
    adjust();
    if (held < 0) return;
    const there = rows.find(({ key }) => key === old.key), next = there ?? rows[Math.min(held, rows.length - 1)];
    next.root.focus({ preventScroll: true }); // else JupyterLab had the keys
    if (!there || !typed) return;
    Object.assign(there.name, { readOnly: false, before: typed.before }); // a name that is being given
    there.name.focus({ preventScroll: true });
    there.name.setSelectionRange(...typed.caret);
  }

  /** They come after the sounds, which are waited for. */
  function drawSpectra() {
    const { regions, rows: spectra } = model.get("pictures");
    if (!accepted || !same(regions, accepted.regions)) return;
    spectra.forEach(({ pixels, size: [height, width] }, i) => {
      paintPixels(rows[i].spectrum, spectrogramPixels(bytesOf(pixels), [height, width]), width, height);
    });
  }

  /** To what the mixer and A or B say. */
  function adjust() {
    const levels = gains(mixer, hears);
    sounds.set(levels);
    const where = (i) => accepted?.tracks[i]?.where ?? accepted?.tracks[i]?.name;
    rows.forEach((row, i) => fillRow(row, mixer[i - 1] ?? mixture, levels[i], where(i - 1)));
    say();
  }

  function caption() {
    if (busy()) return lost ? UNANSWERED : "on its way …";
    if (!mixer.length && !sounds.playing) return "Click the picture to hear what sounds there.";
    if (hears === "mixture") return "the mixture: everything together";
    const levels = gains(mixer, hears).slice(1), tracks = mixer.map(({ name }, i) => ({ name, share: accepted.tracks[i].share }));
    const text = describe(tracks.filter((_, i) => levels[i])) || "nothing: every track is muted";
    return accepted.whole && tracks.length === 2 ? `${text} (${ALONE}${touch ? "a tap after “add”" : "Shift-click"} adds another)` : text;
  }

  /** What is heard, in words, in buttons, and for a stylesheet. */
  function say() {
    const text = caption() + (blocked ? " (press play to hear it)" : "");
    if (ui.caption.textContent !== text) ui.caption.textContent = text;
    Object.assign(ui.root.dataset, { state: sounds.playing ? "playing" : "paused", hears, busy: busy() });
    ui.stage.ariaBusy = busy();
    label(ui.play, sounds.playing ? "Pause" : "Play");
    ui.play.querySelector("path").setAttribute("d", ICONS[sounds.playing ? "pause" : "play"]);
    ui.a.ariaPressed = hears === "mixture";
    ui.b.ariaPressed = hears === "selection";
    ui.b.disabled = ui.all.disabled = !mixer.length;
    ui.whole.checked = model.get("whole") ?? false;
    ui.band.checked = inFull();
    ui.undo.ariaDisabled = !past.length; // and not disabled, which would give the keys back to JupyterLab
  }

  function complain(text) {
    ui.error.textContent = text; // textContent, here and everywhere: nothing of a scene is ever read as HTML
    ui.error.hidden = !text;
  }

  /** Mouse or keys are at a cell, and may have come there from another one: a rectangle. */
  function point(cell, from = null, aloud = false) {
    if (same([cell, from], [cursor, anchor])) return;
    [cursor, anchor] = [cell, from];
    ui.probe.ariaLive = aloud ? "polite" : "off"; // keys are spoken, the mouse isn't
    tell();
    drawMarks();
  }

  function tell() {
    ui.probe.textContent = cursor ? probe(anchor ?? cursor, cursor) : "";
  }

  /** What is known of where mouse or keys are. In a track it is the track's: one number, here and in the caption above. */
  function probe(from, cell) {
    const name = nameOf(from, cell), i = cell[0] * grid[1] + cell[1];
    if (!same(from, cell)) return name;
    const k = busy() ? -1 : accepted.regions.findLastIndex((region) => cellsIn(region).some((other) => same(other, cell)));
    if (k >= 0) return describe([{ name: accepted.tracks[k].where ?? name, share: accepted.tracks[k].share }]);
    const now = model.get("overlay") === "now" ? `; at this moment ${loudness(part(moments)[i] / 255)}` : "";
    return describe([{ name, share: shares[i] }]) + now;
  }

  /** For a report of a fault; nothing of it is sent anywhere. */
  function drawReport() {
    const state = [ui.root.dataset.state, hears, `band ${ui.root.dataset.band}`, `whole ${model.get("whole")}`, `overlay ${model.get("overlay")}`];
    const regions = JSON.stringify(model.get("regions"));
    ui.report.value = [
      model.get("about") ?? "",
      `browser ${navigator.userAgent}`,
      `page ${window.innerWidth} x ${window.innerHeight}, player ${ui.root.clientWidth}, ${window.devicePixelRatio} pixels a CSS pixel`,
      `sound ${rate} Hz, context ${sounds.context ? `${sounds.context.state}, ${sounds.context.sampleRate} Hz` : "not made"}`,
      `state ${state.join(", ")}; click to sound ${ui.root.dataset.clickMs || "?"} ms`,
      `regions ${regions.length > 300 ? `${regions.slice(0, 300)}…` : regions}`,
      `error ${ui.error.textContent || "none"}`,
    ].join("\n");
  }

  async function copyReport() {
    drawReport();
    ui.report.select();
    try {
      await navigator.clipboard.writeText(ui.report.value);
    } catch { // not allowed in this page: the old way, of what is selected
      document.execCommand("copy");
    }
    ui.copy.textContent = "Copied";
  }

  function drop() {
    drag = null;
    point(null);
  }

  // --- mouse
  const under = (event) => cellAt(event.clientX, event.clientY, ui.stage.getBoundingClientRect(), grid);
  on(ui.stage, "pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    event.preventDefault(); // selects no text
    ui.stage.focus({ preventScroll: true });
    ui.stage.setPointerCapture(event.pointerId);
    drag = under(event);
    point(drag, drag);
  });
  on(ui.stage, "pointermove", (event) => point(under(event), drag));
  on(ui.stage, "pointerup", (event) => {
    if (!drag) return;
    const region = cellsBetween(drag, under(event));
    drag = null;
    point(under(event));
    click(region, event);
  });
  for (const name of ["pointercancel", "pointerleave", "blur"]) on(ui.stage, name, drop);
  // A button that the mouse has pressed doesn't keep the focus: Space would press it again instead of playing.
  // Safari focuses no button, and its clicks had no `pointerType` before 18.2: JupyterLab would get the next key. A key's click has no `detail`.
  on(ui.root, "click", ({ pointerType, detail, target }) => {
    const next = target.closest(".sop-track") ?? ui.stage, byMouse = detail && !["touch", "pen"].includes(pointerType);
    if (byMouse && target.closest("button")) next.focus({ preventScroll: true });
  });
  on(ui.play, "click", toggle);
  on(ui.loop, "click", () => put({ loop: !model.get("loop") }));
  on(ui.add, "click", () => { ui.add.ariaPressed = adding = !adding; });
  on(ui.whole, "change", () => ask(model.get("regions"), false, undefined, ui.whole.checked));
  on(ui.band, "change", () => put({ band: ui.band.checked ? "full" : "model" }));
  on(ui.all, "click", saveAll);
  on(ui.copy, "click", copyReport);
  on(ui.help, "toggle", () => {
    ui.copy.textContent = COPY;
    drawReport();
  });
  on(ui.undo, "click", () => travel(past, future));
  on(ui.slider, "input", () => seek(Number(ui.slider.value)));
  on(ui.a, "click", () => hear("mixture"));
  on(ui.b, "click", () => hear("selection"));
  on(ui.overlay, "change", () => put({ overlay: ui.overlay.value }));

  // --- keys
  /** What a key does, or nothing. */
  function useOf(event) {
    const { key, target } = event;
    if (target.matches(TYPING)) {
      const leave = () => target.closest(".sop-track").focus(), i = rows.findIndex(({ name }) => name === target);
      return { Enter: leave, Escape: () => (leave(), edit(i - 1, { name: target.before })) }[key];
    }
    if (target === ui.report) return undefined;
    const native = target.closest("button, select, summary, input[type='checkbox']"); // Space presses what has the focus
    const i = rows.findIndex(({ root }) => root.contains(target)), track = mixer[i - 1], remove = rows[i]?.remove;
    const uses = {
      " ": native ? null : toggle,
      a: () => hear("mixture"),
      b: () => hear("selection"),
      l: () => ui.loop.click(),
      z: () => (event.shiftKey ? travel(future, past) : travel(past, future)),
      ",": () => seek(timeOf(frame - 1, fps)),
      ".": () => seek(timeOf(frame + 1, fps)),
      "?": () => { ui.help.open = !ui.help.open; },
      m: track && (() => edit(i - 1, { mute: !track.mute })),
      s: track && (() => edit(i - 1, { solo: !track.solo })),
      enter: track && !native && (() => rename(i)),
      f2: track && (() => rename(i)),
      delete: remove && (() => remove.click()),
      backspace: remove && (() => remove.click()), // a Mac's Delete
    };
    return (Object.hasOwn(uses, key.toLowerCase()) && uses[key.toLowerCase()]) || (target === ui.stage && useOnPicture(event));
  }

  function useOnPicture(event) {
    const { key, shiftKey } = event;
    const last = cellsIn(model.get("regions").at(-1) ?? [])[0], from = cursor ?? last ?? grid.map((n) => Math.floor(n / 2));
    const next = step(from, key, grid);
    const to = cursor || last ? next : from; // the first press only shows where the keys are
    if (next) return () => point(to, shiftKey ? anchor ?? from : null, true);
    return { Enter: () => click(cellsBetween(anchor ?? from, from), event), Escape: drop }[key];
  }

  // On the window, before JupyterLab: its own keys are caught on the document, and some of them delete cells.
  on(window, "keydown", (event) => {
    const command = event.ctrlKey || event.metaKey, typing = event.target.matches?.(`${TYPING}, .sop-report`); // its own undo is the browser's
    if (!event.composedPath().includes(ui.root) || event.altKey || (command && (typing || event.key.toLowerCase() !== "z"))) return;
    event.stopImmediatePropagation(); // as long as the focus is in here, plain keys are the player's
    if (event.isComposing || event.keyCode === 229) return; // Enter and Escape of a Japanese name that is being typed
    const use = useOf(event), held = event.repeat && !/^(Arrow|[,.])/.test(event.key);
    if (!use) return;
    event.preventDefault();
    if (!held) use();
  }, true);

  const wires = {
    regions: settle,
    whole: settle,
    full: () => {
      if (!accepted || complete) return;
      load();
      if (!complete) return;
      sounds.renew();
      ui.root.dataset.fullMs = asked?.since === undefined ? "" : performance.now() - asked.since;
    },
    band: () => {
      if (!accepted) return;
      load();
      sounds.renew();
      say();
    },
    answer: () => {
      // An older click that failed has taken `regions` back on the page, but the newest one has found its answer.
      const answer = model.get("answer"), mine = asked && same(told(asked), told(answer));
      // And where nothing was asked here, another window of this kernel has: it shows the same.
      const theirs = accepted && same(wanted(), told(accepted));
      if (mine || theirs) for (const name of ["regions", "whole"]) model.set(name, answer[name] ?? false);
      settle();
    },
    mixer: () => {
      if (busy() || model.get("answer") !== accepted) return; // comes along with its answer
      mixer = model.get("mixer");
      adjust();
    },
    pictures: drawSpectra,
    overlay: drawLegend,
    loop: () => {
      sounds.repeat(model.get("loop"));
      ui.loop.ariaPressed = model.get("loop");
    },
    error: () => complain(model.get("error")),
    kernel_gone: () => {
      if (!model.get("kernel_gone") || gone.signal.aborted) return;
      for (const [name, value] of Object.entries(model.get("answer"))) if (name !== "tracks") model.set(name, value); // back to what is heard
      complain(GONE);
    },
  };
  ui.root.sop = sounds; // for whoever wants to listen at its output
  show();
  for (const name of ["overlay", "loop", "answer", "kernel_gone"]) wires[name]();
  const connect = Object.entries(wires).map(([name, wire]) => [`change:${name}`, () => wire()]);
  for (const [event, wire] of connect) model.on(event, wire);

  return () => {
    for (const [event, wire] of connect) model.off(event, wire);
    gone.abort();
    timers.forEach(clearTimeout);
    downloads.forEach(({ timer }) => clearTimeout(timer));
    cancelAnimationFrame(beat);
    sounds.close();
    film.close();
    announce(null); // another view may answer
  };
}

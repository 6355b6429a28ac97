// The page that needs no Python (listening/page.py): the player of player.js, answered by separator.js instead of by a kernel.

const MOST_TRACKS = 30, LOUDNESS = 60, COLUMNS = 640; // as in player.py and tracks.py: MAX_TRACKS, DYNAMIC_RANGE (dB), MAX_COLUMNS
const STRETCH = 12; // ms of work on the full band, after which the page has a turn
const SPECTRA = 100; // ms after an answer: the page starts the sound undisturbed
const REST = "the rest";

/** What anywidget calls a model: traits that tell when they change. */
export class Traits {
  #values;
  #wires = new Map();

  constructor(values, save) {
    this.#values = { ...values };
    this.save_changes = () => save(this);
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    const before = this.#values, changed = typeof name === "object" ? name : { [name]: value };
    this.#values = { ...before, ...changed };
    for (const key of Object.keys(changed)) if (before[key] !== changed[key]) this.#wires.get(`change:${key}`)?.forEach((wire) => wire());
  }

  on(event, wire) {
    this.#wires.set(event, [...(this.#wires.get(event) ?? []), wire]);
  }

  off(event, wire) {
    this.#wires.set(event, (this.#wires.get(event) ?? []).filter((other) => other !== wire));
  }
}

/** All of where a region lies: `tracks.region_name`. */
export function regionName(region, clusters) {
  if (typeof region === "number") return clusters[region];
  const [rows, columns] = [0, 1].map((i) => region.map((cell) => cell[i])), ends = (side) => [Math.min(...side), Math.max(...side)];
  const [[top, bottom], [left, right]] = [ends(rows), ends(columns)], count = new Set(region.map(String)).size;
  if (count === (bottom - top + 1) * (right - left + 1)) return nameOf([top, left], [bottom, right]);
  const middle = (side) => rounded(side.reduce((a, b) => a + b) / side.length);
  return `${region.length} cells round row ${middle(rows)}, column ${middle(columns)}`;
}

/** Where cells lie in the picture: `regions.place`. */
function placeOf(cells, grid) {
  const [row, column] = [0, 1].map((i) => cells.reduce((sum, cell) => sum + (cell[i] + 0.5) / grid[i], 0) / cells.length);
  const third = (at, low, high) => (at < 1 / 3 ? low : at > 2 / 3 ? high : "");
  return [third(row, "top", "bottom"), third(column, "left", "right")].filter(Boolean).join(" ") || "middle";
}

/** What cells look like: `Names.of` what `page._names` packed; "" for what is like no label, or where the model has no names. */
function labelOf(cells, [, columns], names) {
  if (!names) return "";
  const means = new Float32Array(names.means), looks = new Float32Array(names.looks), size = means.length / names.labels.length;
  const look = Float64Array.from({ length: size }, (_, d) => cells.reduce((sum, [r, c]) => sum + looks[(r * columns + c) * size + d], 0));
  const long = Math.max(Math.hypot(...look), 1e-12);
  const cosines = names.labels.map((_, i) => look.reduce((sum, value, d) => sum + value * means[i * size + d], 0) / long), best = Math.max(...cosines);
  const sure = 1 / cosines.reduce((sum, cosine) => sum + Math.exp(names.sharpness * (cosine - best)), 0);
  return best >= names.least && sure > names.likely ? names.labels[cosines.indexOf(best)] : "";
}

/** A track's short name until the user gives it another: `tracks.track_name`. */
export function trackName(region, { grid, names }, clusters, taken) {
  const name = typeof region === "number" ? clusters[region] : labelOf(region, grid, names) || placeOf(region, grid);
  for (let k = 1; ; k++) {
    const one = k === 1 ? name : `${name} ${k}`;
    if (!taken.has(one)) return one;
  }
}

/** As `tracks.pcm`, of one channel after the other. */
function pcm(...channels) {
  const peak = channels.reduce((most, channel) => channel.reduce((m, sample) => Math.max(m, Math.abs(sample)), most), 1e-9);
  const whole = new Int16Array(channels.length * channels[0].length);
  channels.forEach((channel, c) => whole.set(Int16Array.from(channel, (sample) => Math.round((sample * 32767) / peak)), c * channel.length));
  return { peak, pcm: new DataView(whole.buffer) };
}

/** The kernel's half of the player: `PixelPlayer._listen`. */
export class Local {
  /** `samples`: the channels of the video's own sound; null: the model's band is all there is. */
  constructor(scene, samples = null) {
    this.separator = new Separator(scene);
    this.own = samples && new OwnSound(this.separator, samples);
    const { mixture } = this.separator;
    const first = this.separator.spectrogram(mixture, COLUMNS);
    this.loudest = Math.max(first.mags.reduce((a, b) => Math.max(a, b), 0), 1e-9);
    this.picture = this.#shades(first);
    const bytes = Object.fromEntries(Object.entries(scene.traits).map(([name, value]) => [name, value instanceof ArrayBuffer ? new DataView(value) : value]));
    const empty = { regions: [], whole: false, tracks: [] };
    const all = { name: "the mixture", share: Number(mixture.some(Boolean)), ...pcm(mixture) };
    const wide = this.own ? { own: { ...scene.own, ...pcm(...this.own.mixture) } } : { own: {}, band: "model" };
    const own = { ...wide, full: {}, answer: empty, pictures: { regions: [], rows: [this.picture] }, mixture: all };
    this.model = new Traits({ ...bytes, ...own }, () => this.#listen());
    this.#listen();
  }

  /** A spectrogram as the page paints it: `tracks.spectrogram`. */
  #shades({ mags, size }) {
    const pixels = Uint8Array.from(mags, (mag) => {
      const level = (20 * Math.log10(Math.max(mag, 1e-12) / this.loudest)) / LOUDNESS;
      return Math.round(255 * Math.min(1, Math.max(0, 1 + level)));
    });
    return { pixels: new DataView(pixels.buffer), size };
  }

  /** After the click itself: what it shows at once is drawn before the sound is computed. */
  #listen() {
    const { model } = this, answer = model?.get("answer");
    if (!model) return;
    if (same(answer.regions, model.get("regions")) && answer.whole === model.get("whole")) return this.#widen();
    clearTimeout(this.next);
    this.next = setTimeout(() => this.#answer(), 0);
  }

  #answer() {
    const { model } = this, regions = model.get("regions"), whole = model.get("whole"), before = model.get("answer");
    const many = regions.length > MOST_TRACKS && `${regions.length} tracks, of which a player mixes ${MOST_TRACKS} at most`;
    const fault = many || (whole && this.separator.scene.undivided); // why not, if Python refuses it
    if (fault) return this.#refuse(fault, before);
    try {
      this.#play(regions, whole, before);
    } catch (error) { // no memory for so many or so long sounds, say
      this.#refuse(`this browser can't compute it (${error.message}); remove a track, or open the page on another machine`, before);
    }
  }

  #refuse(why, before) {
    this.model.set({ regions: before.regions, whole: before.whole });
    this.model.set("error", why);
  }

  #play(regions, whole, before) {
    const { model } = this;
    model.set("error", "");
    const clusters = model.get("legend").map(({ name }) => name), mixer = this.#mixer(regions, clusters, before);
    const { sounds, shares } = regions.length ? this.separator.heard(regions, whole) : { sounds: [], shares: [] };
    const tracks = shares.map((share, i) => {
      const { name } = mixer[i];
      return i < sounds.length ? { name, where: regionName(regions[i], clusters), share, ...pcm(sounds[i]) } : { name, where: REST, share };
    });
    const [left] = rest([this.separator.mixture], sounds.map((sound) => [sound]));
    model.set({ mixer, answer: { regions, whole, tracks } });
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      const rows = sounds.length ? [...sounds, left].map((sound) => this.#shades(this.separator.spectrogram(sound, COLUMNS))) : [];
      model.set("pictures", { regions, rows: [this.picture, ...rows] });
      this.#widen();
    }, SPECTRA);
  }

  /** All of the band of the newest answer, in the time that the page leaves: `PixelPlayer._steps`. */
  #widen() {
    const { model, own } = this, { regions, whole } = model.get("answer"), there = (what) => what && same([what.regions, what.whole], [regions, whole]);
    if (!own || model.get("band") === "model" || !regions.length || there(model.get("full")) || there(this.wanted)) return;
    this.wanted = { regions, whole };
    const mine = this.wanted, steps = own.tracks(regions, whole);
    const go = () => {
      if (this.wanted !== mine) return;
      if (!there(model.get("answer"))) return void (this.wanted = null); // another click has come
      try {
        for (const until = performance.now() + STRETCH; performance.now() < until;) {
          const { done, value } = steps.next();
          if (!done) continue;
          model.set("full", { regions, whole, tracks: value.map((channels) => pcm(...channels)) });
          this.wanted = null;
          return;
        }
      } catch ({ message }) {
        return void model.set("error", `The sound in full can't be made here (${message}): the model's band stays.`);
      }
      setTimeout(go, 0);
    };
    go();
  }

  /** A region that was there before keeps its name and level, and then so does the rest: `tracks.mixer_of`. */
  #mixer(regions, clusters, before) {
    if (!regions.length) return [];
    const mixer = this.model.get("mixer"), known = before.tracks.length || !mixer.length ? before.regions : regions; // at first: as it was saved
    const old = new Map(known.map((region, i) => [keyOf(region), mixer[i]])), fresh = { level: 1, mute: false, solo: false };
    const kept = regions.map((region) => old.get(keyOf(region))), there = kept.filter(Boolean);
    const taken = new Set([REST, ...there.map(({ name }) => name)]);
    const tracks = regions.map((region, i) => {
      const track = kept[i] ?? { name: trackName(region, this.separator.scene, clusters, taken), ...fresh };
      taken.add(track.name);
      return track;
    });
    return [...tracks, there.length ? mixer.at(-1) : { name: REST, ...fresh, mute: true }];
  }
}

/** The bytes of a packed scene as they stand in the page: gzip in base64. */
async function unzipped(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function begin(main) {
  try {
    const scene = unpack(await unzipped(document.getElementById("sop-scene").textContent));
    const own = scene.own && await decoded(scene.own).catch(() => null); // a browser without FLAC: the model's band alone
    const local = new Local(scene, own);
    main.replaceChildren();
    render({ model: local.model, el: main });
    main.sop = local; // for whoever wants to look inside
  } catch (e) {
    main.textContent = `This browser can't show the page (${e.message}). Chromium, Firefox and Safari can, from 2023 on.`;
    throw e;
  }
}

if (globalThis.document?.getElementById("sop-scene")) {
  const { frameElement: frame } = window, { documentElement: root } = document;
  if (frame) new ResizeObserver(() => { frame.style.height = `${root.offsetHeight}px`; }).observe(root); // in a notebook: as high as it needs
  begin(document.getElementById("sop-page"));
}

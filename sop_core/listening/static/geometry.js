// What the player knows of cells, time, words, colours and bytes: pure, tested by tests/listening/geometry.test.mjs.
// A cell is [row, column], row 0 on top. A region is a list of cells, or the number of a cluster.
// All files of the player are one module on the page (listening/page.py names them, listening/player.py joins them).

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// === CELLS ===

/** The cell under a point of the page, or the one nearest to it. `rect`: where the picture is, in the same (CSS) pixels. */
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

/** Corners of the rectangle between two cells: top, bottom, left, right; all of them belong to it. */
function corners([r, c], [row, column]) {
  return [Math.min(r, row), Math.max(r, row), Math.min(c, column), Math.max(c, column)];
}

/** All cells of the rectangle between two cells, row by row. */
export function cellsBetween(a, b) {
  const [top, bottom, left, right] = corners(a, b), cells = [];
  for (let r = top; r <= bottom; r++) for (let c = left; c <= right; c++) cells.push([r, c]);
  return cells;
}

/** Path of an SVG, one unit a cell, of all edges that have a cell of the set on one side only. */
export function outline(cells) {
  const inside = new Set(cells.map(String));
  const has = (r, c) => inside.has(`${r},${c}`);
  return [...inside].map((cell) => cell.split(",").map(Number)).map(([r, c]) => [
    has(r - 1, c) ? "" : `M${c} ${r}h1`,
    has(r + 1, c) ? "" : `M${c} ${r + 1}h1`,
    has(r, c - 1) ? "" : `M${c} ${r}v1`,
    has(r, c + 1) ? "" : `M${c + 1} ${r}v1`,
  ].join("")).join("");
}

/** The cell that an arrow key leads to; null for any other key. */
export function step([row, column], key, [rows, columns]) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!Object.hasOwn(moves, key)) return null;
  return [clamp(row + moves[key][0], 0, rows - 1), clamp(column + moves[key][1], 0, columns - 1)];
}

/** The cells that picture k shows as this cluster. `labels`: (V, H, W). */
export function cellsOf(cluster, labels, k, [rows, columns]) {
  const cells = [];
  for (let i = 0; i < rows * columns; i++) {
    if (labels[k * rows * columns + i] === cluster) cells.push([Math.floor(i / columns), i % columns]);
  }
  return cells;
}

/** The cluster that a region's cells belong to most, over all pictures; undefined where none of them ever sounds. */
export function clusterUnder(region, labels, [rows, columns]) {
  const counts = new Map();
  for (const [row, column] of region) {
    for (let i = row * columns + column; i < labels.length; i += rows * columns) {
      if (labels[i] !== 255) counts.set(labels[i], (counts.get(labels[i]) ?? 0) + 1);
    }
  }
  return [...counts].sort(([a, n], [b, m]) => m - n || a - b)[0]?.[0];
}

/** Regions, answers and their like are small and plain: equal where they read the same. */
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// === TIME ===

/** Which picture is on the screen: picture k is from k / fps. */
export const frameAt = (time, fps, count) => clamp(Math.floor(time * fps + 1e-6), 0, count - 1);
export const timeOf = (frame, fps) => frame / fps;

/** "0:03.2" */
export function clock(seconds) {
  const tenths = Math.max(0, Math.floor(seconds * 10 + 1e-6));
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

// === WORDS ===

/** "42 %": a share in whole percent, but never "0 %" for something. */
export function percent(share) {
  return share > 0 && share < 0.005 ? "under 1 %" : `${Math.round(100 * share)} %`;
}

/** "0 dB", "+3.5 dB", "−6.0 dB", "off": a track's level, of which 1 leaves it as it is. */
export function decibels(level) {
  if (!(level > 0)) return "off";
  const dB = (20 * Math.log10(level)).toFixed(1);
  return Number(dB) ? `${dB < 0 ? "−" : "+"}${dB.replace("-", "")} dB` : "0 dB";
}

// A level's slider is in dB, and off at its left end.
export const [LOWEST, HIGHEST] = [-40, 6]; // dB
export const slideOf = (level) => (level > 0 ? clamp(20 * Math.log10(level), LOWEST, HIGHEST) : LOWEST);
export const levelOf = (slide) => (slide <= LOWEST ? 0 : slide >= HIGHEST ? 2 : 10 ** (slide / 20));

/** "row 3, column 9", "rows 1 to 3, column 9": the rectangle between two cells. */
export function nameOf(a, b) {
  const [top, bottom, left, right] = corners(a, b);
  const range = (word, low, high) => (low === high ? `${word} ${low}` : `${word}s ${low} to ${high}`);
  return `${range("row", top, bottom)}, ${range("column", left, right)}`;
}

/** "42 %"; what can hardly be heard says so, lest it be taken for a fault. */
export const loudness = (share) => (share >= 0.01 ? percent(share) : share > 1e-6 ? "nearly silent" : "silent");

/** Where a region's number goes, [row, column] of a cell: beside the region, on no other one if there is room. */
export function badgeCell(cells, others, [rows, columns]) {
  const [r, c] = cells[0], taken = new Set([...cells, ...others].map(String));
  const free = [[-1, 0], [0, -1], [1, 0], [0, 1]].map(([y, x]) => [r + y, c + x])
    .filter(([y, x]) => y >= 0 && x >= 0 && y < rows && x < columns && !taken.has(String([y, x])));
  return free[0] ?? cells[0];
}

/** Why shares add up to more than everything, where they do. */
export function excess(shares) {
  const sum = shares.reduce((a, b) => a + b, 0);
  return sum < 1.005 ? "" : `${percent(sum)} together: what two of them claim counts twice`;
}

/** "row 3, column 9: 42 % of the energy", "left: 42 % + right: silent" */
export function describe(tracks) {
  const words = tracks.map(({ name, share }) => `${name}: ${loudness(share)}`).join(" + ");
  return tracks.length === 1 && tracks[0].share >= 0.01 ? `${words} of the energy` : words;
}

/** A file's name out of what somebody typed: no folder, no hidden file, no device of Windows'. */
export function fileName(name) {
  const plain = name.normalize("NFC").replace(/[^\p{L}\p{N} _,.()+-]+/gu, " ").replace(/ +/g, " ");
  const short = [...plain].slice(0, 60).join("").replace(/^[ .]+|[ .]+$/g, "");
  return `${/^(con|prn|aux|nul|com\d|lpt\d)?(\.|$)/i.test(short) ? `track ${short}`.trim() : short}.wav`;
}

// === COLOURS ===

/** Somewhere between a row of [red, green, blue], 0 the first, 1 the last. */
function blend(stops, at) {
  const x = clamp(at, 0, 1) * (stops.length - 1), i = Math.min(Math.floor(x), stops.length - 2);
  return stops[i].map((low, k) => Math.round(low + (x - i) * (stops[i + 1][k] - low)));
}

// Matplotlib's inferno. On the picture without its ends: the dark one would only dim what can't be heard, the pale one
// isn't seen on a bright picture.
const INFERNO = [
  [0, 0, 4], [33, 12, 74], [87, 16, 110], [138, 34, 106], [188, 55, 84],
  [228, 90, 49], [249, 142, 9], [249, 203, 53], [252, 255, 164],
];

/** [red, green, blue, alpha], each 0..255, of an energy 0..1; nothing is transparent. */
export function colour(share) {
  return [...blend(INFERNO.slice(2, -1), share), Math.round(255 * 0.65 * Math.sqrt(clamp(share, 0, 1)))];
}

const tableOf = (colourOf) => Uint8ClampedArray.from({ length: 1024 }, (_, i) => colourOf((i >> 2) / 255)[i & 3]);
const HEAT = tableOf(colour), LOUD = tableOf((level) => [...blend(INFERNO, level), 255]);

/** RGBA bytes of `scale` x `scale` points a cell. Energies are interpolated, not colours; a cell's middle is exact. */
export function heatmap(energy, [rows, columns], scale) {
  const bytes = new Uint8ClampedArray(4 * rows * columns * scale * scale);
  const near = (i, n) => { // the two cells that a point lies between, and how far it is into the second
    const at = clamp((i + 0.5) / scale - 0.5, 0, n - 1), low = Math.floor(at);
    return [low, Math.min(low + 1, n - 1), at - low];
  };
  const across = Array.from({ length: columns * scale }, (_, x) => near(x, columns));
  let k = 0;
  for (let y = 0; y < rows * scale; y++) {
    const [top, bottom, v] = near(y, rows);
    for (const [left, right, u] of across) {
      const row = (r) => (1 - u) * energy[r * columns + left] + u * energy[r * columns + right];
      const i = 4 * Math.round(255 * clamp((1 - v) * row(top) + v * row(bottom), 0, 1));
      for (let c = 0; c < 4; c++) bytes[k++] = HEAT[i + c];
    }
  }
  return bytes;
}

// After Okabe and Ito: told apart by the colour-blind too; all of them bright enough for black letters.
const PALETTE = ["#56b4e9", "#e69f00", "#00a878", "#cc79a7", "#e8702a", "#f0e442", "#3d8bd4"];
export const GREY = "#a8a8a8"; // of the mixture and the rest

/** The colour of number k: the same today and tomorrow. */
export const colourOf = (k) => PALETTE[k % PALETTE.length];

export const keyOf = (region) => JSON.stringify(region);

/** A number of a colour for every region, by `keyOf`. A cluster has its own; all others keep theirs. A new one gets that of the
 *  cluster it lies on (`under(region)`, if any), else, or if that is taken, one that isn't any of the `clusters`'. */
export function paint(regions, before = new Map(), clusters = 0, under = () => undefined) {
  const kept = (region) => {
    const k = typeof region === "number" ? region : before.get(keyOf(region));
    return k !== region && regions.includes(k) ? undefined : k; // a cluster that came later has the older right
  };
  const taken = new Set(regions.map(kept));
  const nobodys = [...PALETTE.keys()].slice(clusters);
  const first = (k) => (taken.has(k) ? first(k + 1) : k);
  return new Map(regions.map((region) => {
    const k = kept(region) ?? [under(region), ...nobodys].find((k) => k !== undefined && !taken.has(k)) ?? first(0);
    taken.add(k);
    return [keyOf(region), k];
  }));
}

/** RGBA bytes of one picture's clusters (255: none), `scale` x `scale` points a cell: tinted, with a firm line around each. */
export function clusterMap(labels, [rows, columns], scale) {
  const width = columns * scale, bytes = new Uint8ClampedArray(4 * width * rows * scale);
  const at = (x, y) => labels[clamp(Math.floor(y / scale), 0, rows - 1) * columns + clamp(Math.floor(x / scale), 0, columns - 1)];
  for (let y = 0, k = 0; y < rows * scale; y++) {
    for (let x = 0; x < width; x++, k += 4) {
      const label = at(x, y);
      if (label === 255) continue;
      const edge = [at(x - 1, y), at(x + 1, y), at(x, y - 1), at(x, y + 1)].some((other) => other !== label);
      const rgb = parseInt(colourOf(label).slice(1), 16);
      bytes.set([rgb >> 16, (rgb >> 8) & 255, rgb & 255, edge ? 255 : 120], k);
    }
  }
  return bytes;
}

// === SOUND AS PICTURES AND FILES ===

/** RGBA bytes of levels (F, T), low frequencies first; in the picture they are at the bottom. */
export function spectrogramPixels(levels, [height, width]) {
  const bytes = new Uint32Array(width * height), table = new Uint32Array(LOUD.buffer);
  for (let f = 0; f < height; f++) {
    for (let t = 0; t < width; t++) bytes[(height - 1 - f) * width + t] = table[levels[f * width + t]];
  }
  return new Uint8ClampedArray(bytes.buffer);
}

/** How loud a sound is, `rate` times a second: RMS of all channels together. */
export function envelope(channels, perSecond, rate) {
  const size = rate / perSecond, count = Math.ceil(channels[0].length / size);
  return Float32Array.from({ length: count }, (_, k) => {
    let [sum, n] = [0, 0];
    for (const samples of channels) {
      const end = Math.min(samples.length, Math.round((k + 1) * size));
      for (let i = Math.round(k * size); i < end; i++, n++) sum += samples[i] * samples[i];
    }
    return Math.sqrt(sum / Math.max(1, n));
  });
}

/** How far a meter is out, 0 to 1, at an RMS: all at full scale, nothing 48 dB below it. */
export const meterOf = (rms) => (rms > 0 ? clamp(1 + (20 * Math.log10(rms)) / 48, 0, 1) : 0);

/** The lowest and the highest sample behind each of so many columns: [low, high] one after the other. */
export function waveform(samples, columns) {
  const sides = new Float32Array(2 * columns), edge = (x) => Math.floor((x * samples.length) / columns);
  for (let x = 0; x < columns; x++) {
    let low = samples[edge(x)], high = low; // of fewer samples than columns, too
    for (let i = edge(x); i < edge(x + 1); i++) {
      if (samples[i] < low) low = samples[i];
      if (samples[i] > high) high = samples[i];
    }
    sides[2 * x] = low;
    sides[2 * x + 1] = high;
  }
  return sides;
}

/** float32 of a track: its 16 bit samples, whose full scale is `peak`. */
export function samplesOf({ pcm, peak }) {
  const whole = new Int16Array(pcm.buffer.slice(pcm.byteOffset, pcm.byteOffset + pcm.byteLength)); // the slice: 2-byte aligned
  const samples = new Float32Array(whole.length), unit = peak / 32767;
  for (let i = 0; i < whole.length; i++) samples[i] = whole[i] * unit;
  return samples;
}

/** As many sounds as `channels`, of a track that has them one after the other; what has no pcm has none. */
export function channelsOf(track, channels = 1) {
  const samples = samplesOf(track), length = samples.length / channels;
  return Array.from({ length: channels }, (_, c) => samples.subarray(c * length, (c + 1) * length));
}

/** Bytes of a WAV file: 16 bit PCM of one or more channels. What is beyond full scale is clipped. */
export function wav(channels, rate) {
  const count = channels.length, size = 2 * count * channels[0].length;
  const bytes = new ArrayBuffer(44 + size), view = new DataView(bytes);
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  const long = (at, value) => view.setUint32(at, value, true), short = (at, value) => view.setUint16(at, value, true);
  text(0, "RIFF"), long(4, 36 + size), text(8, "WAVEfmt "), long(16, 16), short(20, 1), short(22, count);
  long(24, rate), long(28, 2 * count * rate), short(32, 2 * count), short(34, 16), text(36, "data"), long(40, size);
  channels.forEach((samples, c) => samples.forEach((sample, i) => {
    view.setInt16(44 + 2 * (count * i + c), Math.round(32767 * clamp(sample, -1, 1)), true);
  }));
  return new Uint8Array(bytes);
}

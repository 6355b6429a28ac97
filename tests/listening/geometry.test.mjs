// The pure half of the player's page. Run by tests/listening/test_player.py, or: node --test tests/listening/geometry.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

// As a data: URL, since without a package.json an older node takes a .js file for CommonJS.
const source = readFileSync(new URL("../../sop_core/listening/static/geometry.js", import.meta.url), "utf8");
const {
  badgeCell, cellAt, cellRect, cellsBetween, channelsOf, cellsOf, clock, clusterMap, clusterUnder, colour, colourOf, describe, excess, fileName, frameAt, heatmap, keyOf,
  decibels, envelope, levelOf, meterOf, nameOf, outline, paint, percent, same, samplesOf, slideOf, spectrogramPixels, step, timeOf, waveform, wav,
} = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const GRID = [9, 14]; // rows, columns: not square, so that a transposed click fails
const RECT = { left: 100, top: 50, width: 280, height: 90 }; // 20 x 10 a cell
const pixel = (bytes, width) => (x, y) => [...bytes.slice(4 * (y * width + x), 4 * (y * width + x) + 4)];

test("row is y, column is x", () => {
  assert.deepEqual(cellAt(100 + 9.5 * 20, 50 + 3.5 * 10, RECT, GRID), [3, 9]);
  assert.deepEqual(cellAt(100, 50, RECT, GRID), [0, 0]);
  assert.deepEqual(cellAt(379.9, 139.9, RECT, GRID), [8, 13]);
});

test("a cell begins at its upper left edge", () => {
  assert.deepEqual(cellAt(120, 60, RECT, GRID), [1, 1]);
  assert.deepEqual(cellAt(119.9, 59.9, RECT, GRID), [0, 0]);
});

test("outside of the picture is its nearest cell", () => {
  assert.deepEqual(cellAt(0, 0, RECT, GRID), [0, 0]);
  assert.deepEqual(cellAt(380, 140, RECT, GRID), [8, 13]);
  assert.deepEqual(cellAt(1e6, -1e6, RECT, GRID), [0, 13]);
});

test("a picture without a size gives a cell all the same", () => {
  assert.deepEqual(cellAt(100, 50, { left: 100, top: 50, width: 0, height: 0 }, GRID), [0, 0]);
});

test("the middle of cellRect is in its cell, for every cell and an uneven size", () => {
  for (const [row, column] of cellsBetween([0, 0], [8, 13])) {
    const r = cellRect([row, column], GRID, 333, 77);
    const rect = { left: 0, top: 0, width: 333, height: 77 };
    assert.deepEqual(cellAt(r.left + r.width / 2, r.top + r.height / 2, rect, GRID), [row, column]);
  }
});

test("cellRects cover the picture", () => {
  assert.deepEqual(cellRect([0, 0], GRID, 280, 90), { left: 0, top: 0, width: 20, height: 10 });
  assert.deepEqual(cellRect([8, 13], GRID, 280, 90), { left: 260, top: 80, width: 20, height: 10 });
});

test("a drag takes the same cells, whichever corner it began at", () => {
  const cells = [[2, 5], [2, 6], [2, 7], [3, 5], [3, 6], [3, 7]];
  for (const [a, b] of [[cells[0], cells[5]], [cells[5], cells[0]], [cells[2], cells[3]], [cells[3], cells[2]]]) {
    assert.deepEqual(cellsBetween(a, b), cells);
  }
  assert.deepEqual(cellsBetween([3, 9], [3, 9]), [[3, 9]]);
});

test("an outline runs round the cells and not between them", () => {
  assert.equal(outline([[3, 9]]), "M9 3h1M9 4h1M9 3v1M10 3v1"); // x is the column
  const edges = (cells) => outline(cells).match(/M/g)?.length ?? 0;
  assert.equal(edges(cellsBetween([2, 5], [3, 7])), 2 * (2 + 3));
  assert.equal(edges(cellsBetween([0, 0], [2, 2]).filter(([r, c]) => r !== 1 || c !== 1)), 12 + 4); // a hole has one too
  assert.equal(edges([[0, 0], [0, 0]]), 4);
  assert.equal(edges([[0, 0], [1, 1]]), 8);
  assert.equal(edges([]), 0);
});

test("arrow keys walk and stop at the edges", () => {
  assert.deepEqual(step([3, 9], "ArrowDown", GRID), [4, 9]);
  assert.deepEqual(step([3, 9], "ArrowRight", GRID), [3, 10]);
  assert.deepEqual(step([0, 0], "ArrowUp", GRID), [0, 0]);
  assert.deepEqual(step([8, 13], "ArrowRight", GRID), [8, 13]);
  assert.equal(step([3, 9], "a", GRID), null);
  assert.equal(step([3, 9], "toString", GRID), null);
});

test("a cluster's cells are those of its picture", () => {
  const labels = new Uint8Array(2 * 2 * 3).fill(255);
  labels[5] = 1; // picture 0, row 1, column 2
  labels[6 + 1] = 1; // picture 1, row 0, column 1
  assert.deepEqual(cellsOf(1, labels, 0, [2, 3]), [[1, 2]]);
  assert.deepEqual(cellsOf(1, labels, 1, [2, 3]), [[0, 1]]);
  assert.deepEqual(cellsOf(0, labels, 1, [2, 3]), []);
});

test("the same regions", () => {
  assert.ok(same([[[3, 9]], 1], [[[3, 9]], 1]) && same([], []));
  assert.ok(!same([[[3, 9]]], [[[9, 3]]]) && !same([], [[[0, 0]]]) && !same([1], [0]));
});

test("picture k is on the screen from k / fps, for every picture and an odd rate", () => {
  for (let k = 0; k < 300; k++) assert.equal(frameAt(timeOf(k, 23.976), 23.976, 300), k);
  assert.equal(frameAt(0.0999, 10, 20), 0);
  assert.equal(frameAt(0.1001, 10, 20), 1);
  assert.equal(frameAt(99, 10, 20), 19);
  assert.equal(frameAt(-1, 10, 20), 0);
});

test("the clock", () => {
  assert.deepEqual([0, 3.24, 9.99, 59.99, 60, 605.3].map(clock), ["0:00.0", "0:03.2", "0:09.9", "0:59.9", "1:00.0", "10:05.3"]);
  for (let i = 0; i < 600; i++) assert.equal(clock(i / 10), `0:${(i / 10).toFixed(1).padStart(4, "0")}`);
});

test("levels in dB: a slider's steps, and back", () => {
  assert.deepEqual([0, 0.5, 1, 2, 0.01].map(decibels), ["off", "−6.0 dB", "0 dB", "+6.0 dB", "−40.0 dB"]);
  assert.equal(decibels(0.9999), "0 dB");
  for (let dB = -39.5; dB < 6; dB += 0.5) assert.ok(Math.abs(slideOf(levelOf(dB)) - dB) < 1e-9);
  assert.deepEqual([levelOf(-40), levelOf(0), levelOf(6), slideOf(0), slideOf(2)], [0, 1, 2, -40, 6]);
});

test("a meter shows how loud it is at that moment: 0 dB is all of it, 24 dB below is half", () => {
  const rate = 1000, loud = Float32Array.from({ length: 1000 }, (_, i) => (i < 500 ? 1 : 10 ** (-24 / 20)));
  const levels = envelope([loud], 50, rate);
  assert.equal(levels.length, 50);
  assert.deepEqual([levels[0], levels[24], levels[25], levels[49]].map(meterOf).map((x) => Math.round(1000 * x)), [1000, 1000, 500, 500]);
  assert.deepEqual([...envelope([loud, new Float32Array(1000)], 1, 2000)], [Math.fround(Math.sqrt((500 + 500 * 10 ** -2.4) / 2000))]); // stereo
  assert.deepEqual([0, 1e-9, 9].map(meterOf), [0, 0, 1]);
  assert.equal(envelope([loud.slice(0, 990)], 7, 1000).length, 7); // a last, shorter piece
});

test("a track's number lies beside its cells, and on no other track's if there is room", () => {
  assert.deepEqual(badgeCell([[3, 9]], [], GRID), [2, 9]);
  assert.deepEqual(badgeCell([[0, 5]], [], GRID), [0, 4]); // not outside of the picture
  assert.deepEqual(badgeCell([[0, 0]], [], GRID), [1, 0]);
  assert.deepEqual(badgeCell(cellsBetween([0, 0], [1, 0]), [], GRID), [0, 1]);
  assert.deepEqual(badgeCell([[3, 9]], [[2, 9], [3, 8]], GRID), [4, 9]);
  assert.deepEqual(badgeCell(cellsBetween([0, 0], [8, 13]), [], GRID), [0, 0]); // no room at all
});

test("energy is seen on a dark picture and on a bright one, and where there is none the picture is as it was", () => {
  const lab = (rgb) => { // CIELAB, D65
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v > 0.04045 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92));
    const xyz = [0.4124 * r + 0.3576 * g + 0.1805 * b, 0.2126 * r + 0.7152 * g + 0.0722 * b, 0.0193 * r + 0.1192 * g + 0.9505 * b];
    const [x, y, z] = xyz.map((v, i) => v / [0.9505, 1, 1.089][i]).map((v) => (v > 0.008856 ? Math.cbrt(v) : 7.787 * v + 16 / 116));
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
  };
  const over = (grey, share) => { const [r, g, b, a] = colour(share); return [r, g, b].map((v) => grey + (v - grey) * (a / 255)); };
  for (const grey of [0, 60, 128, 200, 255]) {
    assert.deepEqual(over(grey, 0), [grey, grey, grey]);
    for (const share of [0.1, 0.3, 0.6, 1]) {
      const d = Math.hypot(...lab(over(grey, share)).map((v, i) => v - lab([grey, grey, grey])[i]));
      assert.ok(d > (share > 0.2 ? 20 : 10), `${share} on ${grey}: ${d}`);
    }
    // what is in the picture stays to be seen: two greys are told apart under any energy
    assert.ok(over(200, 1)[0] - over(100, 1)[0] > 30);
  }
});

test("words", () => {
  assert.deepEqual([0, 0.001, 0.42, 1, 1.5].map(percent), ["0 %", "under 1 %", "42 %", "100 %", "150 %"]);
  assert.equal(nameOf([3, 9], [3, 9]), "row 3, column 9");
  assert.equal(nameOf([3, 9], [1, 9]), "rows 1 to 3, column 9");
  assert.equal(describe([{ name: "row 3, column 9", share: 0.42 }]), "row 3, column 9: 42 % of the energy");
  assert.equal(describe([{ name: "left", share: 0.009 }]), "left: nearly silent");
  assert.equal(describe([{ name: "left", share: 0.42 }, { name: "b", share: 0 }]), "left: 42 % + b: silent");
});

test("a file name has no folder, isn't hidden, and is never empty", () => {
  assert.equal(fileName("row 3, column 9"), "row 3, column 9.wav");
  assert.equal(fileName("Cello — höher"), "Cello höher.wav");
  assert.equal(fileName("../../etc/passwd"), "etc passwd.wav");
  assert.equal(fileName('a\\b:c*?"<x>|\n\0d'), "a b c x d.wav");
  for (const name of ["", "...", " / ", "\u202e"]) assert.equal(fileName(name), "track.wav");
  assert.equal(fileName("CON"), "track CON.wav");
  assert.equal(fileName("con.x"), "track con.x.wav");
  assert.equal(fileName("x".repeat(1000)).length, 64);
});

test("nothing is transparent, and more is brighter and more opaque", () => {
  assert.equal(colour(0)[3], 0);
  const lightness = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  for (let i = 0; i < 20; i++) {
    const low = colour(i / 20), high = colour((i + 1) / 20);
    assert.ok(high[3] > low[3] && lightness(high) > lightness(low));
  }
  assert.deepEqual(colour(2), colour(1));
});

test("the heatmap keeps rows and columns, and says a cell's own energy in its middle", () => {
  const energy = new Float32Array(2 * 3);
  energy[1 * 3 + 2] = 1; // row 1, column 2
  const scale = 5, bytes = heatmap(energy, [2, 3], scale), at = pixel(bytes, 3 * scale);
  assert.equal(bytes.length, 4 * 2 * 3 * scale * scale);
  assert.deepEqual(at(12, 7), colour(1));
  assert.deepEqual(at(2, 2), colour(0));
  assert.deepEqual(at(14, 9), colour(1)); // the corner
});

test("clusters: each its colour, a firm edge, nothing where nothing sounds", () => {
  const labels = Uint8Array.from([255, 255, 1, 0, 0, 1]), at = pixel(clusterMap(labels, [2, 3], 6), 18);
  const rgb = (k) => colourOf(k).match(/[0-9a-f]{2}/g).map((hex) => parseInt(hex, 16));
  assert.deepEqual(at(3, 3), [0, 0, 0, 0]);
  assert.deepEqual(at(15, 3), [...rgb(1), 120]);
  assert.deepEqual(at(3, 9), [...rgb(0), 120]);
  assert.deepEqual(at(12, 3), [...rgb(1), 255]); // its left edge
  assert.deepEqual(at(6, 9), [...rgb(0), 120]); // two cells of one cluster: no edge between
  assert.notDeepEqual(rgb(0), rgb(1));
});

test("a track keeps its colour, a cluster has its own, no two are alike", () => {
  const a = [[3, 9]], b = [[8, 2]], c = [[0, 0]], name = keyOf;
  const first = paint([a, b]);
  assert.notEqual(first.get(name(a)), first.get(name(b)));
  assert.equal(paint([b], first).get(name(b)), first.get(name(b)));
  const next = paint([b, c, 4], paint([b], first));
  assert.equal(next.get("4"), 4);
  assert.equal(new Set(next.values()).size, 3);
  assert.deepEqual([...paint([a, 0], first)], [[name(a), 1], ["0", 0]]); // gives way
});

test("a region lies on the cluster that most of its cells belong to, over all pictures", () => {
  const labels = new Uint8Array(2 * 2 * 3).fill(255); // two pictures of 2 rows and 3 columns
  [labels[0], labels[6], labels[1], labels[6 + 5]] = [4, 4, 2, 0]; // cells 0,0 twice; 0,1 and 1,2 once
  assert.equal(clusterUnder([[0, 0], [0, 1]], labels, [2, 3]), 4);
  assert.equal(clusterUnder([[0, 1], [1, 0]], labels, [2, 3]), 2);
  assert.equal(clusterUnder([[1, 2]], labels, [2, 3]), 0);
  assert.equal(clusterUnder([[0, 2], [1, 0], [1, 1]], labels, [2, 3]), undefined);
});

test("a region has the colour of the cluster that it lies on; a second one there, and one on none, a colour that is no cluster's", () => {
  const a = [[3, 9]], b = [[8, 2]], c = [[0, 0]], on = new Map([[keyOf(a), 1], [keyOf(b), 1]]);
  const tints = (regions, before) => [...paint(regions, before, 2, (region) => on.get(keyOf(region))).values()];
  assert.deepEqual(tints([a]), [1]);
  assert.deepEqual(tints([c]), [2]);
  assert.deepEqual(tints([a, b, c]), [1, 2, 3]);
  assert.deepEqual(tints([b], new Map([[keyOf(b), 2]])), [2]); // what is there keeps its own
  assert.deepEqual(tints([a, 1], new Map([[keyOf(a), 1]])), [2, 1]); // the cluster itself has the older right
  const many = Array.from({ length: 30 }, (_, i) => [[0, i]]); // more than there are colours, and all the same no two numbers alike
  assert.equal(new Set(paint(many, new Map(), 7, () => 3).values()).size, 30);
});

test("shares that are more than everything are explained", () => {
  assert.equal(excess([0.68, 0.39]), "107 % together: what two of them claim counts twice");
  for (const shares of [[], [0.5, 0.5], [0.504, 0.497], [0.2]]) assert.equal(excess(shares), "");
});

test("a spectrogram's low frequencies are at the bottom, time runs to the right", () => {
  const levels = Uint8Array.from([255, 0, 0, 0, 0, 0]), at = pixel(spectrogramPixels(levels, [2, 3]), 3); // F = 2, T = 3
  const bright = [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]].map(([x, y]) => at(x, y)[0] > 200);
  assert.deepEqual(bright, [false, false, false, true, false, false]);
  assert.equal(at(0, 0)[3], 255);
});

test("a waveform has the lowest and the highest sample of each column", () => {
  assert.deepEqual([...waveform(Float32Array.from([0.5, -1, 0.25, 0.75]), 2)], [-1, 0.5, 0.25, 0.75]);
  assert.deepEqual([...waveform(Float32Array.from([0.5]), 3)], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
  const sides = waveform(Float32Array.from({ length: 1001 }, (_, i) => (i === 1000 ? 1 : 0)), 10);
  assert.equal(sides[19], 1);
});

test("samples are what 16 bit and a peak say, wherever they lie in a message", () => {
  const view = new DataView(new ArrayBuffer(7), 1, 6); // an odd address
  [32767, -32767, 0].forEach((value, i) => view.setInt16(2 * i, value, true));
  assert.deepEqual([...samplesOf({ pcm: view, peak: 2 })], [2, -2, 0]);
});

test("a track of several channels has them one after the other, and a WAV file in turns", () => {
  const view = new DataView(new ArrayBuffer(8));
  [1, 2, 3, 4].forEach((value, i) => view.setInt16(2 * i, value, true));
  const channels = channelsOf({ pcm: view, peak: 32767 }, 2);
  assert.deepEqual(channels.map((c) => [...c]), [[1, 2], [3, 4]]);
  const header = new DataView(wav(channels.map((c) => c.map((x) => x / 32767)), 44100).buffer);
  assert.deepEqual([22, 32, 44, 46, 48, 50].map((at) => header.getInt16(at, true)), [2, 4, 1, 3, 2, 4]);
  assert.deepEqual([24, 28, 40].map((at) => header.getUint32(at, true)), [44100, 176400, 8]);
});

test("a WAV file", () => {
  const bytes = wav([Float32Array.from([0, 1, -1, 2, 0.5])], 11025), view = new DataView(bytes.buffer);
  const text = (at) => String.fromCharCode(...bytes.slice(at, at + 4));
  assert.deepEqual([0, 8, 12, 36].map(text), ["RIFF", "WAVE", "fmt ", "data"]);
  assert.deepEqual([4, 24, 28, 40].map((at) => view.getUint32(at, true)), [46, 11025, 22050, 10]);
  assert.deepEqual([20, 22, 32, 34].map((at) => view.getUint16(at, true)), [1, 1, 2, 16]);
  assert.deepEqual([44, 46, 48, 50, 52].map((at) => view.getInt16(at, true)), [0, 32767, -32767, 32767, 16384]);
});

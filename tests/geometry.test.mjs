// The pure half of sop_core/static/player.js. Run by tests/test_widget.py, or: node --test tests/geometry.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

// As a data: URL, since without a package.json an older node takes a .js file for CommonJS.
const source = readFileSync(new URL("../sop_core/static/player.js", import.meta.url), "utf8");
const { cellAt, cellRect, colour, default: widget, describe, heatmap, percent, same, step } = await import(
  `data:text/javascript,${encodeURIComponent(source)}`
);

const GRID = [9, 14]; // rows, columns: not square, so that a transposed click fails
const RECT = { left: 100, top: 50, width: 280, height: 90 }; // 20 x 10 a cell

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
  for (let row = 0; row < 9; row++) {
    for (let column = 0; column < 14; column++) {
      const r = cellRect([row, column], GRID, 333, 77);
      const rect = { left: 0, top: 0, width: 333, height: 77 };
      assert.deepEqual(cellAt(r.left + r.width / 2, r.top + r.height / 2, rect, GRID), [row, column]);
    }
  }
});

test("cellRects cover the picture", () => {
  assert.deepEqual(cellRect([0, 0], GRID, 280, 90), { left: 0, top: 0, width: 20, height: 10 });
  assert.deepEqual(cellRect([8, 13], GRID, 280, 90), { left: 260, top: 80, width: 20, height: 10 });
});

test("arrow keys walk and stop at the edges", () => {
  assert.deepEqual(step([3, 9], "ArrowDown", GRID), [4, 9]);
  assert.deepEqual(step([3, 9], "ArrowRight", GRID), [3, 10]);
  assert.deepEqual(step([0, 0], "ArrowUp", GRID), [0, 0]);
  assert.deepEqual(step([8, 13], "ArrowRight", GRID), [8, 13]);
  assert.equal(step([3, 9], "a", GRID), null);
  assert.equal(step([3, 9], "toString", GRID), null);
});

test("same cells", () => {
  assert.ok(same([3, 9], [3, 9]) && same(null, null));
  assert.ok(!same([3, 9], [9, 3]) && !same(null, [0, 0]) && !same([0, 0], null));
});

test("words", () => {
  const energy = new Float32Array(9 * 14);
  energy[3 * 14 + 9] = 0.42;
  assert.equal(describe([3, 9], energy, GRID), "row 3, column 9: 42 % of the energy");
  assert.equal(percent(0), "0 %");
  assert.equal(percent(0.001), "under 1 %");
  assert.equal(percent(1), "100 %");
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
  const scale = 5, bytes = heatmap(energy, [2, 3], scale), width = 3 * scale;
  const at = (x, y) => [...bytes.slice(4 * (y * width + x), 4 * (y * width + x) + 4)];
  assert.equal(bytes.length, 4 * 2 * 3 * scale * scale);
  assert.deepEqual(at(12, 7), colour(1));
  assert.deepEqual(at(2, 2), colour(0));
  assert.deepEqual(at(14, 9), colour(1)); // the corner
});

test("the widget is anywidget's", () => assert.equal(typeof widget.render, "function"));

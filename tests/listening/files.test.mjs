// What the page saves. Python reads a zip of it in test_player.py; run by it, or: node --test tests/listening/files.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { crc32 as zlibs } from "node:zlib";

const read = (name) => readFileSync(new URL(`../../sop_core/listening/static/${name}.js`, import.meta.url), "utf8");
const { crc32, fitting, mixed, numbered, playerFile, zip } = await import(`data:text/javascript,${encodeURIComponent(["geometry", "files"].map(read).join("\n"))}`);
const bytes = (text) => new TextEncoder().encode(text);

test("the checksum is zip's", () => {
  assert.equal(crc32(bytes("123456789")), 0xcbf43926); // the standard's own example
  assert.equal(crc32(bytes("")), 0);
  const all = Uint8Array.from({ length: 999 }, (_, i) => (i * 97) & 255);
  if (zlibs) assert.equal(crc32(all), zlibs(all));
});

test("a zip begins with its first file and ends with how many there are", () => {
  const whole = zip([{ name: "a", bytes: bytes("1") }, { name: "ü", bytes: bytes("22") }]), view = new DataView(whole.buffer);
  assert.equal(view.getUint32(0, true), 0x04034b50);
  assert.equal(view.getUint16(whole.length - 12, true), 2);
  assert.equal(view.getUint32(view.getUint32(whole.length - 6, true), true), 0x02014b50); // where the index is
});

test("files are numbered, so that no two are alike, and no name leads out of the folder", () => {
  assert.deepEqual(numbered(["left", "left", "../../x"]), ["1 left.wav", "2 left.wav", "3 x.wav"]);
  assert.equal(numbered(Array(10).fill(""))[0], "01 track.wav");
});

test("the mix is the sum of sounds times gains, one channel on both sides; one factor makes all files fit", () => {
  const sound = (...channels) => channels.map((c) => Float32Array.from(c)), sounds = [sound([9, 9], [9, 9]), sound([0.5, 0], [0, 0.25]), sound([0.25, -0.5])];
  assert.deepEqual(mixed(sounds, [0, 1, 1]).map((c) => [...c]), [[0.75, -0.5], [0.25, -0.25]]);
  const loud = mixed(sounds, [0, 4, 0]);
  assert.deepEqual(loud.map((c) => [...c]), [[2, 0], [0, 1]]);
  assert.equal(fitting([...sounds.slice(1), loud]), 0.5);
  assert.equal(fitting([sound([-4]), ...sounds.slice(1)]), 0.25);
  assert.equal(fitting(sounds.slice(1)), 1); // nothing is made louder
});

test("a player's file has what it needs, and no more", () => {
  const state = { grid: [9, 14], start: 0, seconds: 2, whole: true, regions: [[[3, 9]], 1], mixer: [] };
  assert.deepEqual(JSON.parse(playerFile({ ...state, pcm: "x" })), { player: 1, ...state });
});

// The player's mixer, as far as it is arithmetic. Run by tests/listening/test_player.py, or: node --test tests/listening/mixer.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

// All of the page, joined as listening/player.py does it: one module, which node can load as long as nothing is rendered.
const read = (name) => readFileSync(new URL(`../../sop_core/listening/static/${name}.js`, import.meta.url), "utf8");
const source = ["geometry", "files", "mixer", "film", "parts", "player", "kernel"].map(read).join("\n");
const { default: widget, gains, Mixer, position, rest, upsample } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const track = (level, mute, solo) => ({ name: "", level, mute, solo });

test("a track sounds at its level unless it is muted", () => {
  assert.deepEqual(gains([track(1, false, false), track(0.5, false, false), track(1, true, false)], "selection"), [0, 1, 0.5, 0]);
});

test("a solo beats every mute, its own too, and keeps its level", () => {
  assert.deepEqual(gains([track(1, false, false), track(0.25, true, true), track(1, true, false)], "selection"), [0, 0, 0.25, 0]);
  assert.deepEqual(gains([track(1, false, true), track(1.5, false, true)], "selection"), [0, 1, 1.5]);
});

test("the mixture is heard alone, as it is", () => {
  assert.deepEqual(gains([track(1, false, true), track(0.5, false, false)], "mixture"), [1, 0, 0]);
  assert.deepEqual(gains([], "mixture"), [1]);
});

test("the rest is what tracks leave of the mixture", () => {
  const mixture = Float32Array.from([1, -0.5, 0.25]), tracks = [[0.5, 0, 0.5], [0.25, -1, 0]].map((t) => Float32Array.from(t));
  assert.deepEqual([...rest([mixture], tracks.map((t) => [t]))[0]], [0.25, 0.5, -0.25]);
  const stereo = rest([mixture, mixture], [[tracks[0]], [tracks[0], tracks[1]]]); // one channel counts on both sides
  assert.deepEqual(stereo.map((side) => [...side]), [[0, -0.5, -0.75], [0.25, 0.5, -0.25]]);
  assert.deepEqual([...mixture], [1, -0.5, 0.25]);
});

test("a sound at four times the rate is the same sound: a tone stays a tone, and samples stay what they were", () => {
  const tone = (hz, rate, n) => Float32Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));
  for (const hz of [100, 1000, 3000, 4500]) {
    const out = upsample(tone(hz, 11025, 2000), 4), truth = tone(hz, 44100, 8000);
    const worst = out.slice(200, -200).reduce((most, x, i) => Math.max(most, Math.abs(x - truth[i + 200])), 0);
    assert.ok(worst < (hz > 4000 ? 0.03 : 0.011), `${hz} Hz: ${worst}`);
    assert.deepEqual(out[400], tone(hz, 11025, 2000)[100]);
  }
  const same = tone(100, 11025, 5);
  assert.equal(upsample(same, 1), same);
});

test("time runs on, to the end or round and round", () => {
  assert.equal(position(0.5, 1, 2, false), 1.5);
  assert.equal(position(0.5, 9, 2, false), 2);
  assert.equal(position(0.5, 1.75, 2, true), 0.25);
  assert.equal(position(0.5, 9.5, 2, true), 0);
  assert.equal(position(0.5, -0.01, 2, true), 0.5); // told to start, but not yet heard
});

/** A mixer whose clock is `clock.now`, in a browser that notes where each source starts. */
function silent(seconds, clock, starts) {
  const same = () => clock.param;
  clock.param = { setTargetAtTime: same, setValueAtTime: same, linearRampToValueAtTime: same, cancelScheduledValues: same };
  class Node {
    constructor(context, options) { Object.assign(this, { options, gain: clock.param }); }
    connect(to) { return to; }
    start(when, from) { starts.push(when, from); }
    stop() {}
  }
  for (const name of ["Analyser", "Gain", "ChannelMerger", "ChannelSplitter", "AudioBufferSource"]) globalThis[`${name}Node`] = Node;
  globalThis.AudioBuffer = class { copyToChannel() {} };
  globalThis.AudioContext = class {
    sampleRate = 1000;
    get currentTime() { return clock.now; }
    async resume() {}
  };
  return new Mixer(1000, [new Float32Array(1000 * seconds)], 1, () => {});
}

test("a better sound takes over at any moment of a loop, where the old one is; at the end of one round it is too late", () => {
  for (const loop of [true, false]) {
    for (const at of [0, 0.5, 0.93, 0.955, 0.97, 0.999]) {
      const clock = { now: 0 }, starts = [], mixer = silent(1, clock, starts);
      mixer.repeat(loop);
      mixer.play(0);
      clock.now = starts[0] + at;
      starts.length = 0;
      mixer.renew();
      if (loop) assert.ok(Math.abs(starts[1] - ((at + starts[0] - clock.now) % 1)) < 1e-9, `${at}: ${starts}`);
      else assert.equal(starts.length, at < 0.92 ? 2 : 0, `${at}`);
    }
  }
});

test("the widget is anywidget's", () => assert.deepEqual([typeof widget.initialize, typeof widget.render], ["function", "function"]));

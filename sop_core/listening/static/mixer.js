// The sound of the player: the mixture and all tracks run together, and what is heard of them is a matter of gain alone.
// So A and B, mute, solo and level change at the same place in time. Pure part: tested by tests/listening/mixer.test.mjs.

/** Gains of [the mixture, ...tracks]. A solo beats every mute. */
export function gains(mixer, hears) {
  if (hears === "mixture") return [1, ...mixer.map(() => 0)];
  const alone = mixer.some((track) => track.solo);
  return [0, ...mixer.map((track) => ((alone ? track.solo : !track.mute) ? track.level : 0))];
}

/** What tracks leave of the mixture: they and it add up to it. A sound is a list of channels; one of one is in all of them. */
export function rest(mixture, tracks) {
  return mixture.map((channel, c) => {
    const left = channel.slice();
    for (const track of tracks) {
      const side = track[Math.min(c, track.length - 1)];
      for (let i = 0; i < left.length; i++) left[i] -= side[i];
    }
    return left;
  });
}

const TAPS = 8; // samples on either side that a new one is made of

/** Samples at `times` the rate, by a windowed sinc: browsers only draw straight lines between samples. */
export function upsample(samples, times) {
  if (times === 1) return samples;
  const out = new Float32Array(times * samples.length), padded = new Float32Array(samples.length + 2 * TAPS);
  padded.set(samples, TAPS);
  for (let phase = 0; phase < times; phase++) {
    const taps = Float64Array.from({ length: 2 * TAPS }, (_, k) => {
      const x = k - TAPS + 1 - phase / times, edge = Math.cos((Math.PI * x) / (2 * TAPS)) ** 2; // Hann
      return (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1) * edge;
    });
    for (let i = 0, to = phase; i < samples.length; i++, to += times) {
      let sum = phase ? 0 : samples[i];
      if (phase) {
        for (let k = 0, at = i + 1; k < 2 * TAPS; k += 4, at += 4) { // by fours: twice as fast
          sum += taps[k] * padded[at] + taps[k + 1] * padded[at + 1] + taps[k + 2] * padded[at + 2] + taps[k + 3] * padded[at + 3];
        }
      }
      out[to] = sum;
    }
  }
  return out;
}

/** Where a sound that began at `from` is after `elapsed`; at its end, where it doesn't begin again, it stays. */
export function position(from, elapsed, seconds, loop) {
  const at = from + Math.max(0, elapsed);
  return loop ? at % seconds : Math.min(at, seconds);
}

const QUANTUM = 128; // samples that a browser computes at once: what is to begin softly is told one of them before
const RAMP = 0.012; // s: shorter clicks, longer drags
const LEAD = 0.04; // s before the same sound goes on in a better quality: both are told in time

export class Mixer {
  /** `mixture`: its channels; `peak`: their largest sample; `over`: called when the sound has come to its end. */
  constructor(rate, mixture, peak, over) {
    Object.assign(this, { rate, over, seconds: mixture[0].length / rate, from: 0, loop: false, levels: [1] });
    this.master = 1 / Math.max(1, peak); // one for all, so that levels can be compared
    this.#hold([mixture]);
  }

  /** All sounds are channels of one buffer, and so of one source: none of them can begin a moment after another. Of stereo
   *  there are two, left and right, which begin at the same sample. */
  #hold(sounds) {
    this.sounds = sounds;
    this.buffers = sounds[0].map(({ length }, c) => {
      const buffer = new AudioBuffer({ length, numberOfChannels: sounds.length, sampleRate: this.rate });
      sounds.forEach((sound, i) => buffer.copyToChannel(sound[Math.min(c, sound.length - 1)], i));
      return buffer;
    });
  }

  /** The context, made when it is first needed: before a page is used, a browser wouldn't let it run. */
  #wake() {
    if (!this.context) {
      this.context = this.#open();
      this.analyser = new AnalyserNode(this.context, { fftSize: 4096, smoothingTimeConstant: 0 });
      this.output = new GainNode(this.context, { gain: this.master });
      this.output.connect(this.analyser).connect(this.context.destination);
    }
    this.running = this.context.resume().catch(() => {}); // see `runs`
    return this.context;
  }

  #open() {
    try {
      return new AudioContext({ sampleRate: this.rate }); // resampled once, well, on its way out
    } catch (e) {
      if (e.name !== "NotSupportedError") throw e;
      return new AudioContext();
    }
  }

  /** Wake up early. Where that fails, `play` will say so. */
  prepare() {
    try {
      this.#wake();
    } catch { /* see above */ }
  }

  /** Does the browser let it sound? It never says no: it only keeps one waiting. */
  async runs() {
    const patience = navigator.userActivation?.hasBeenActive ? 3000 : 500; // ms; headphones may have to wake first
    await Promise.race([this.running, new Promise((done) => setTimeout(done, patience))]);
    return this.context.state === "running";
  }

  get playing() {
    return !!this.voice;
  }

  /** Other tracks, and after them what they leave; while it plays they go on where the old ones were. */
  load(tracks, mixture = this.sounds[0]) {
    this.#hold(tracks.length ? [mixture, ...tracks, rest(mixture, tracks)] : [mixture]);
  }

  set(levels) {
    this.levels = levels;
    this.voice?.gains.forEach(({ gain }, i) => gain.setTargetAtTime(levels[i] ?? 0, this.context.currentTime, RAMP / 2));
  }

  repeat(loop) {
    if (this.playing) {
      Object.assign(this, { from: this.at(), since: this.context.currentTime }); // the rounds so far are over and done with
      for (const source of this.voice.sources) source.loop = loop;
    }
    this.loop = loop;
  }

  /** Seconds into the sound; `late`: how long what is computed now takes to the ear. */
  at(now = this.context?.currentTime, late = 0) {
    return this.playing ? position(this.from, now - this.since - late, this.seconds, this.loop) : this.from;
  }

  heardAt() {
    return this.at(this.context?.currentTime, this.context?.outputLatency || 0);
  }

  /** The same sound in another quality: so evenly that nobody hears where. */
  renew() {
    if (this.playing && (this.loop || this.at() < this.seconds - 2 * LEAD)) this.play(undefined, LEAD);
  }

  /** From there, or from where it is; `lead`: so many seconds from now. */
  play(at, lead = 0) {
    const context = this.#wake(), when = context.currentTime + (lead || QUANTUM / context.sampleRate);
    const there = at ?? this.at(when), from = !this.loop && there > this.seconds - 0.05 ? 0 : there; // at the very end: from the beginning
    this.#fade(when, lead > 0);
    const out = new GainNode(context, { gain: 0 });
    out.gain.setValueAtTime(0, when);
    out.gain.linearRampToValueAtTime(1, when + RAMP);
    out.connect(this.output);
    const gains = this.sounds.map((_, i) => new GainNode(context, { gain: this.levels[i] ?? 0 }));
    const sides = gains.map((gain) => {
      gain.connect(out);
      const sides = this.buffers.length === 1 ? gain : new ChannelMergerNode(context, { numberOfInputs: 2 });
      if (sides !== gain) sides.connect(gain);
      return sides;
    });
    const sources = this.buffers.map((buffer, c) => {
      const source = new AudioBufferSourceNode(context, { buffer, loop: this.loop });
      const apart = new ChannelSplitterNode(context, { numberOfOutputs: sides.length });
      source.connect(apart);
      sides.forEach((side, i) => apart.connect(side, i, c));
      return source;
    });
    const voice = { sources, gains, out, begins: when };
    sources[0].onended = () => {
      if (this.voice !== voice) return;
      this.voice = null;
      this.from = 0;
      this.over();
    };
    for (const source of sources) source.start(when, from);
    Object.assign(this, { from, since: when, voice });
  }

  pause() {
    if (!this.playing) return;
    this.from = this.at();
    this.#fade(this.context.currentTime);
  }

  seek(at) {
    if (this.playing) this.play(at);
    else this.from = at;
  }

  /** Let the voice go, without a crack; `even`: as the next one comes, so that the two of them stay as loud. */
  #fade(when, even = false) {
    if (!this.voice) return;
    const { out: { gain }, sources, begins } = this.voice;
    gain.cancelScheduledValues(when);
    if (begins < when && when < begins + RAMP) gain.linearRampToValueAtTime((when - begins) / RAMP, when); // it was still growing
    if (even && when > begins + RAMP) gain.setValueAtTime(1, when).linearRampToValueAtTime(0, when + RAMP);
    else gain.setTargetAtTime(0, when, RAMP / 3);
    for (const source of sources) source.stop(when + 2 * RAMP);
    this.voice = null;
  }

  async close() {
    this.voice = null;
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

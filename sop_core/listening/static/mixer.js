// The sound of the player: the mixture and all tracks run together, and what is heard of them is a matter of gain alone.
// So A and B, mute, solo and level change at the same place in time. Pure part: tested by tests/listening/mixer.test.mjs.

/** Gains of [the mixture, ...tracks]. A solo beats every mute. */
export function gains(mixer, hears) {
  if (hears === "mixture") return [1, ...mixer.map(() => 0)];
  const alone = mixer.some((track) => track.solo);
  return [0, ...mixer.map((track) => ((alone ? track.solo : !track.mute) ? track.level : 0))];
}

/** What tracks leave of the mixture: they and it add up to it. */
export function rest(mixture, tracks) {
  const left = mixture.slice();
  for (const track of tracks) for (let i = 0; i < left.length; i++) left[i] -= track[i];
  return left;
}

/** Where a sound that began at `from` is after `elapsed`; at its end, where it doesn't begin again, it stays. */
export function position(from, elapsed, seconds, loop) {
  const at = from + Math.max(0, elapsed);
  return loop ? at % seconds : Math.min(at, seconds);
}

const QUANTUM = 128; // samples that a browser computes at once: what is to begin softly is told one of them before
const RAMP = 0.012; // s: shorter clicks, longer drags

export class Mixer {
  /** `mixture`: samples; `peak`: their largest; `over`: called when the sound has come to its end. */
  constructor(rate, mixture, peak, over) {
    Object.assign(this, { rate, over, seconds: mixture.length / rate, from: 0, loop: false, levels: [1] });
    this.master = 1 / Math.max(1, peak); // one for all, so that levels can be compared
    this.#hold([mixture]);
  }

  /** All sounds are channels of one buffer, and so of one source: none of them can begin a moment after another. */
  #hold(sounds) {
    this.sounds = sounds;
    this.buffer = new AudioBuffer({ length: sounds[0].length, numberOfChannels: sounds.length, sampleRate: this.rate });
    sounds.forEach((samples, i) => this.buffer.copyToChannel(samples, i));
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
    await Promise.race([this.running, new Promise((done) => setTimeout(done, 500))]);
    return this.context.state === "running";
  }

  get playing() {
    return !!this.voice;
  }

  /** Other tracks, and after them what they leave; while it plays they go on where the old ones were. */
  load(tracks) {
    const [mixture] = this.sounds;
    this.#hold(tracks.length ? [mixture, ...tracks, rest(mixture, tracks)] : [mixture]);
  }

  set(levels) {
    this.levels = levels;
    this.voice?.gains.forEach(({ gain }, i) => gain.setTargetAtTime(levels[i] ?? 0, this.context.currentTime, RAMP / 2));
  }

  repeat(loop) {
    if (this.playing) {
      Object.assign(this, { from: this.at(), since: this.context.currentTime }); // the rounds so far are over and done with
      this.voice.source.loop = loop;
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

  /** From there, or from where it is. */
  play(at) {
    const context = this.#wake(), when = context.currentTime + QUANTUM / context.sampleRate;
    const there = at ?? this.at(when), from = there > this.seconds - 0.05 ? 0 : there; // at the very end: from the beginning
    this.#fade(when);
    const out = new GainNode(context, { gain: 0 });
    out.gain.setValueAtTime(0, when);
    out.gain.linearRampToValueAtTime(1, when + RAMP);
    out.connect(this.output);
    const source = new AudioBufferSourceNode(context, { buffer: this.buffer, loop: this.loop });
    const apart = new ChannelSplitterNode(context, { numberOfOutputs: this.sounds.length });
    source.connect(apart);
    const gains = this.sounds.map((_, i) => new GainNode(context, { gain: this.levels[i] ?? 0 }));
    gains.forEach((gain, i) => apart.connect(gain, i).connect(out));
    const voice = { source, gains, out };
    source.onended = () => {
      if (this.voice !== voice) return;
      this.voice = null;
      this.from = 0;
      this.over();
    };
    source.start(when, from);
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

  /** Let the voice go, without a crack. */
  #fade(when) {
    this.voice?.out.gain.cancelScheduledValues(when);
    this.voice?.out.gain.setTargetAtTime(0, when, RAMP / 3);
    this.voice?.source.stop(when + 2 * RAMP);
    this.voice = null;
  }

  async close() {
    this.voice = null;
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

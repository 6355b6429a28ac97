// The video's own sound, all of its band and channels, in the page that needs no Python: `playback.OwnSound`. Pure but for `decoded`;
// tested by tests/listening/test_page.py.

/** The channels of a FLAC file in a packed scene, as samples of full scale 1 (`page._own`). */
export async function decoded({ flac, channels, rate, scale }) {
  const found = await new OfflineAudioContext(channels, 1, rate).decodeAudioData(flac.slice(0));
  return Array.from({ length: channels }, (_, c) => found.getChannelData(c).map((sample) => sample * scale));
}

/** `samples`: of each channel, from the first STFT frame of `separator` on. */
export class OwnSound {
  constructor(separator, samples) {
    const { scene } = separator, { times } = scene.own, n = scene.n_fft * times, hop = scene.hop * times, begin = separator.skip * times;
    Object.assign(this, { separator, samples, n, hop, fft: new RealFft(n), window: hann(n), cut: [begin, begin + scene.length * times] });
    this.weight = overlapped(this.window, separator.frames, hop);
    this.mixture = samples.map((channel) => channel.subarray(...this.cut));
  }

  /** The regions' sounds, channels of (L,) each, a frame at a time: what it returns in the end. Between two frames it can wait. */
  *tracks(regions, whole) {
    const { separator, samples, n, hop, fft, window, weight } = this, { linear, spec } = separator, size = n / 2 + 1;
    const sounds = regions.map(() => samples.map(() => new Float32Array(weight.length)));
    const [ownRe, ownIm, re, im] = [0, 0, 0, 0].map(() => new Float64Array(size)), frame = new Float64Array(n), wave = new Float64Array(n);
    for (const { t, weights, sounding } of separator.weights(regions, whole)) {
      const wide = weights.map((each, p) => sounding[p] && extended(each, spec, t * linear));
      samples.forEach((channel, c) => {
        if (!sounding.some(Boolean)) return;
        for (let i = 0; i < n; i++) frame[i] = channel[t * hop + i] * window[i];
        fft.forward(frame, ownRe, ownIm);
        sounds.forEach((sound, p) => {
          if (!sounding[p]) return;
          const { inBand, above } = wide[p];
          for (let l = 0; l < size; l++) {
            const part = l < linear ? inBand[l] : above;
            re[l] = ownRe[l] * part;
            im[l] = ownIm[l] * part;
          }
          fft.inverse(re, im, wave);
          for (let i = 0, at = t * hop; i < n; i++, at++) sound[c][at] += wave[i] * window[i];
        });
      });
      yield;
    }
    return sounds.map((sound) => sound.map((channel) => {
      const own = channel.subarray(...this.cut);
      for (let i = 0; i < own.length; i++) own[i] /= Math.max(weight[this.cut[0] + i], 1e-8);
      return own;
    }));
  }
}

/** Weights in the model's band, and above it: the share of the energy in its highest octave (`fullband.extended`). */
function extended(inBand, { re, im }, at) {
  let taken = 0, total = 0;
  for (let l = Math.floor(inBand.length / 2); l < inBand.length; l++) {
    const power = re[at + l] ** 2 + im[at + l] ** 2;
    taken += inBand[l] * power;
    total += power;
  }
  return { inBand, above: taken / Math.max(total, 1e-12) };
}

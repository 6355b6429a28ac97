// What Python does for a click, in a browser: an inner product with the feature maps, a mask, an inverse STFT (listening/page.py packs the
// scene). Pure: tested by tests/listening/test_page.py on what `Scene` gives.
// T STFT frames, F bins of the nets, F_linear of the STFT, K feature maps, P regions. Matrices lie row by row in one array.

// === THE SCENE AS IT IS PACKED ===

/** The header of a packed scene, its blobs of bytes in their places (`page.pack`). */
export function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true), begin = 4 + size;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const revive = (value) => {
    if (Array.isArray(value)) return value.map(revive);
    if (value === null || typeof value !== "object") return value;
    if (value.blob) return buffer.slice(begin + value.blob[0], begin + value.blob[1]);
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
  };
  return revive(header);
}

/** Feature maps as they are packed, bytes from the highest on, (K, F, t): as they are used, (K, t, F). float32 holds them all. */
function arranged(bytes, channels, frames, bins) {
  const packed = new Uint8Array(bytes), count = channels * frames * bins, maps = new Float32Array(count);
  for (let k = 0, from = 0; k < channels; k++) {
    for (let f = 0; f < bins; f++) {
      for (let t = 0, to = k * frames * bins + f; t < frames; t++, to += bins, from++) {
        maps[to] = (packed[from] << 8) + packed[count + from];
      }
    }
  }
  return maps;
}

const ACTIVATIONS = { // in place
  none: () => {},
  sigmoid: (x) => { for (let i = 0; i < x.length; i++) x[i] = 1 / (1 + Math.exp(-x[i])); },
  tanh: (x) => { for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]); },
  relu: (x) => { for (let i = 0; i < x.length; i++) x[i] = Math.max(0, x[i]); },
  softmax: (x) => {
    const most = Math.max(...x), sum = x.reduce((total, value) => total + Math.exp(value - most), 0);
    for (let i = 0; i < x.length; i++) x[i] = Math.exp(x[i] - most) / sum;
  },
};

export const hann = (n) => Float64Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / n));

/** The squared windows of frames, added up. */
export function overlapped(window, frames, hop) {
  const weight = new Float64Array((frames - 1) * hop + window.length);
  for (let t = 0; t < frames; t++) window.forEach((value, i) => { weight[t * hop + i] += value ** 2; });
  return weight;
}

/** Python's `round`: halves to the even number. */
const rounded = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

const REMEMBERED = 40; // regions whose logits are remembered: with one more track, the others needn't be computed again

/** The sounds of regions. `scene`: what `unpack` gives, see page.py for each of its fields. */
export class Separator {
  constructor(scene) {
    const { n_fft: n, hop, begin, end, first, length, channels, bins } = scene;
    this.scene = scene;
    this.fft = new RealFft(n);
    this.linear = n / 2 + 1;
    this.window = hann(n);
    this.samples = Float32Array.from(new Int16Array(scene.sound), (sample) => sample * (scene.peak / 32767));
    this.frames = end - begin;
    this.skip = (first - begin) * hop + n / 2; // samples before the scene
    this.mixture = this.samples.subarray(this.skip, this.skip + length);
    this.spec = this.#stft(this.samples, this.frames);
    this.weight = overlapped(this.window, this.frames, hop);
    [this.features, this.alone] = [scene.features, scene.alone].map((bytes) => new Float32Array(bytes));
    this.clusters = new Uint8Array(scene.clusters);
    this.maps = scene.windows.map(({ first: a, last: b, maps }) => arranged(maps, channels, b - a, bins));
    this.back = scene.back && { ...scene.back, weights: new Float32Array(scene.back.weights) };
    this.bank = scene.bank && { ...scene.bank, weights: new Float32Array(scene.bank.weights) };
    this.known = new Map();
  }

  /** STFT frames, one after the other, of samples that are padded already. */
  #stft(samples, frames) {
    const { window, linear, fft } = this, { hop, n_fft: n } = this.scene;
    const spec = { re: new Float32Array(frames * linear), im: new Float32Array(frames * linear) }, frame = new Float64Array(n);
    for (let t = 0; t < frames; t++) {
      for (let i = 0; i < n; i++) frame[i] = samples[t * hop + i] * window[i];
      fft.forward(frame, spec.re.subarray(t * linear, (t + 1) * linear), spec.im.subarray(t * linear, (t + 1) * linear));
    }
    return spec;
  }

  /** A region's cells in a window, as indices. */
  #cells(region, w) {
    const [rows, columns] = this.scene.grid, size = rows * columns;
    if (typeof region !== "number") return region.map(([r, c]) => r * columns + c);
    return [...Array(size).keys()].filter((cell) => this.clusters[w * size + cell] === region);
  }

  /** A region's visual feature in a window, activated: for each k, the mean over its greatest cells. (K,) or null: none of its cells. */
  #pooled(region, w) {
    const { grid: [rows, columns], channels, most, share: part } = this.scene, cells = this.#cells(region, w);
    if (!cells.length) return null;
    const features = region.length === 1 ? this.alone : this.features; // a cluster, which is a number, is no single cell
    const count = Math.max(1, rounded(Math.min(most, part * cells.length))), pooled = new Float32Array(channels);
    for (let k = 0; k < channels; k++) {
      const values = Float32Array.from(cells, (cell) => features[(w * rows * columns + cell) * channels + k]).sort();
      pooled[k] = values.subarray(-count).reduce((sum, value) => sum + value, 0) / count;
    }
    ACTIVATIONS[this.scene.image_activation](pooled);
    return pooled;
  }

  /** Logits of a region's mask in every window, (t, F) each; null where it has no cell. */
  logits(region) {
    const key = JSON.stringify(region), found = this.known.get(key) ?? this.maps.map((_, w) => this.#windowLogits(region, w));
    this.known.delete(key); // to the end: the latest is kept longest
    this.known.set(key, found);
    if (this.known.size > REMEMBERED) this.known.delete(this.known.keys().next().value);
    return found;
  }

  #windowLogits(region, w) {
    const { channels, scale, bias, windows } = this.scene, { low, step } = windows[w], feature = this.#pooled(region, w), maps = this.maps[w];
    if (!feature) return null;
    const size = maps.length / channels, factors = feature.map((value, k) => value * (scale?.[k] ?? 1));
    const logits = new Float32Array(size).fill(factors.reduce((sum, factor, k) => sum + factor * low[k] * step[k], bias));
    for (let k = 0; k < channels; k++) {
      const factor = factors[k] * step[k], from = k * size;
      if (factor) for (let i = 0; i < size; i++) logits[i] += factor * maps[from + i];
    }
    return logits;
  }

  /** Soft masks of regions, (T, F) each: neighbouring windows fade into one another. */
  #masks(regions, whole) {
    const { begin, windows, over, bins, output_activation: kind } = this.scene, logits = regions.map((region) => this.logits(region));
    const masks = regions.map(() => new Float32Array(this.frames * bins));
    windows.forEach(({ first, last, start }, w) => {
      const here = logits.map((each) => each[w] && Float32Array.from(each[w]));
      if (whole) divide(here.filter(Boolean));
      else here.filter(Boolean).forEach(ACTIVATIONS[kind]);
      masks.forEach((mask, p) => {
        for (let t = first; t < last; t++) {
          const fading = w > 0 && t < start + over, fade = fading ? Math.sin((((t - start + 0.5) / over) * Math.PI) / 2) ** 2 : 1;
          const to = (t - begin) * bins, from = (t - first) * bins;
          for (let f = 0; f < bins; f++) mask[to + f] = (fading ? (1 - fade) * mask[to + f] : 0) + (here[p] ? fade * here[p][from + f] : 0);
        }
      });
    });
    return masks;
  }

  /** What regions take of each STFT frame, one after the other: `weights` (F_linear,) of each, the same arrays every time; and which
   *  of them take anything: `regions.take`. */
  *weights(regions, whole) {
    const { bins } = this.scene, { linear } = this, masks = this.#masks(regions, whole);
    const least = whole ? 0 : this.scene.least, binary = least === 0.5;
    const soft = regions.map(() => new Float32Array(linear)), weights = regions.map(() => new Float32Array(linear));
    for (let t = 0; t < this.frames; t++) {
      const sounding = masks.map((mask, p) => {
        multiply(this.back, mask.subarray(t * bins, (t + 1) * bins), soft[p]);
        let any = false;
        for (let l = 0; l < linear; l++) {
          const weight = soft[p][l] > least ? (binary ? 1 : soft[p][l]) : 0;
          weights[p][l] = weight;
          any ||= weight !== 0;
        }
        return any;
      });
      if (!whole && regions.length > 1) share(weights, soft);
      yield { t, weights, sounding };
    }
  }

  /** The sounds of regions, which divide what several of them claim, (L,) each, and their shares of the mixture's energy; of what they
   *  leave, too: `Scene.heard`. `whole`: nothing else sounds. */
  heard(regions, whole = false) {
    const { hop, n_fft: n, length, begin, first, last } = this.scene, { linear, window, fft, spec } = this;
    const sounds = regions.map(() => new Float32Array(this.weight.length));
    const energy = new Float64Array(regions.length + 2); // of the regions, the rest and the mixture
    const re = new Float64Array(linear), im = new Float64Array(linear), wave = new Float64Array(n);
    for (const { t, weights, sounding } of this.weights(regions, whole)) {
      if (t >= first - begin && t < last - begin) this.#measure(weights, t, energy);
      sounds.forEach((sound, p) => {
        if (!sounding[p]) return; // most regions are silent most of the time
        for (let l = 0, at = t * linear; l < linear; l++, at++) {
          re[l] = spec.re[at] * weights[p][l];
          im[l] = spec.im[at] * weights[p][l];
        }
        fft.inverse(re, im, wave);
        for (let i = 0, at = t * hop; i < n; i++, at++) sound[at] += wave[i] * window[i];
      });
    }
    const cut = sounds.map((sound) => {
      const own = sound.subarray(this.skip, this.skip + length);
      for (let i = 0; i < length; i++) own[i] /= Math.max(this.weight[this.skip + i], 1e-8);
      return own;
    });
    return { sounds: cut, shares: [...energy.subarray(0, -1)].map((one) => one / Math.max(energy.at(-1), 1e-12)) };
  }

  /** Add the energy of a frame, as the map measures it. */
  #measure(weights, t, energy) {
    const { linear, spec } = this, count = weights.length;
    for (let l = 0, at = t * linear; l < linear; l++, at++) {
      const power = spec.re[at] ** 2 + spec.im[at] ** 2;
      let left = 1;
      for (let p = 0; p < count; p++) {
        left -= weights[p][l];
        energy[p] += weights[p][l] ** 2 * power;
      }
      energy[count] += left ** 2 * power;
      energy[count + 1] += power;
    }
  }

  /** Magnitudes of a sound as the nets see it, in T' columns at most: { mags: (F, T'), size: [F, T'] }. */
  spectrogram(sound, columns) {
    const { hop, n_fft: n, bins } = this.scene, { linear } = this, frames = Math.floor(sound.length / hop) + 1, every = Math.ceil(frames / columns);
    const width = Math.ceil(frames / every), mags = new Float32Array(bins * width), column = new Float32Array(bins), mag = new Float32Array(linear);
    const padded = new Float32Array(sound.length + n + hop), re = new Float64Array(linear), im = new Float64Array(linear), frame = new Float64Array(n);
    padded.set(sound, n / 2);
    for (let x = 0; x < width; x++) {
      for (let i = 0; i < n; i++) frame[i] = padded[x * every * hop + i] * this.window[i];
      this.fft.forward(frame, re, im);
      for (let l = 0; l < linear; l++) mag[l] = Math.sqrt(re[l] ** 2 + im[l] ** 2);
      multiply(this.bank, mag, column);
      for (let f = 0; f < bins; f++) mags[f * width + x] = column[f];
    }
    return { mags, size: [bins, width] };
  }
}

/** A matrix with few numbers in each row (`page.sparse`), times a vector; no matrix: one bin for each. */
function multiply(matrix, vector, out) {
  if (!matrix) return out.set(vector);
  const { first, count, weights } = matrix;
  for (let row = 0, at = 0; row < out.length; row++) {
    let sum = 0;
    for (let i = first[row], last = first[row] + count[row]; i < last; i++, at++) sum += weights[at] * vector[i];
    out[row] = sum;
  }
}

/** Masks that add up to 1: the softmax of all logits, in place. */
function divide(logits) {
  for (let i = 0; i < (logits[0]?.length ?? 0); i++) {
    let most = -Infinity, sum = 0;
    for (const each of logits) most = Math.max(most, each[i]);
    for (const each of logits) sum += each[i] = Math.exp(each[i] - most);
    for (const each of logits) each[i] /= sum;
  }
}

/** What several regions take of a bin is divided in proportion to their soft masks, in place. */
function share(weights, soft) {
  for (let l = 0; l < soft[0].length; l++) {
    let total = 0, claims = 0;
    for (let p = 0; p < soft.length; p++) {
      total += weights[p][l];
      claims += weights[p][l] ? soft[p][l] : 0;
    }
    const part = Math.min(1, Math.max(0, total)) / Math.max(claims, 1e-8);
    for (let p = 0; p < soft.length; p++) weights[p][l] &&= soft[p][l] * part;
  }
}

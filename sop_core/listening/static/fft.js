// numpy.fft for the page that needs no Python: pure, tested by tests/listening/test_page.py against numpy.

/** FFT of complex numbers whose count is a power of two, two of radix-2's steps at a time. Forwards from natural to bit-reversed order,
 *  backwards the other way: a convolution needs no other order. Unscaled, in place. */
class Radix4 {
  constructor(n) {
    this.n = n;
    this.cos = Float64Array.from({ length: n }, (_, i) => Math.cos((2 * Math.PI * i) / n));
    this.sin = Float64Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * i) / n));
    this.order = new Uint32Array(n);
    for (let i = 1; i < n; i++) this.order[i] = (this.order[i >> 1] >> 1) | (i & 1 ? n >> 1 : 0);
    this.odd = Math.log2(n) % 2 === 1; // then one step is left
  }

  forward(re, im) {
    const { n, cos, sin } = this;
    for (let size = n; size >= 4; size >>= 2) {
      const q = size >> 2, stride = n / size;
      for (let j = 0; j < q; j++) {
        const w = j * stride, c1 = cos[w], s1 = sin[w], c2 = cos[2 * w], s2 = sin[2 * w], c3 = cos[3 * w], s3 = sin[3 * w];
        for (let a = j; a < n; a += size) {
          const b = a + q, c = b + q, d = c + q;
          const r0 = re[a] + re[c], i0 = im[a] + im[c], r1 = re[b] + re[d], i1 = im[b] + im[d];
          const r2 = re[a] - re[c], i2 = im[a] - im[c], r3 = re[b] - re[d], i3 = im[b] - im[d];
          const xr = r0 - r1, xi = i0 - i1, yr = r2 + i3, yi = i2 - r3, zr = r2 - i3, zi = i2 + r3;
          re[a] = r0 + r1;
          im[a] = i0 + i1;
          re[b] = xr * c2 + xi * s2;
          im[b] = xi * c2 - xr * s2;
          re[c] = yr * c1 + yi * s1;
          im[c] = yi * c1 - yr * s1;
          re[d] = zr * c3 + zi * s3;
          im[d] = zi * c3 - zr * s3;
        }
      }
    }
    if (this.odd) this.#pairs(re, im);
  }

  backward(re, im) {
    const { n, cos, sin } = this;
    if (this.odd) this.#pairs(re, im);
    for (let size = this.odd ? 8 : 4; size <= n; size <<= 2) {
      const q = size >> 2, stride = n / size;
      for (let j = 0; j < q; j++) {
        const w = j * stride, c1 = cos[w], s1 = sin[w], c2 = cos[2 * w], s2 = sin[2 * w], c3 = cos[3 * w], s3 = sin[3 * w];
        for (let a = j; a < n; a += size) {
          const b = a + q, c = b + q, d = c + q;
          const xr = re[b] * c2 - im[b] * s2, xi = re[b] * s2 + im[b] * c2, yr = re[c] * c1 - im[c] * s1, yi = re[c] * s1 + im[c] * c1;
          const zr = re[d] * c3 - im[d] * s3, zi = re[d] * s3 + im[d] * c3;
          const r0 = re[a] + xr, i0 = im[a] + xi, r1 = re[a] - xr, i1 = im[a] - xi, r2 = yr + zr, i2 = yi + zi, r3 = yr - zr, i3 = yi - zi;
          re[a] = r0 + r2;
          im[a] = i0 + i2;
          re[b] = r1 - i3;
          im[b] = i1 + r3;
          re[c] = r0 - r2;
          im[c] = i0 - i2;
          re[d] = r1 + i3;
          im[d] = i1 - r3;
        }
      }
    }
  }

  #pairs(re, im) {
    for (let a = 0; a + 1 < this.n; a += 2) {
      const r = re[a] - re[a + 1], i = im[a] - im[a + 1];
      re[a] += re[a + 1];
      im[a] += im[a + 1];
      re[a + 1] = r;
      im[a + 1] = i;
    }
  }

  transform(re, im) {
    this.forward(re, im);
    this.order.forEach((j, i) => {
      if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
    });
  }
}

/** FFT of any count of complex numbers, by Bluestein: a convolution with a chirp. In place. */
class Chirp {
  constructor(n) {
    this.n = n;
    this.fft = new Radix4(2 ** Math.ceil(Math.log2(2 * n - 1)));
    const m = this.fft.n, angle = (j) => (Math.PI * ((j * j) % (2 * n))) / n;
    this.cos = Float64Array.from({ length: n }, (_, j) => Math.cos(angle(j)));
    this.sin = Float64Array.from({ length: n }, (_, j) => Math.sin(angle(j)));
    [this.re, this.im, this.chirpRe, this.chirpIm] = [0, 0, 0, 0].map(() => new Float64Array(m));
    for (let j = 0; j < n; j++) {
      for (const at of [j, (m - j) % m]) [this.chirpRe[at], this.chirpIm[at]] = [this.cos[j] / m, this.sin[j] / m];
    }
    this.fft.forward(this.chirpRe, this.chirpIm);
  }

  transform(re, im) {
    const { n, cos, sin, re: a, im: b, chirpRe, chirpIm } = this;
    for (let j = 0; j < n; j++) {
      a[j] = re[j] * cos[j] + im[j] * sin[j];
      b[j] = im[j] * cos[j] - re[j] * sin[j];
    }
    a.fill(0, n);
    b.fill(0, n);
    this.fft.forward(a, b);
    for (let j = 0; j < a.length; j++) {
      const r = a[j];
      a[j] = r * chirpRe[j] - b[j] * chirpIm[j];
      b[j] = r * chirpIm[j] + b[j] * chirpRe[j];
    }
    this.fft.backward(a, b);
    for (let j = 0; j < n; j++) {
      re[j] = a[j] * cos[j] + b[j] * sin[j];
      im[j] = b[j] * cos[j] - a[j] * sin[j];
    }
  }
}

/** numpy's `rfft` and `irfft` of an even count of samples, by a complex FFT of half as many. */
export class RealFft {
  constructor(n) {
    const half = n / 2;
    this.n = n;
    this.fft = half & (half - 1) ? new Chirp(half) : new Radix4(half);
    this.cos = Float64Array.from({ length: half + 1 }, (_, k) => Math.cos((2 * Math.PI * k) / n));
    this.sin = Float64Array.from({ length: half + 1 }, (_, k) => Math.sin((2 * Math.PI * k) / n));
    [this.re, this.im] = [new Float64Array(half), new Float64Array(half)];
  }

  /** n samples -> the n / 2 + 1 complex numbers in `re` and `im`. */
  forward(samples, re, im) {
    const { re: a, im: b, cos, sin } = this, half = this.n / 2;
    for (let j = 0; j < half; j++) [a[j], b[j]] = [samples[2 * j], samples[2 * j + 1]];
    this.fft.transform(a, b);
    for (let k = 0; k <= half; k++) {
      const i = k % half, j = (half - k) % half;
      const evenRe = (a[i] + a[j]) / 2, evenIm = (b[i] - b[j]) / 2, oddRe = (b[i] + b[j]) / 2, oddIm = (a[j] - a[i]) / 2;
      re[k] = evenRe + oddRe * cos[k] + oddIm * sin[k];
      im[k] = evenIm + oddIm * cos[k] - oddRe * sin[k];
    }
  }

  /** The other way. What is imaginary at both ends doesn't count. */
  inverse(re, im, samples) {
    const { re: a, im: b, cos, sin } = this, half = this.n / 2;
    for (let k = 0; k < half; k++) {
      const j = half - k, low = k ? im[k] : 0, high = k ? im[j] : 0;
      const evenRe = re[k] + re[j], evenIm = low - high, r = re[k] - re[j], i = low + high;
      const oddRe = r * cos[k] - i * sin[k], oddIm = i * cos[k] + r * sin[k];
      a[k] = evenRe - oddIm;
      b[k] = evenIm + oddRe;
    }
    this.fft.transform(b, a); // the other way round: backwards
    for (let j = 0; j < half; j++) [samples[2 * j], samples[2 * j + 1]] = [a[j] / this.n, b[j] / this.n];
  }
}

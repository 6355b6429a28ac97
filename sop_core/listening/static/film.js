// The pictures of the player. Each is decoded when it is needed: all of them at once would be hundreds of megabytes.

const [AHEAD, KEPT] = [12, 120]; // pictures decoded before they are due, and held at most

/** The pictures, decoded shortly before they are due. `ready(k)` is called when one is, `broken(k, error)` where it can't be. */
class Film {
  constructor(view, sizes, ready, broken) {
    let at = view.byteOffset;
    this.files = sizes.map((size) => new Blob([new Uint8Array(view.buffer, (at += size) - size, size)], { type: view.getUint8(0) === 0x52 ? "image/webp" : "image/jpeg" }));
    Object.assign(this, { ready, broken, pictures: new Map() }); // by number; null: on its way
  }

  at(k) {
    const count = this.files.length;
    for (let i = 0; i < Math.min(AHEAD, count); i++) this.#decode((k + i) % count);
    return this.pictures.get(k);
  }

  #decode(k) {
    const fresh = !this.pictures.has(k), known = this.pictures.get(k) ?? null;
    this.pictures.delete(k); // to the end: what was asked for last is kept longest
    this.pictures.set(k, known);
    if (!fresh) return;
    this.#drop([...this.pictures.keys()].slice(0, -KEPT));
    createImageBitmap(this.files[k]).then((bitmap) => {
      if (!this.pictures.has(k) || this.pictures.get(k)) return bitmap.close(); // too late, or there already
      this.pictures.set(k, bitmap);
      return this.ready(k);
    }, (e) => this.broken(k, e));
  }

  #drop(numbers) {
    for (const k of numbers) {
      this.pictures.get(k)?.close();
      this.pictures.delete(k);
    }
  }

  close() {
    this.#drop([...this.pictures.keys()]);
  }
}

// What the player's page saves, as files: pure, tested by tests/listening/files.test.mjs, where Python reads what it writes.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** The checksum of zip and png. */
export const crc32 = (bytes) => ~bytes.reduce((sum, byte) => CRC[(sum ^ byte) & 255] ^ (sum >>> 8), ~0) >>> 0;

/** Bytes of a zip of [{ name, bytes }], not compressed: sound hardly gets smaller. Names are UTF-8; all are of 1980. */
export function zip(files) {
  const local = [], central = [], text = new TextEncoder();
  let at = 0;
  const head = (size, fields) => {
    const view = new DataView(new ArrayBuffer(size));
    for (const [place, bytes, value] of fields) bytes === 2 ? view.setUint16(place, value, true) : view.setUint32(place, value, true);
    return new Uint8Array(view.buffer);
  };
  for (const { name, bytes } of files) {
    const letters = text.encode(name), crc = crc32(bytes), [size, long] = [bytes.length, letters.length];
    // version 2.0, names in UTF-8, stored, 1 January 1980, checksum, sizes
    const common = (i) => [[i, 2, 20], [i + 2, 2, 0x800], [i + 8, 2, 0x21], [i + 10, 4, crc], [i + 14, 4, size], [i + 18, 4, size], [i + 22, 2, long]];
    central.push(head(46, [[0, 4, 0x02014b50], [4, 2, 20], ...common(6), [42, 4, at]]), letters);
    local.push(head(30, [[0, 4, 0x04034b50], ...common(4)]), letters, bytes);
    at += 30 + long + size;
  }
  const index = central.reduce((sum, part) => sum + part.length, 0), count = files.length;
  const end = head(22, [[0, 4, 0x06054b50], [8, 2, count], [10, 2, count], [12, 4, index], [16, 4, at]]);
  const parts = [...local, ...central, end], whole = new Uint8Array(at + index + 22);
  parts.reduce((place, part) => (whole.set(part, place), place + part.length), 0);
  return whole;
}

/** A name for each: that of `fileName`, with a number before it; no two are alike. */
export const numbered = (names) => names.map((name, i) => `${String(i + 1).padStart(String(names.length).length, "0")} ${fileName(name)}`);

/** The JSON of a player's regions and levels, as `PixelPlayer.to_json` writes it (listening/saved.py). */
export const playerFile = ({ grid, start, seconds, whole, regions, mixer }) =>
  JSON.stringify({ player: 1, grid, start, seconds, whole, regions, mixer });

/** The sum of sounds times gains, channel by channel. */
export function mixed(sounds, gains) {
  return sounds[0].map((channel, c) => {
    const out = new Float32Array(channel.length);
    sounds.forEach((sound, k) => {
      if (gains[k]) for (let i = 0; i < out.length; i++) out[i] += gains[k] * sound[Math.min(c, sound.length - 1)][i];
    });
    return out;
  });
}

/** The factor by which sounds fit files: 1, or less if one of them would clip. One for all, so that they still add up. */
export function fitting(sounds) {
  const louder = (most, x) => Math.max(most, Math.abs(x));
  return 1 / sounds.flat().reduce((most, channel) => channel.reduce(louder, most), 1);
}

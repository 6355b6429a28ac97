// The page's arithmetic on what Python has written, for test_page.py: node separator.mjs FOLDER.
// fft.json: signals -> spectra and back. scene.bin and ask.json: the sounds of regions, float32 one after the other, into sounds.f32.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const read = (name) => readFileSync(new URL(`../../sop_core/listening/static/${name}.js`, import.meta.url), "utf8");
const source = ["geometry", "files", "mixer", "film", "parts", "player", "fft", "separator", "band", "page"].map(read).join("\n");
const { Local, OwnSound, RealFft, Separator, regionName, trackName, unpack } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const folder = process.argv[2], at = (name) => join(folder, name), json = (name) => JSON.parse(readFileSync(at(name)));

if (existsSync(at("fft.json"))) {
  const answers = json("fft.json").map((signal) => {
    const n = signal.length, fft = new RealFft(n), [re, im] = [new Float64Array(n / 2 + 1), new Float64Array(n / 2 + 1)], back = new Float64Array(n);
    fft.forward(signal, re, im);
    fft.inverse(re, im, back);
    return { re: [...re], im: [...im], back: [...back] };
  });
  writeFileSync(at("spectra.json"), JSON.stringify(answers));
}

if (existsSync(at("scene.bin"))) {
  const bytes = readFileSync(at("scene.bin")), scene = unpack(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const separator = new Separator(scene), told = { ms: [], names: [], tracks: [], shares: [] }, sounds = [];
  for (const { regions, whole } of json("ask.json")) {
    const began = performance.now();
    const heard = separator.heard(regions, whole), clusters = scene.traits.legend.map(({ name }) => name), taken = new Set();
    sounds.push(...heard.sounds);
    told.ms.push(performance.now() - began);
    told.shares.push(heard.shares);
    told.names.push(...regions.map((region) => regionName(region, clusters)));
    told.tracks.push(regions.map((region) => {
      const name = trackName(region, scene, clusters, taken);
      taken.add(name);
      return name;
    }));
  }
  if (existsSync(at("own.f32"))) { // (C, l), as a browser decodes it
    const all = new Float32Array(new Uint8Array(readFileSync(at("own.f32"))).buffer), long = all.length / scene.own.channels;
    const own = new OwnSound(separator, Array.from({ length: scene.own.channels }, (_, c) => all.subarray(c * long, (c + 1) * long)));
    const tracks = json("ask.json").flatMap(({ regions, whole }) => {
      const began = performance.now(), steps = own.tracks(regions, whole);
      let step = steps.next();
      while (!step.done) step = steps.next();
      (told.fullMs ??= []).push(performance.now() - began);
      return step.value.flat();
    });
    writeFileSync(at("full.f32"), Buffer.concat(tracks.map((track) => Buffer.from(Float32Array.from(track).buffer))));
  }
  writeFileSync(at("sounds.f32"), Buffer.concat(sounds.map((sound) => Buffer.from(Float32Array.from(sound).buffer))));
  const { model } = new Local(scene), { pixels, size } = model.get("pictures").rows[0]; // of the mixture
  writeFileSync(at("told.json"), JSON.stringify({ ...told, size, pixels: [...new Uint8Array(pixels.buffer)], share: model.get("mixture").share }));
  process.exit(0); // `Local` has something to answer: not here
}

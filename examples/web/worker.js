// Runs the models away from the page, which stays alive. A request {kind, ...} is answered by
// {progress}, any number of times, and then {result} or {failure}; to cancel, end the worker.
import factory from './sequin_module.js';
import {Sequin} from './sequin.js';

const files = {
  departures: ['config.json', 'weights.safetensors', 'scaler.csv'],
  separate: ['config.json', 'weights.safetensors'],
  bytes: ['config.json', 'weights.safetensors'],
};
const loaded = new Map();
let separator;

// The folder of a model's files, which are served beside this one.
async function model(sequin, name) {
  if (loaded.has(name)) return loaded.get(name);
  const folder = `/weights/${name}`;
  await Promise.all(files[name].map(async (file) => {
    const response = await fetch(`weights/${name}/${file}`);
    if (!response.ok)
      throw new Error(`weights/${name}/${file}: expected the model's file, found status ` +
                      `${response.status}`);
    sequin.write(`${folder}/${file}`, new Uint8Array(await response.arrayBuffer()));
  }));
  loaded.set(name, folder);
  return folder;
}

async function forecast(sequin, {name, bytes, holdout}) {
  const folder = await model(sequin, 'departures');
  const path = name.replaceAll('/', '_');
  sequin.write(path, new Uint8Array(bytes));
  try {
    return sequin.forecast(folder, path, {holdout});
  } finally {
    sequin.remove(path);
  }
}

async function separate(sequin, {name, samples}) {
  separator ??= sequin.separator(await model(sequin, 'separate'));
  const began = performance.now();
  const speakers = separator.run(name, samples, (done, all) => postMessage({progress: {done, all}}));
  return {speakers, rate: separator.rate, milliseconds: performance.now() - began};
}

// A byte after the logits, by chance among the likeliest 40; `random` is in [0, 1).
function choose(logits, random) {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]).slice(0, 40);
  const weights = order.map((i) => Math.exp((logits[i] - logits[order[0]]) / 0.8));
  let left = random * weights.reduce((a, b) => a + b);
  return order[weights.findIndex((w) => (left -= w) < 0)] ?? order[0];
}

// The smallest step of the clock, in ms: browsers make it coarse.
function clockStep() {
  let smallest = Infinity;
  for (let i = 0; i < 20; ++i) {
    const began = performance.now();
    let now = began;
    while (now === began) now = performance.now();
    smallest = Math.min(smallest, now - began);
  }
  return smallest;
}

async function latency(sequin, {prompt, steps, block}) {
  const folder = await model(sequin, 'bytes');
  const writer = sequin.stream(folder);
  const reader = sequin.stream(folder);
  const clock = clockStep();
  const written = Array.from(new TextEncoder().encode(prompt || ' '));
  written.forEach((byte) => writer.step(byte));
  let state = 1;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const blocks = [];  // ms a step
  let worst = 0;
  let told = performance.now();
  for (let read = 0; read < steps; read += block) {
    while (written.length < read + block) {
      written.push(choose(writer.logits(), random()));
      writer.step(written.at(-1));
    }
    const began = performance.now();
    let before = began;
    for (let i = 0; i < block; ++i) {
      reader.step(written[read + i]);
      const now = performance.now();
      worst = Math.max(worst, now - before);
      before = now;
    }
    blocks.push((before - began) / block);
    if (before - told > 60 || read + block >= steps) {
      told = before;
      postMessage({progress: {done: read + block, all: steps, blocks: blocks.slice(), worst, clock,
                              text: new TextDecoder().decode(Uint8Array.from(written))}});
    }
  }
  writer.destroy();
  reader.destroy();
  return {};
}

const about = (sequin) => ({version: sequin.version, instructionSet: sequin.instructionSet});

// Files that are dropped lie by themselves, whatever their names.
const sequin = Sequin.load(factory).then((loaded) => loaded.enter('/input'));
sequin.catch(() => {});
self.onmessage = async ({data}) => {
  try {
    const work = {about, forecast, separate, latency}[data.kind];
    postMessage({result: await work(await sequin, data)});
  } catch (error) {
    postMessage({failure: error.message || String(error)});
  }
};

// The module alone, in node: reference cases, the native program's answers, and refusals.
//   node tests/web/module_test.js FOLDER   (with sequin_module.js and what is beside it)
import assert from 'node:assert/strict';
import {webcrypto} from 'node:crypto';
import {readFileSync, statSync} from 'node:fs';
import {resolve} from 'node:path';
import test from 'node:test';
import {fileURLToPath, pathToFileURL} from 'node:url';

import {readSafetensors, relativeError} from './golden.js';

const folder = resolve(process.argv[2] ?? 'build/web/bin/web');
const root = fileURLToPath(new URL('../..', import.meta.url));
const expected = JSON.parse(readFileSync(new URL('expected.json', import.meta.url)));

// The module is made for a worker of a page; of that it asks where it is, and for random numbers.
globalThis.crypto ??= webcrypto;
globalThis.importScripts = () => {};
globalThis.self = {location: {href: pathToFileURL(`${folder}/worker.js`).href}};
const {Sequin, SequinError} = await import(pathToFileURL(`${folder}/sequin.js`).href);
const {default: factory} = await import(pathToFileURL(`${folder}/sequin_module.js`).href);
const wasmBinary = readFileSync(`${folder}/sequin_module.wasm`);
const sequin = await Sequin.load(factory, {wasmBinary});

function put(from, to, files = ['config.json', 'weights.safetensors']) {
  for (const file of files) sequin.write(`${to}/${file}`, readFileSync(`${from}/${file}`));
  return to;
}
const refusal = (work) => {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof SequinError, String(error));
    return error.message;
  }
  assert.fail('expected a SequinError');
};

test('is compiled for 128-bit registers', () => {
  assert.equal(sequin.instructionSet, 'wasm128');
  assert.match(sequin.version, /^\d+\.\d+\.\d+$/);
});

for (const name of ['norm_marks_attn', 'norm_nomarks_train', 'nonorm_nomarks_relu'])
  test(`forecasts the reference case itransformer/${name}`, () => {
    const from = `${root}/tests/data/golden/itransformer/${name}`;
    const io = readSafetensors(`${from}/io.safetensors`);
    const forecaster = sequin.forecaster(put(from, `/golden/${name}`));
    const x = io['input.x_enc'];
    const marks = io['input.x_mark_enc'];
    const y = io['output.dec_out'];
    const [batch, steps, columns] = x.shape;
    assert.equal(forecaster.steps, steps);
    for (let b = 0; b < batch; ++b) {
      const row = ({shape, data}, i) => data.slice(i * shape[1] * shape[2], (i + 1) * shape[1] * shape[2]);
      let m = null;
      if (marks) {
        m = new Float32Array((steps + forecaster.horizon) * marks.shape[2]);
        m.set(row(marks, b));
      }
      assert.ok(relativeError(forecaster.run(row(x, b), columns, m), row(y, b)) < 1e-5);
    }
    forecaster.destroy();
  });

test('streams the reference case mamba/rms_tied', () => {
  const from = `${root}/tests/data/golden/mamba/rms_tied`;
  const stream = sequin.stream(put(from, '/golden/rms_tied'));
  const io = readSafetensors(`${from}/io.safetensors`);
  const logits = io['output.logits'];
  const bytes = readFileSync(`${from}/io.safetensors`);
  const length = Number(bytes.readBigUInt64LE(0));
  const ids = JSON.parse(bytes.toString('utf8', 8, 8 + length))['input.input_ids'];
  const at = 8 + length + ids.data_offsets[0];
  const steps = logits.shape[1];
  const size = ids.dtype === 'I32' ? 4 : 8;
  for (let t = 0; t < steps; ++t) {
    stream.step(bytes.readInt32LE(at + size * t));
    const want = logits.data.slice(t * stream.vocabulary, (t + 1) * stream.vocabulary);
    assert.ok(relativeError(stream.logits(), want) < 2e-5);
  }
  assert.match(refusal(() => stream.step(10 ** 6)), /token: expected 0 to/);
  stream.destroy();
});

test('forecasts the bundled CSV as the native program does', () => {
  const model = put(`${folder}/weights/departures`, '/weights/departures',
                    ['config.json', 'weights.safetensors', 'scaler.csv']);
  sequin.write('departures.csv', readFileSync(`${folder}/data/us_departures.csv`));
  const result = sequin.forecast(model, 'departures.csv');
  assert.deepEqual(result.columns, expected.forecast.columns);
  assert.deepEqual(result.future, expected.forecast.future);
  assert.ok(relativeError(result.values, expected.forecast.values) < 1e-5);
  assert.equal(result.history.length, 336 * 7);
  const lines = new TextDecoder().decode(result.csv).trim().split('\n');
  assert.equal(lines.length, 49);
  assert.deepEqual(lines.slice(1).flatMap((line) => line.split(',').slice(1).map(Number)),
                   result.values);
  const holdout = sequin.forecast(model, 'departures.csv', {holdout: true});
  assert.equal(holdout.truth.length, 48 * 7);
  assert.equal(holdout.times.at(-1), '2001-06-29 23:30:00');
});

test('refuses tables in the words of the program', () => {
  const forecast = (text) => {
    sequin.write('bad.csv', new TextEncoder().encode(text));
    return refusal(() => sequin.forecast('/weights/departures', 'bad.csv'));
  };
  const head = 'date,ORD,DFW,ATL,LAX,PHX,STL,DTW\n';
  assert.equal(forecast(`${head}2001-01-01 00:00:00,1,2,x,4,5,6,7\n`),
               "bad.csv:2: column 'ATL': expected a number, found 'x'");
  assert.equal(forecast(`${head}2001-01-01 00:00:00,1,2,3,4,5,6,7\n`),
               'bad.csv: expected at least 336 rows, found 1');
  assert.match(refusal(() => sequin.forecast('/weights/nowhere', 'bad.csv')),
               /config\.json: expected a file, found none/);
});

test('separates the bundled WAV as the native program does', () => {
  const separator = sequin.separator(put(`${folder}/weights/separate`, '/weights/separate'));
  assert.equal(separator.rate, 8000);
  const wav = readFileSync(`${folder}/data/two_voices.wav`);
  const mixture = Float32Array.from({length: (wav.length - 44) / 2},
                                    (_, i) => wav.readInt16LE(44 + 2 * i) / 32768);
  let done = 0;
  const speakers = separator.run('two_voices.wav', mixture, (d) => (done = d));
  assert.equal(done, mixture.length);
  assert.equal(speakers.length, 2);
  speakers.forEach((samples, s) => {
    const some = samples.filter((_, i) => i % 400 === 0);
    assert.ok(relativeError(some, expected.speakers[s].every400th) < 1e-4);
  });
  assert.match(refusal(() => separator.run('short.wav', new Float32Array(3))),
               /^short\.wav: expected at least 48 samples at 8000 Hz, found 3$/);
  separator.destroy();
});

test('is small enough to be sent', () => {
  assert.ok(statSync(`${folder}/sequin_module.wasm`).size < 2e6);
});

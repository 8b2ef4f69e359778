// Writes expected.json, what the native program answers:
//   node tests/web/make_expected.js build/release/bin/sequin
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const program = process.argv[2];
const work = mkdtempSync(join(tmpdir(), 'sequin-web-'));
const run = (...words) => execFileSync(program, words, {encoding: 'utf8'});

run('forecast', `${root}/examples/weights/departures`, '--input',
    `${root}/examples/data/us_departures.csv`, '-o', `${work}/forecast.csv`);
const [header, ...rows] = readFileSync(`${work}/forecast.csv`, 'utf8').trim().split('\n');
const forecast = {
  columns: header.split(',').slice(1),
  future: rows.map((row) => row.split(',')[0]),
  values: rows.flatMap((row) => row.split(',').slice(1).map(Number)),
};

run('separate', `${root}/examples/data/two_voices.wav`, '--model',
    `${root}/examples/weights/separate`, '-o', work);
const speakers = [1, 2].map((s) => {
  const wav = readFileSync(`${work}/two_voices_speaker${s}.wav`);
  const at = wav.indexOf('data') + 8;
  const samples = new Float32Array(Uint8Array.from(wav.subarray(at)).buffer.slice(0, 4 * 32000));
  return {
    energy: samples.reduce((sum, x) => sum + x * x, 0),
    every400th: Array.from(samples.filter((_, i) => i % 400 === 0)),
  };
});
rmSync(work, {recursive: true});
writeFileSync(new URL('expected.json', import.meta.url), JSON.stringify({forecast, speakers}) + '\n');

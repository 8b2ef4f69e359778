// The page in a headless Chromium, by the WebDriver protocol; no packages.
//   node tests/web/page_test.js FOLDER CHROMEDRIVER CHROMIUM [SCREENSHOT.png]
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {tmpdir} from 'node:os';
import {extname, join, normalize, resolve} from 'node:path';
import {after, before, test} from 'node:test';

import {relativeError} from './golden.js';

const [folderArgument, driverPath, chromiumPath, screenshot] = process.argv.slice(2);
const folder = resolve(folderArgument);
const expected = JSON.parse(readFileSync(new URL('expected.json', import.meta.url)));
const work = mkdtempSync(join(tmpdir(), 'sequin-page-'));
const types = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm',
               '.svg': 'image/svg+xml', '.json': 'application/json'};

// A server of static files, and a proxy that refuses whatever is asked of anybody else: the browser
// asks its maker this and that.
const served = [];
const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname));
  served.push(`${request.method} ${path}`);
  try {
    const body = readFileSync(join(folder, path.endsWith('/') ? `${path}index.html` : path));
    response.writeHead(200, {'content-type': types[extname(path)] ?? (path.endsWith('/') ? 'text/html' : 'application/octet-stream')});
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
});
const proxy = createServer((_, response) => response.writeHead(502).end());
proxy.on('connect', (_, socket) => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
const listen = (what) => new Promise((done) => what.listen(0, '127.0.0.1', () => done(what.address().port)));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let driver;
let driverPort;
let session;
let origin;

async function command(method, path, body) {
  const response = await fetch(`http://127.0.0.1:${driverPort}${path}`, {
    method, headers: {'content-type': 'application/json'}, body: body && JSON.stringify(body)});
  const {value} = await response.json();
  if (value && value.error) throw new Error(`${path}: ${value.error}: ${value.message.split('\n')[0]}`);
  return value;
}
const page = (method, path, body) => command(method, `/session/${session}${path}`, body);
const run = (script, ...args) => page('POST', '/execute/sync', {script, args});
async function element(selector) {
  const found = await page('POST', '/element', {using: 'css selector', value: selector});
  return Object.values(found)[0];
}
const click = async (selector) => page('POST', `/element/${await element(selector)}/click`, {});
const press = async (...keys) => page('POST', '/actions', {actions: [{type: 'key', id: 'keys',
  actions: keys.flatMap((value) => [{type: 'keyDown', value}, {type: 'keyUp', value}])}]});
const status = (id) => run('return document.querySelector(`#${arguments[0]} [data-status]`).textContent', id);
const failed = (id) => run('return document.querySelector(`#${arguments[0]} [data-status]`).classList.contains("failed")', id);
const busy = (id) => run('return document.getElementById(arguments[0]).getAttribute("aria-busy") === "true"', id);

async function until(what, condition, seconds = 60) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; await sleep(30))
    if (await condition()) return;
  assert.fail(`waited ${seconds} s for ${what}`);
}
const finished = (id) => until(`${id} to finish`, async () => !(await busy(id)));

// Drops a file of this text, or of what the page's server has under a path, onto a section.
const drop = (id, name, {text, path}) => page('POST', '/execute/async', {script: `
  const [id, name, text, path, done] = arguments;
  const contents = text === null ? fetch(path).then((r) => r.arrayBuffer()) : Promise.resolve(text);
  contents.then((c) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([c], name));
    const event = (type) => new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true});
    const section = document.getElementById(id);
    section.dispatchEvent(event('dragover'));
    section.dispatchEvent(event('drop'));
    done();
  });`, args: [id, name, text ?? null, path ?? null]});

before(async () => {
  origin = `http://127.0.0.1:${await listen(server)}`;
  const proxyPort = await listen(proxy);
  driver = spawn(driverPath, ['--port=0'], {stdio: ['ignore', 'pipe', 'ignore']});
  driverPort = await new Promise((done, fail) => {
    let text = '';
    driver.on('error', fail);
    driver.on('exit', () => fail(new Error(`chromedriver ended: ${text}`)));
    driver.stdout.on('data', (data) => {
      text += data;
      const match = /started successfully on port (\d+)/.exec(text);
      if (match) done(match[1]);
    });
  });
  const {sessionId} = await command('POST', '/session', {capabilities: {alwaysMatch: {
    browserName: 'chrome',
    'goog:loggingPrefs': {browser: 'ALL'},
    'goog:chromeOptions': {binary: chromiumPath, args: [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--mute-audio',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--no-first-run', '--window-size=1080,1000', `--user-data-dir=${work}/profile`,
      `--log-net-log=${work}/net.json`, `--proxy-server=http://127.0.0.1:${proxyPort}`]},
  }}});
  session = sessionId;
  await page('POST', '/timeouts', {script: 20000, pageLoad: 20000});
  await page('POST', '/url', {url: `${origin}/`});
  await run(`window.results = {};
    for (const id of ['forecast', 'separate', 'latency'])
      document.getElementById(id).addEventListener('result', ({detail}) => (results[id] = detail));`);
});
after(async () => {
  if (session) await command('DELETE', `/session/${session}`).catch(() => {});
  driver?.kill();
  server.close();
  proxy.close();
  server.closeAllConnections();
  proxy.closeAllConnections();
  rmSync(work, {recursive: true, force: true, maxRetries: 5, retryDelay: 200});
});

test('says what it runs', async () => {
  await until('the module', async () => (await run('return document.getElementById("about").textContent')) !== '');
  assert.match(await run('return document.getElementById("about").textContent'), /^Sequin \d.*wasm128$/);
});

test('forecasts a dropped CSV as the native program does', async () => {
  await drop('forecast', 'mine.csv', {path: 'data/us_departures.csv'});
  await finished('forecast');
  assert.match(await status('forecast'), /^mine\.csv: 48 steps of 7 columns from 2001-07-01 00:00:00\./);
  const {values, columns} = await run('const {values, columns} = results.forecast; return {values, columns}');
  assert.deepEqual(columns, expected.forecast.columns);
  assert.ok(relativeError(values, expected.forecast.values) < 1e-5);
  const cells = await run('return [...document.querySelectorAll("#forecast-table td")].map((td) => Number(td.textContent))');
  assert.ok(cells.every((cell, i) => Math.abs(cell - expected.forecast.values[i]) < 0.0051));
  assert.equal(await run('return document.querySelectorAll("#forecast-plot svg .line").length'), 4);
  assert.match(await run('return document.getElementById("forecast-download").href'), /^blob:/);
});

test('says in words what is wrong with a CSV', async () => {
  await drop('forecast', 'bad.csv', {text: 'date,ORD,DFW,ATL,LAX,PHX,STL,DTW\n2001-01-01 00:00:00,1,2,x,4,5,6,7\n'});
  await finished('forecast');
  assert.equal(await status('forecast'), "bad.csv:2: column 'ATL': expected a number, found 'x'");
  assert.ok(await failed('forecast'));
});

test('takes files of any name, and none at all', async () => {
  for (const name of ['weights', 'forecast.csv', 'ü "quoted" <b>.csv']) {
    await drop('forecast', name, {path: 'data/us_departures.csv'});
    await finished('forecast');
    assert.ok((await status('forecast')).startsWith(`${name}: 48 steps`), await status('forecast'));
  }
  await drop('forecast', 'empty.csv', {text: ''});
  await finished('forecast');
  assert.equal(await status('forecast'), 'empty.csv: expected a file with contents, found an empty one');
});

test('is worked by keyboard', async () => {
  await run('document.activeElement.blur(); scrollTo(0, 0)');
  let reached = '';
  for (let i = 0; i < 12 && reached !== 'holdout'; ++i) {
    await press('\uE004');  // Tab
    reached = await run('return document.activeElement.id');
  }
  assert.equal(reached, 'holdout');
  await press(' ');
  await run('document.querySelector("#forecast [data-sample]").focus()');
  await press('\uE007');  // Enter
  await until('the holdout', async () => /off what came/.test(await status('forecast')));
  assert.ok(!(await failed('forecast')));
  assert.equal(await run('return document.querySelectorAll("#forecast-plot svg .truth").length'), 2);
  await run('const c = document.getElementById("column"); c.value = "LAX"; c.onchange()');
  assert.match(await run('return document.querySelector("#forecast-plot svg").textContent'),
               /LAX \(flights per half hour\)/);
});

test('separates a chosen WAV as the native program does', async () => {
  const input = await element('#separate [data-file]');
  await page('POST', `/element/${input}/value`, {text: join(folder, 'data/two_voices.wav')});
  await until('the speakers', async () => /times as fast/.test(await status('separate')));
  await finished('separate');
  const speakers = await run(`return results.separate.speakers.map((s) =>
    Array.from(s.filter((_, i) => i % 400 === 0)))`);
  assert.equal(speakers.length, 2);
  speakers.forEach((samples, s) =>
    assert.ok(relativeError(samples, expected.speakers[s].every400th) < 1e-4));
  await until('the players', () => run(`return [...document.querySelectorAll('#sounds audio')]
    .every((a) => a.readyState >= 1)`));
  const durations = await run('return [...document.querySelectorAll("#sounds audio")].map((a) => a.duration)');
  assert.deepEqual(durations, [4, 4, 4]);
  // It plays.
  assert.ok(await page('POST', '/execute/async', {script: `
    const done = arguments[0];
    const a = document.querySelectorAll('#sounds audio')[1];
    a.ontimeupdate = () => { if (a.currentTime > 0.1) { a.pause(); a.ontimeupdate = null; done(true); } };
    a.play().catch(() => done(false));`, args: []}));
});

test('says in words that a file is no sound', async () => {
  await drop('separate', 'noise.wav', {text: 'RIFF and nothing'});
  await finished('separate');
  assert.match(await status('separate'), /^noise\.wav: expected a sound file/);
  assert.ok(await failed('separate'));
  await click('#separate [data-sample]');
  await finished('separate');
  assert.match(await status('separate'), /^two_voices\.wav: 4\.00 s of sound at 8000 Hz/);
});

test('steps a model, and stops when told', async () => {
  await click('#latency [data-sample]');
  await until('the first steps', () => run('return Boolean(results.latency)'));
  assert.ok(await busy('latency'));
  await click('#latency [data-cancel]');
  await finished('latency');
  assert.equal(await status('latency'), 'Cancelled.');
  await click('#latency [data-sample]');
  await finished('latency');
  assert.match(await status('latency'), /^2048 steps of one byte; the median step took [\d.]+ µs\.$/);
  const {text, blocks} = await run('return results.latency');
  assert.equal(blocks.length, 128);
  assert.match(text, /^In the beginning/);
  assert.ok(text.length > 1000);
});

test('asks nobody but its own server, and only for what is there', async () => {
  assert.deepEqual([...new Set(served.map((s) => s.split(' ')[0]))], ['GET']);
  const names = await run('return performance.getEntriesByType("resource").map((e) => e.name)');
  assert.ok(names.length > 5);
  assert.ok(names.every((name) => name.startsWith(`${origin}/`) || name.startsWith(`blob:${origin}/`)), names.join(' '));
  // The page's policy refuses others.
  assert.equal(await page('POST', '/execute/async', {script: `
    fetch('http://example.org/').then(() => arguments[0]('sent'), () => arguments[0]('refused'));`, args: []}), 'refused');
  const log = await page('POST', '/se/log', {type: 'browser'});
  const complaints = log.map((entry) => entry.message).filter((m) => !m.includes('example.org'));
  assert.deepEqual(complaints, []);
});

test('fits a telephone, and can be looked at', async () => {
  const look = async (width, scheme, file) => {
    await page('POST', '/goog/cdp/execute', {cmd: 'Emulation.setEmulatedMedia', params: {
      features: [{name: 'prefers-color-scheme', value: scheme}]}});
    await page('POST', '/goog/cdp/execute', {cmd: 'Emulation.setDeviceMetricsOverride', params: {
      width, height: 1000, deviceScaleFactor: 1, mobile: false}});
    const [needed, height] = await run(`scrollTo(0, 0); const d = document.documentElement;
      return [d.scrollWidth, d.scrollHeight]`);
    assert.ok(needed <= width, `${needed} of ${width}`);
    if (!screenshot) return;
    await page('POST', '/goog/cdp/execute', {cmd: 'Emulation.setDeviceMetricsOverride', params: {
      width, height, deviceScaleFactor: 1, mobile: false}});
    await sleep(300);
    writeFileSync(file, Buffer.from(await page('GET', '/screenshot'), 'base64'));
  };
  await run('document.querySelector("details").open = true');
  await look(390, 'dark', String(screenshot).replace(/\.png$/, '_narrow.png'));
  await run('document.querySelector("details").open = false');
  await look(1080, 'light', screenshot);
});

// The browser's own record of all requests names who began each, workers too. It is whole at its end.
test('lets nothing leave the page', async () => {
  await command('DELETE', `/session/${session}`);
  session = null;
  const {constants, events} = JSON.parse(readFileSync(`${work}/net.json`));
  const start = constants.logEventTypes.URL_REQUEST_START_JOB;
  const requests = events.filter((e) => e.type === start && e.params?.url).map((e) => e.params);
  const ours = requests.filter((r) => String(r.initiator).startsWith('http://127.0.0.1'));
  assert.ok(ours.some((r) => r.url.endsWith('/sequin_module.wasm')));  // which a worker asks for
  assert.ok(ours.some((r) => r.url.endsWith('/data/us_departures.csv')));
  assert.deepEqual(ours.map((r) => r.url).filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith(`blob:${origin}/`)), []);
  assert.deepEqual([...new Set(ours.map((r) => r.method))], ['GET']);
});

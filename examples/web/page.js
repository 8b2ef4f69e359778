// The page: files in, pictures and sounds out. The models run in workers (worker.js).
import {forecastPlot, histogram, waveform} from './plot.js';
import {readSound, wav} from './wav.js';

const $ = (selector, within = document) => within.querySelector(selector);
const largest = 200e6;  // bytes of a file

// An element with properties and children.
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// A section: its drop zone and buttons, its status line, and a worker of its own. `work` gets what
// was chosen and `ask`, and shows the result; what it throws is shown in words.
class Section {
  constructor(id, {sample, work}) {
    this.root = $(`#${id}`);
    this.part = (name) => $(`[data-${name}]`, this.root);
    this.work = work;
    this.part('sample').onclick = () => this.run(sample);
    this.part('cancel').onclick = () => this.cancel();
    const file = this.part('file');
    if (!file) return;
    file.onchange = () => {
      if (file.files.length) this.take(file.files[0]);
      file.value = '';
    };
    this.root.ondragover = (event) => {
      event.preventDefault();
      this.root.classList.add('over');
    };
    this.root.ondragleave = () => this.root.classList.remove('over');
    this.root.ondrop = (event) => {
      event.preventDefault();
      this.root.classList.remove('over');
      const [dropped] = event.dataTransfer.files;
      if (dropped) this.take(dropped);
      else this.say('Expected a file, found something else.', true);
    };
  }

  take(file) {
    this.run(async () => {
      if (file.size > largest)
        throw new Error(`${file.name}: expected at most ${largest / 1e6} MB, found ` +
                        `${Math.round(file.size / 1e6)} MB`);
      return {name: file.name, bytes: await file.arrayBuffer()};
    });
  }

  async run(get) {
    if (this.reject) return;
    this.say('Working …');
    this.busy(true);
    try {
      const cancelled = new Promise((_, reject) => (this.reject = reject));
      cancelled.catch(() => {});
      this.cancelled = cancelled;
      const input = await Promise.race([get(), cancelled]);
      await Promise.race([this.work(input, this), cancelled]);
    } catch (error) {
      this.say(error.message, error.message !== 'Cancelled.');
    } finally {
      this.reject = null;
      this.busy(false);
    }
  }

  // The worker's answer to a request. A worker that is ended never answers.
  ask(request, progress = () => {}, transfer = []) {
    this.worker ??= new Worker('worker.js', {type: 'module'});
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({data}) => {
        if (data.progress) progress(data.progress);
        else if (data.failure) reject(new Error(data.failure));
        else resolve(data.result);
      };
      this.worker.onerror = (event) => {
        this.end();
        reject(new Error(event.message || 'worker.js: expected a worker, found none'));
      };
      this.worker.postMessage(request, transfer);
    });
  }

  cancel() {
    this.end();
    this.reject?.(new Error('Cancelled.'));
  }
  end() {
    this.worker?.terminate();
    this.worker = null;
  }

  say(text, failed = false) {
    const status = this.part('status');
    status.textContent = text;
    status.classList.toggle('failed', failed);
  }
  advance(done, all) {
    const bar = $('progress', this.root);
    bar.max = all;
    bar.value = done;
  }
  busy(yes) {
    $('progress', this.root).removeAttribute('value');
    this.root.setAttribute('aria-busy', yes);
    const cancelHadFocus = document.activeElement === this.part('cancel');
    this.part('working').hidden = !yes;
    this.part('sample').disabled = yes;
    const file = this.part('file');
    if (file) file.disabled = yes;
    if (!yes && cancelHadFocus) this.part('sample').focus();
  }
  // Shows the result; who listens to the section's event `result` gets the numbers.
  show(detail) {
    this.part('result').hidden = false;
    this.root.dispatchEvent(new CustomEvent('result', {detail}));
  }
}

async function bundled(name) {
  const response = await fetch(`data/${name}`);
  if (!response.ok) throw new Error(`data/${name}: expected a file, found status ${response.status}`);
  return {name, bytes: await response.arrayBuffer()};
}

// A link that saves what it is given; its old contents are given back.
function offer(link, blob) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
}

// --- forecast ---

let forecast = null;

function drawForecast() {
  if (!forecast) return;
  const {columns, times, future, history, values, truth} = forecast;
  const name = $('#column').value;
  const c = columns.indexOf(name);
  const points = (moments, table) =>
    moments.map((time, t) => ({time, value: table[t * columns.length + c]}));
  // Twice as much history as forecast is enough to see the season.
  $('#forecast-plot').replaceChildren(forecastPlot({
    name,
    unit: $('#unit').value.trim(),
    past: points(times, history).slice(-2 * future.length),
    future: points(future, values),
    truth: truth.length ? points(future, truth) : [],
    room: $('#forecast-plot').clientWidth,
  }));
}

function tabulate({columns, future, values}) {
  const cells = (t) => columns.map((_, c) =>
    make('td', {textContent: values[t * columns.length + c].toFixed(2)}));
  $('#forecast-table').replaceChildren(
    make('thead', {}, make('tr', {}, make('th', {textContent: 'date', scope: 'col'}),
                           ...columns.map((n) => make('th', {textContent: n, scope: 'col'})))),
    make('tbody', {}, ...future.map((time, t) =>
      make('tr', {}, make('th', {textContent: time, scope: 'row'}), ...cells(t)))));
}

new Section('forecast', {
  sample: () => {
    $('#unit').value = 'flights per half hour';
    return bundled('us_departures.csv');
  },
  work: async ({name, bytes}, section) => {
    const holdout = $('#holdout').checked;
    const result = await section.ask({kind: 'forecast', name, bytes, holdout}, undefined, [bytes]);
    forecast = result;
    const select = $('#column');
    const before = select.value;
    select.replaceChildren(...result.columns.map((n) => make('option', {textContent: n, value: n})));
    if (result.columns.includes(before)) select.value = before;
    offer($('#forecast-download'), new Blob([result.csv], {type: 'text/csv'}));
    section.show(result);
    drawForecast();
    tabulate(result);
    let error = '';
    if (holdout) {
      const off = result.values.reduce((sum, v, i) => sum + Math.abs(v - result.truth[i]), 0);
      error = ` On average it is ${(off / result.values.length).toFixed(2)} off what came.`;
    }
    section.say(`${name}: ${result.future.length} steps of ${result.columns.length} columns from ` +
                `${result.future[0]}. Read in ${result.read_ms.toFixed(1)} ms, forecast in ` +
                `${result.model_ms.toFixed(1)} ms.${error}`);
  },
});
$('#column').onchange = drawForecast;
$('#unit').oninput = drawForecast;

// --- separation ---

function sound(title, samples, rate, file) {
  const blob = wav(samples, rate);
  const link = make('a', {className: 'button', textContent: 'Download', download: file});
  offer(link, blob);
  link.setAttribute('aria-label', `Download ${title}`);
  const player = make('audio', {controls: true, src: link.href});
  player.setAttribute('aria-label', title);
  return make('li', {}, make('b', {textContent: title}),
              waveform(samples, `${title}: loudness over time`), player, link);
}

new Section('separate', {
  sample: () => bundled('two_voices.wav'),
  work: async ({name, bytes}, section) => {
    const config = await (await fetch('weights/separate/config.json')).json();
    const rate = config.sampling_rate;
    const mixture = await readSound(name, bytes, rate);
    const {speakers, milliseconds} = await section.ask(
      {kind: 'separate', name, samples: mixture}, ({done, all}) => section.advance(done, all));
    const stem = name.replace(/\.[^.]*$/, '');
    const list = $('#sounds');
    for (const link of list.querySelectorAll('a')) URL.revokeObjectURL(link.href);
    list.replaceChildren(
      sound('Mixture', mixture, rate, `${stem}_mixture.wav`),
      ...speakers.map((samples, s) =>
        sound(`Speaker ${s + 1}`, samples, rate, `${stem}_speaker${s + 1}.wav`)));
    section.show({speakers, rate});
    const seconds = mixture.length / rate;
    section.say(`${name}: ${seconds.toFixed(2)} s of sound at ${rate} Hz in ` +
                `${(milliseconds / 1000).toFixed(2)} s, ` +
                `${(1000 * seconds / milliseconds).toFixed(1)} times as fast as it plays.`);
  },
});

// --- latency ---

function tell(name, value) {
  return make('div', {}, make('dt', {textContent: name}), make('dd', {textContent: value}));
}

let lastSteps = null;

function drawLatency() {
  if (lastSteps)
    $('#latency-plot').replaceChildren(histogram(lastSteps, 'µs', $('#latency-plot').clientWidth));
}

function showLatency({blocks, worst, clock, text, done}) {
  const micros = blocks.map((ms) => 1000 * ms);
  const sorted = [...micros].sort((a, b) => a - b);
  const quantile = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  $('#latency-numbers').replaceChildren(
    tell('steps', String(done)),
    tell('median', `${quantile(0.5).toFixed(1)} µs`),
    tell('99 % below', `${quantile(0.99).toFixed(1)} µs`),
    tell('worst single step', `${(1000 * worst).toFixed(0)} µs`),
    tell('clock ticks every', `${(1000 * clock).toFixed(0)} µs`));
  lastSteps = micros;
  drawLatency();
  $('#written').textContent = text;
  return quantile(0.5);
}

new Section('latency', {
  sample: async () => ({prompt: $('#prompt').value}),
  work: async ({prompt}, section) => {
    let median = 0;
    await section.ask({kind: 'latency', prompt, steps: 2048, block: 16}, (progress) => {
      section.show(progress);
      section.advance(progress.done, progress.all);
      median = showLatency(progress);
    });
    section.say(`2048 steps of one byte; the median step took ${median.toFixed(1)} µs.`);
  },
});

// --- what runs here ---

const first = new Worker('worker.js', {type: 'module'});
first.onmessage = ({data}) => {
  $('#about').textContent = data.result
    ? `Sequin ${data.result.version}, ${data.result.instructionSet}`
    : `WebAssembly does not run here: ${data.failure}`;
  first.terminate();
};
first.postMessage({kind: 'about'});
addEventListener('resize', () => {
  drawForecast();
  drawLatency();
});
// A file that is dropped beside the zones must not replace the page.
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => event.preventDefault());

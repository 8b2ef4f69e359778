// Pictures as inline SVG; colours come from style.css by class.

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Round numbers from `least` to `most`, about `count` of them.
function ticks(least, most, count) {
  const raw = (most - least) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(least / step); i * step <= most + 1e-9 * step; ++i) found.push(i * step);
  return found;
}
const shown = (number) => String(Number(number.toPrecision(5)));

let width = 900;
const height = 340;
const left = 62;
const right = 14;
const top = 40;
const bottom = 54;

// As wide as there is room, so that its letters keep their size.
function frame(title, room) {
  width = Math.max(320, Math.min(900, room));
  return svg('svg', {class: 'plot', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': title},
             svg('title', {}, title));
}

function axes(plot, yTicks, y, xLabels, xTitle, yTitle) {
  for (const value of yTicks)
    plot.append(svg('line', {class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value)}),
                svg('text', {x: left - 8, y: y(value) + 4, 'text-anchor': 'end'}, shown(value)));
  for (const [at, text] of xLabels)
    plot.append(svg('line', {class: 'axis', x1: at, x2: at, y1: height - bottom, y2: height - bottom + 5}),
                svg('text', {x: at, y: height - bottom + 20, 'text-anchor': 'middle'}, text));
  plot.append(
    svg('line', {class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}),
    svg('text', {x: (left + width - right) / 2, y: height - 10, 'text-anchor': 'middle'}, xTitle),
    svg('text', {x: 16, y: (top + height - bottom) / 2, 'text-anchor': 'middle',
                 transform: `rotate(-90 16 ${(top + height - bottom) / 2})`}, yTitle));
}

// `past` and `future` are [{time, value}]; `truth`, of the future's times, may be empty.
export function forecastPlot({name, unit, past, future, truth, room}) {
  const all = [...past, ...future];
  const values = [...all, ...truth].map((p) => p.value);
  const spread = Math.max(...values) - Math.min(...values) || 1;
  const least = Math.min(...values) < 0 ? Math.min(...values) - 0.05 * spread
                                        : Math.max(0, Math.min(...values) - 0.05 * spread);
  const most = Math.max(...values) + 0.05 * spread;
  const x = (i) => left + (i / (all.length - 1)) * (width - left - right);
  const y = (v) => height - bottom - ((v - least) / (most - least)) * (height - top - bottom);
  const line = (points, first) =>
    points.map((p, i) => `${i ? 'L' : 'M'}${x(first + i).toFixed(1)} ${y(p.value).toFixed(1)}`).join('');
  const plot = frame(`${name}: ${past.length} steps of history and a forecast of ${future.length} steps ` +
                     `from ${future[0].time}`, room);
  const labels = [];
  const count = Math.min(Math.floor(width / 140), all.length);
  for (let k = 0; k < count; ++k) {
    const i = Math.round((k + 0.5) * all.length / count);
    if (i < all.length) labels.push([x(i), all[i].time.slice(5, 16)]);
  }
  plot.append(svg('rect', {class: 'now', x: x(past.length - 1), y: top,
                           width: x(all.length - 1) - x(past.length - 1), height: height - top - bottom}));
  axes(plot, ticks(least, most, 5), y, labels, `Time (month-day hour:minute, ${all[0].time.slice(0, 4)})`,
       unit ? `${name} (${unit})` : name);
  const joined = past.slice(-1);
  plot.append(svg('path', {class: 'line past', d: line(past, 0)}));
  if (truth.length)
    plot.append(svg('path', {class: 'line truth', d: line([...joined, ...truth], past.length - 1)}));
  plot.append(svg('path', {class: 'line future', d: line([...joined, ...future], past.length - 1)}));
  let at = left;
  for (const [style, text] of [['past', 'history'], ['future', 'forecast'],
                               ...(truth.length ? [['truth', 'what came']] : [])]) {
    plot.append(svg('path', {class: `line ${style}`, d: `M${at} 20h20`}),
                svg('text', {x: at + 25, y: 24}, text));
    at += Math.min(110, (width - left) / 3);
  }
  return plot;
}

// How many of `values` (microseconds) fall into each of about 30 bins; the last takes the rest.
export function histogram(values, unit, room) {
  const sorted = [...values].sort((a, b) => a - b);
  const most = Math.min(sorted.at(-1), 2.5 * sorted[sorted.length >> 1]);
  const least = sorted[0];
  const bins = 30;
  const step = (most - least) / bins || 1;
  const counts = new Array(bins).fill(0);
  for (const v of values) ++counts[Math.min(bins - 1, Math.floor((v - least) / step))];
  const x = (v) => left + ((v - least) / (step * bins)) * (width - left - right);
  const highest = Math.max(...counts);
  const y = (n) => height - bottom - (n / highest) * (height - top - bottom);
  const plot = frame(`How long steps took: from ${shown(least)} to ${shown(sorted.at(-1))} ${unit}`, room);
  axes(plot, ticks(0, highest, 4).filter(Number.isInteger), y,
       ticks(least, least + step * bins, width / 150).map((v) => [x(v), shown(v)]),
       `Time of a step (${unit}, mean of 16)`, 'Blocks of 16 steps');
  if (most < sorted.at(-1) && counts.at(-1) > 0)
    plot.append(svg('text', {x: width - right, y: top - 10, 'text-anchor': 'end'},
                    `last bar: all from ${shown(Math.round(least + (bins - 1) * step))} ${unit}`));
  counts.forEach((n, i) => {
    if (n > 0)
      plot.append(svg('rect', {class: 'bar', x: x(least + i * step) + 1, y: y(n),
                               width: (width - left - right) / bins - 2, height: height - bottom - y(n)}));
  });
  return plot;
}

// The lowest and highest sample of each of 500 pieces.
export function waveform(samples, title) {
  const pieces = 500;
  const scale = Math.max(0.05, samples.reduce((m, v) => Math.max(m, Math.abs(v)), 0));
  let upper = '';
  let lower = '';
  for (let p = 0; p < pieces; ++p) {
    const part = samples.subarray(Math.floor(p * samples.length / pieces),
                                  Math.max(Math.floor(p * samples.length / pieces) + 1,
                                           Math.floor((p + 1) * samples.length / pieces)));
    const high = part.reduce((m, v) => Math.max(m, v), 0) / scale;
    const low = part.reduce((m, v) => Math.min(m, v), 0) / scale;
    upper += `${p ? 'L' : 'M'}${p} ${(36 - 34 * high).toFixed(1)}`;
    lower = `L${p} ${(36.5 - 34 * low).toFixed(1)}${lower}`;
  }
  return svg('svg', {class: 'wave', viewBox: `0 0 ${pieces} 72`, preserveAspectRatio: 'none', role: 'img',
                     'aria-label': title},
             svg('line', {x1: 0, x2: pieces, y1: 36, y2: 36}), svg('path', {d: `${upper}${lower}Z`}));
}

// Makes us_departures.csv from the flights-3m.parquet of the npm package vega-datasets 3.2.1:
//   npm install vega-datasets@3.2.1 hyparquet@1.31.5 hyparquet-compressors@1.1.2
//   node make_us_departures.mjs node_modules/vega-datasets/data/flights-3m.parquet us_departures.csv
import { writeFileSync } from "node:fs";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";

const [source, target] = process.argv.slice(2);
const file = await asyncBufferFromFile(source);
const flights = await parquetReadObjects({ file, compressors, columns: ["date", "origin"] });

const stepMs = 30 * 60 * 1000;
const begin = Date.UTC(2001, 0, 1); // The clock is the airport's own; UTC only serves to count.
const steps = (Date.UTC(2001, 6, 1) - begin) / stepMs;

const total = new Map();
for (const { origin } of flights) total.set(origin, (total.get(origin) ?? 0) + 1);
const airports = [...total].sort((a, b) => b[1] - a[1]).slice(0, 7).map(([name]) => name);

const counts = new Map(airports.map((name) => [name, new Uint16Array(steps)]));
for (const { date, origin } of flights) {
  const step = Math.floor((date.getTime() - begin) / stepMs);
  if (counts.has(origin) && step >= 0 && step < steps) ++counts.get(origin)[step];
}

const lines = [["date", ...airports].join(",")];
for (let step = 0; step < steps; ++step) {
  const date = new Date(begin + step * stepMs).toISOString().slice(0, 19).replace("T", " ");
  lines.push([date, ...airports.map((name) => counts.get(name)[step])].join(","));
}
writeFileSync(target, lines.join("\n") + "\n");

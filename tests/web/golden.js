// The reference cases of tests/data/golden in JavaScript.
import {readFileSync} from 'node:fs';

// The float tensors of a safetensors file: name -> {shape, data}.
export function readSafetensors(path) {
  const bytes = readFileSync(path);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength));
  const tensors = {};
  for (const [name, {dtype, shape, data_offsets: [begin, end]}] of Object.entries(header)) {
    if (name === '__metadata__' || dtype !== 'F32') continue;
    const copy = bytes.subarray(8 + headerLength + begin, 8 + headerLength + end);
    tensors[name] = {shape, data: new Float32Array(Uint8Array.from(copy).buffer)};
  }
  return tensors;
}

// max |a - b| / max |b|
export function relativeError(a, b) {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let scale = 0;
  for (let i = 0; i < a.length; ++i) {
    difference = Math.max(difference, Math.abs(a[i] - b[i]));
    scale = Math.max(scale, Math.abs(b[i]));
    if (Number.isNaN(a[i])) return Infinity;
  }
  return difference / scale;
}

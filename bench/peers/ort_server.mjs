// ONNX Runtime as a peer of bench_compare, through npm's onnxruntime-node: the same questions as
// torch_server.py answers. Its graphs are those that torch_server.py exports beside the inputs. What
// a call of an empty graph takes is measured and taken off, so that the way through JavaScript does
// not count.
import { createInterface } from 'node:readline';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const ort = createRequire(process.argv[2] + '/')('onnxruntime-node');

function readTensors(path) {
  const raw = readFileSync(path);
  const length = Number(raw.readBigUInt64LE(0));
  const header = JSON.parse(raw.subarray(8, 8 + length).toString());
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [begin, end] = entry.data_offsets;
    const bytes = Uint8Array.from(raw.subarray(8 + length + begin, 8 + length + end));
    const data = entry.dtype === 'I64' ? new BigInt64Array(bytes.buffer) : new Float32Array(bytes.buffer);
    const type = entry.dtype === 'I64' ? 'int64' : 'float32';
    tensors[name] = new ort.Tensor(type, data, entry.shape);
  }
  return tensors;
}

function writeTensor(path, name, tensor) {
  const bytes = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  const header = { [name]: { dtype: 'F32', shape: tensor.dims, data_offsets: [0, bytes.length] } };
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (text.length % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, Buffer.from(text), bytes]));
}

// A graph y = Identity(x) of one number, as ONNX's protocol buffer.
function emptyGraph() {
  const field = (number, bytes) => [(number << 3) | 2, bytes.length, ...bytes];
  const text = (value) => [...Buffer.from(value)];
  const shape = field(1, [0x08, 1]);
  const type = field(1, [0x08, 1, ...field(2, shape)]);
  const value = (name) => [...field(1, text(name)), ...field(2, type)];
  const node = [...field(1, text('x')), ...field(2, text('y')), ...field(4, text('Identity'))];
  const graph = [...field(1, node), ...field(2, text('g')), ...field(11, value('x')), ...field(12, value('y'))];
  return Uint8Array.from([0x08, 8, ...field(7, graph), ...field(8, [0x10, 17])]);
}

// The tensor with its axes in another order.
function permuted(tensor, order) {
  const strides = tensor.dims.map((_, i) => tensor.dims.slice(i + 1).reduce((a, b) => a * b, 1));
  const dims = order.map((i) => tensor.dims[i]);
  const data = new Float32Array(tensor.data.length);
  const at = dims.map(() => 0);
  for (let i = 0; i < data.length; ++i) {
    data[i] = tensor.data[order.reduce((sum, axis, j) => sum + at[j] * strides[axis], 0)];
    for (let j = dims.length - 1; j >= 0 && ++at[j] === dims[j]; --j) at[j] = 0;
  }
  return { data, dims };
}

let session, feeds, fetches, order, emptySeconds = 0;

const seconds = (from) => Number(process.hrtime.bigint() - from) / 1e9;

/** The shortest of five means over `calls` calls. */
async function perCall(graph, input, output, calls) {
  let best = Infinity;
  for (let trial = 0; trial < 5; ++trial) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < calls; ++i) await graph.run(input, output);
    best = Math.min(best, seconds(start) / calls);
    if (best > 0.1) break;
  }
  return best;
}

async function measureEmpty(options) {
  const empty = await ort.InferenceSession.create(emptyGraph(), options);
  const x = new ort.Tensor('float32', new Float32Array(1), [1]);
  return perCall(empty, { x }, {}, 200);
}

async function answer(question) {
  if (question.do === 'prepare') {
    session = undefined;
    const graph = question.inputs + '.onnx';
    if (!existsSync(graph)) return { contenders: [], none: 'no graph of it' };
    const options = {
      intraOpNumThreads: question.threads, interOpNumThreads: 1, graphOptimizationLevel: 'all',
      executionMode: 'sequential', logSeverityLevel: 3,
    };
    emptySeconds = await measureEmpty(options);
    session = await ort.InferenceSession.create(graph, options);
    const tensors = readTensors(graph + '.inputs');
    order = JSON.parse(readFileSync(graph + '.json')).permute;
    feeds = {};
    for (const name of session.inputNames) feeds[name] = tensors[name];
    const first = (await session.run(feeds))[session.outputNames[0]];
    // Outputs of its own from the second call on.
    fetches = { [session.outputNames[0]]: new ort.Tensor(first.type, first.data.slice(), first.dims) };
    const whole = await perCall(session, feeds, fetches, 3);
    if (whole < 2 * emptySeconds)
      return {
        contenders: [],
        none: `a call takes ${(1e6 * whole).toFixed(1)} us, an empty one ` +
          `${(1e6 * emptySeconds).toFixed(1)} us: too near to tell apart`,
      };
    return { contenders: ['ONNX Runtime'] };
  }
  if (question.do === 'run') {
    const start = process.hrtime.bigint();
    for (let i = 0; i < question.calls; ++i) await session.run(feeds, fetches);
    const took = seconds(start);
    return { seconds: Math.max(took - question.calls * emptySeconds, 0.02 * took) };
  }
  const tensor = (await session.run(feeds))[session.outputNames[0]];
  writeTensor(question.file, 'output', order.length > 0 ? permuted(tensor, order) : tensor);
  return {};
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = await answer(JSON.parse(line));
  } catch (error) {
    reply = { contenders: [], none: String(error.message ?? error).split('\n')[0] };
  }
  process.stdout.write(JSON.stringify(reply) + '\n');
}

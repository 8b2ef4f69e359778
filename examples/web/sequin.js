// The functions of sequin_c.h and sequin_web.h on the objects of JavaScript: what they are given is
// copied into the module's memory, what they answer is copied out, a failure is a SequinError with
// the library's own words.

export class SequinError extends Error {
  constructor(status, text) {
    super(text);
    this.name = 'SequinError';
    this.status = status;
  }
}

export class Sequin {
  // `factory` is what sequin_module.js exports, `options` what Emscripten's modules take.
  static async load(factory, options = {}) {
    return new Sequin(await factory({printErr: () => {}, ...options}));
  }

  constructor(module) {
    this.module = module;
  }

  get version() {
    return this.module.UTF8ToString(this.module._sequin_version());
  }
  get instructionSet() {
    return this.module.UTF8ToString(this.module._sequin_web_instruction_set());
  }

  // Puts a file where the module's functions find it, with the folders above it.
  write(path, bytes) {
    const folder = path.slice(0, path.lastIndexOf('/'));
    if (folder) this.module.FS.mkdirTree(folder);
    this.module.FS.writeFile(path, bytes);
  }

  remove(path) {
    this.module.FS.unlink(path);
  }
  // Makes a folder the one that paths without a slash begin in.
  enter(folder) {
    this.module.FS.mkdirTree(folder);
    this.module.FS.chdir(folder);
    return this;
  }

  // The next steps of a CSV by the model of a folder, and the CSV of them.
  forecast(folder, csv, {holdout = false} = {}) {
    const output = '/forecast.csv';
    return this.scope((memory) => {
      const json = memory.words(1);
      this.call('_sequin_web_forecast', memory.text(folder), memory.text(csv), holdout ? 1 : 0,
                memory.text(output), json);
      const text = this.word(json);
      const result = JSON.parse(this.module.UTF8ToString(text));
      this.module._free(text);
      result.csv = this.module.FS.readFile(output);
      return result;
    });
  }

  // A model that separates; to be destroyed.
  separator(folder) {
    const handle = this.open('_sequin_separator_load', folder);
    const [rate, speakers] = this.scope((memory) => {
      const sizes = memory.words(2);
      this.call('_sequin_separator_get_sizes', handle, sizes, sizes + 4);
      return [this.word(sizes), this.word(sizes + 4)];
    });
    return {
      rate,
      speakers,
      // Float32Array at `rate` -> one Float32Array a speaker.
      run: (name, mixture, progress = () => {}) => this.scope((memory) => {
        const sources = memory.floats(speakers * mixture.length);
        const callback = this.module.addFunction(progress, 'vdd');
        try {
          this.call('_sequin_separator_run', handle, memory.text(name), memory.copy(mixture),
                    mixture.length, sources, callback);
        } finally {
          this.module.removeFunction(callback);
        }
        return Array.from({length: speakers}, (_, s) =>
          this.floats(sources + 4 * s * mixture.length, mixture.length));
      }),
      destroy: () => this.module._sequin_separator_destroy(handle),
    };
  }

  // A model that reads a token at a time; to be destroyed.
  stream(folder) {
    const handle = this.open('_sequin_stream_open', folder);
    const count = this.scope((memory) => {
      const at = memory.words(1);
      this.call('_sequin_stream_get_vocabulary', handle, at);
      return this.word(at);
    });
    const logits = this.module._malloc(4 * count);
    return {
      vocabulary: count,
      // Reads a token; `logits` then holds those of the next.
      step: (token) => this.call('_sequin_stream_step', handle, BigInt(token), logits, count),
      logits: () => this.floats(logits, count),
      reset: () => this.call('_sequin_stream_reset', handle),
      destroy: () => {
        this.module._free(logits);
        this.module._sequin_stream_destroy(handle);
      },
    };
  }

  // A forecaster of plain tables; to be destroyed.
  forecaster(folder) {
    const handle = this.open('_sequin_forecaster_load', folder);
    const [steps, horizon, inputs, outputs] = this.scope((memory) => {
      const sizes = memory.words(4);
      this.call('_sequin_forecaster_get_sizes', handle, sizes);
      return [0, 4, 8, 12].map((at) => this.word(sizes + at));
    });
    return {
      steps, horizon, inputs, outputs,
      // history: Float32Array [steps, columns]; marks: Float32Array [steps + horizon, K] or null.
      run: (history, columns, marks = null) => this.scope((memory) => {
        const count = horizon * (outputs || columns);
        const forecast = memory.floats(count);
        this.call('_sequin_forecaster_run', handle, memory.copy(history), history.length, columns,
                  marks ? memory.copy(marks) : 0, marks ? marks.length : 0, forecast, count);
        return this.floats(forecast, count);
      }),
      destroy: () => this.module._sequin_forecaster_destroy(handle),
    };
  }

  open(load, folder) {
    return this.scope((memory) => {
      const handle = memory.words(1);
      this.call(load, memory.text(folder), handle);
      return this.word(handle);
    });
  }

  call(name, ...values) {
    const status = this.module[name](...values);
    if (status === 0) return;
    throw new SequinError(status, this.module.UTF8ToString(this.module._sequin_last_error()));
  }

  // Memory grows: the views of it are asked for anew each time.
  word(at) {
    return this.module.HEAPU32[at >> 2];
  }
  floats(at, count) {
    return this.module.HEAPF32.slice(at >> 2, (at >> 2) + count);
  }

  // Calls `work` with an allocator whose memory is free again afterwards.
  scope(work) {
    const {module} = this;
    const taken = [];
    const take = (bytes) => {
      const at = module._malloc(bytes);
      if (at === 0) throw new SequinError(4, 'out of memory');
      taken.push(at);
      return at;
    };
    const memory = {
      words: (count) => take(4 * count),
      floats: (count) => take(4 * count + 4),
      copy: (array) => {
        const at = take(4 * array.length + 4);
        module.HEAPF32.set(array, at >> 2);
        return at;
      },
      text: (string) => {
        const bytes = new TextEncoder().encode(string + '\0');
        const at = take(bytes.length);
        module.HEAPU8.set(bytes, at);
        return at;
      },
    };
    try {
      return work(memory);
    } finally {
      taken.forEach((at) => module._free(at));
    }
  }
}

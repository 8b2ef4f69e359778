#!/bin/sh
# Measures Sequin beside its peers in one run and writes build/bench/results.{md,json}: our time, each
# peer's, the ratio to the best of them, the share of what the machine can do at most.
# usage: bench/run.sh [--lines REGEX] [--threads 1,2] [--rounds N] [--earlier RESULTS.json]
# Peers are optional and installed where possible: OpenBLAS, oneDNN, FFTW, PyTorch 1.13 (Debian's
# python3-torch), ONNX Runtime (npm's onnxruntime-node). The table names those that were found.
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
install_packages g++ cmake make libeigen3-dev libxsimd-dev nlohmann-json3-dev libcli11-dev \
  libbenchmark-dev
for package in libopenblas-dev libdnnl-dev libfftw3-dev python3-torch nodejs npm; do
  install_packages "$package" || echo "bench: $package could not be installed" >&2
done

out=build/bench
mkdir -p "$out/npm"
cmake --preset release -DSEQUIN_BUILD_TESTS=OFF -DSEQUIN_BUILD_EXAMPLES=OFF -B build/bench-build \
  >/dev/null
cmake --build build/bench-build --target bench_compare --parallel "$(nproc)"

set -- "$@" --scratch "$out/scratch" --json "$out/results.json" --markdown "$out/results.md"
if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  set -- "$@" --peer "PyTorch=/usr/bin/python3 bench/peers/torch_server.py"
fi
if [ ! -d "$out/npm/node_modules/onnxruntime-node" ]; then
  (cd "$out/npm" && npm install --silent --no-save --ignore-scripts onnxruntime-node >/dev/null) ||
    echo "bench: onnxruntime-node could not be installed" >&2
fi
if [ -d "$out/npm/node_modules/onnxruntime-node" ]; then
  set -- "$@" --peer "ONNX Runtime=node bench/peers/ort_server.mjs $PWD/$out/npm"
fi
# Threads that wait do so asleep: the contenders take turns on the same cores.
export OMP_WAIT_POLICY=passive
build/bench-build/bin/bench_compare "$@"
echo "$out/results.md, $out/results.json"

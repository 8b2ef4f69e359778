#!/bin/sh
# Installs what is missing, builds the programs, trains iTransformer on the bundled series, forecasts
# with it and streams a small Mamba. Results go to build/demo.
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
install_packages g++ cmake make libeigen3-dev libxsimd-dev nlohmann-json3-dev libcli11-dev \
  libsndfile1-dev libsamplerate0-dev gnuplot-nox

cmake --preset release -B build/demo-build -DSEQUIN_BUILD_TESTS=OFF -DSEQUIN_BUILD_BENCH=OFF \
  -DSEQUIN_PROGRAM_MODELS=itransformer -DSEQUIN_PROGRAM_DOUBLE=OFF >/dev/null
cmake --build build/demo-build --parallel "$(nproc)" --target sequin stream_mamba
bin=build/demo-build/bin
out=build/demo
data=examples/data/us_departures.csv

rm -rf "$out"
"$bin/sequin" train examples/configs/itransformer_us_departures.json --data "$data" -o "$out" \
  --threads "$(nproc)"
"$bin/sequin" forecast "$out" --input "$data" --holdout -o "$out/forecast.csv" \
  --plot "$out/forecast.svg" --column LAX --unit "flights per half hour"
echo "forecast of the last day of the series: $out/forecast.csv, $out/forecast.svg"
echo
"$bin/stream_mamba"

#!/bin/sh
# Installs what is missing, builds the library's programs and tests, and runs all tests.
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
install_packages g++ cmake make libeigen3-dev libxsimd-dev nlohmann-json3-dev libcli11-dev catch2 \
  libsndfile1-dev libsamplerate0-dev gnuplot-nox zlib1g-dev libopenmpi-dev openmpi-bin

cmake --preset release -DSEQUIN_BUILD_TESTS=ON -DSEQUIN_BUILD_BENCH=OFF
cmake --build --preset release --parallel "$(nproc)"
ctest --preset release --parallel "$(nproc)"

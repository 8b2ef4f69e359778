#!/bin/sh
# iTransformer, forward pass and training step, beside PyTorch on the same weights and threads, turn
# by turn. usage: bench/itransformer_vs_torch.sh [THREADS] [ROUNDS]
# Needs python3-torch; which BLAS it uses is what `update-alternatives --query libblas.so.3-*` says
# (libopenblas0-pthread is the fastest of Debian's; the reference BLAS is several times slower).
set -eu
cd "$(dirname "$0")/.."
threads=${1:-1}
rounds=${2:-5}
dir=build/bench-itransformer
cmake --preset release -DSEQUIN_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release --target sequin >/dev/null
/usr/bin/python3 bench/peers/torch_itransformer.py "$dir" --make --repeat 1 >/dev/null
readlink -f /usr/lib/*/libblas.so.3 || true
for round in $(seq "$rounds"); do
  build/release/bin/sequin bench "$dir" --batch 32 --train --repeat 60 --threads "$threads" --json
  OPENBLAS_NUM_THREADS="$threads" OMP_NUM_THREADS="$threads" \
    /usr/bin/python3 bench/peers/torch_itransformer.py "$dir" --threads "$threads" --repeat 60
done

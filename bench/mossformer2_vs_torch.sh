#!/bin/sh
# MossFormer2's separation at its official size beside the official PyTorch code, on the same drawn
# weights and threads, turn by turn.
# usage: bench/mossformer2_vs_torch.sh OFFICIAL [THREADS] [ROUNDS] [SECONDS]
# OFFICIAL: a clone of github.com/modelscope/ClearerVoice-Studio. Needs python3-torch.
set -eu
cd "$(dirname "$0")/.."
official=$1
threads=${2:-1}
rounds=${3:-3}
seconds=${4:-2}
dir=build/bench-mossformer2
cmake --preset release -DSEQUIN_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release --target sequin >/dev/null
[ -f "$dir/config.json" ] ||
  build/release/bin/sequin init examples/configs/mossformer2_ss_8k.json "$dir" >/dev/null
readlink -f /usr/lib/*/libblas.so.3 || true
for round in $(seq "$rounds"); do
  build/release/bin/sequin bench "$dir" --seconds "$seconds" --repeat 3 --threads "$threads" --json
  OPENBLAS_NUM_THREADS="$threads" OMP_NUM_THREADS="$threads" /usr/bin/python3 \
    bench/peers/torch_mossformer2.py "$official" "$dir" --seconds "$seconds" --threads "$threads"
done

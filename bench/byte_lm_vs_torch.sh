#!/bin/sh
# A byte model's first training steps beside PyTorch: the same weights, batches, rates and threads.
# usage: bench/byte_lm_vs_torch.sh TEXT [STEPS] [THREADS]      Needs python3-torch.
set -eu
text=$(realpath "$1")
steps=${2:-12}
threads=${3:-1}
cd "$(dirname "$0")/.."
dir=build/bench-byte-lm
cmake --preset release -DSEQUIN_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release --target byte_lm >/dev/null
rm -rf "$dir"
train() {
  build/release/bin/byte_lm examples/configs/mamba_bytes.json --text "$text" -o "$dir" --quiet \
    --batch-size 4 --steps "$steps" --warm-up 4 --threads "$threads" "$@"
}
train --record "$steps"
train --log-every 1
OPENBLAS_NUM_THREADS="$threads" OMP_NUM_THREADS="$threads" \
  /usr/bin/python3 bench/peers/torch_byte_lm.py "$dir" "$threads"

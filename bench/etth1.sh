#!/bin/sh
# Trains a model on ETTh1 by the official protocol and prints a Markdown table of test errors, one row
# a horizon, mean and spread over the seeds; what is already in OUT is not trained again.
# usage: bench/etth1.sh ETTh1.csv OUT [PROGRAM=build/release/bin/sequin]
#   MODEL=itransformer (or informer, of a smaller size than the official one), SEEDS="2021 2022 2023"
#   and HORIZONS="96 192 336 720" may be set in the environment.
set -eu
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
data=$1 out=$2 program=${3:-build/release/bin/sequin}
configs=$(dirname "$0")/../examples/configs
model=${MODEL:-itransformer}
seeds=${SEEDS:-2021 2022 2023}

for horizon in ${HORIZONS:-96 192 336 720}; do
  rows=
  for seed in $seeds; do
    run=$out/$model-$horizon-$seed
    if [ ! -e "$run/metrics.json" ]; then
      resume=
      [ ! -e "$run/checkpoint.safetensors" ] || resume=--resume
      "$program" train "$configs/${model}_etth1_96_$horizon.json" --data "$data" -o "$run" \
        --seed "$seed" --quiet $resume >&2
    fi
    rows="$rows$run/metrics.json "
  done
  # shellcheck disable=SC2086
  python3 - "$horizon" $rows <<'PYTHON'
import json, statistics, sys
horizon, files = sys.argv[1], sys.argv[2:]
runs = [json.load(open(f)) for f in files]
def cell(key):
    values = [r["test"][key] for r in runs]
    return f"{statistics.mean(values):.4f} ({', '.join(f'{v:.4f}' for v in values)})"
print(f"| {horizon} | {cell('mse')} | {cell('mae')} |", flush=True)
PYTHON
done

#!/bin/sh
# Pre-trains the small Time-MoE, a dense model that computes as much a token and (first seed) one that
# has as many parameters, and prints Markdown tables: MASE on unseen series beside naive forecasts (mean
# over the seeds, and each), and the share of tokens of the busiest expert with and without the balance
# loss. What is in OUT is not trained again.
# usage: bench/pretrain.sh SERIES OUT [PROGRAM=build/release/bin/pretrain]
#   SERIES: folder of examples/pretrain/make_series.sh. SEEDS="1 2" and TRAIN="options of pretrain train"
#   may be set in the environment.
set -eu
[ $# -ge 2 ] || { sed -n '2,8s/^# //p' "$0" >&2; exit 2; }
series=$1/series.csv out=$2 program=${3:-build/release/bin/pretrain}
examples=$(dirname "$0")/../examples
seeds=${SEEDS:-1 2}
mkdir -p "$out"
sed 's/"router_aux_loss_factor": [0-9.]*/"router_aux_loss_factor": 0.0/' \
  "$examples/configs/time_moe_small.json" > "$out/unbalanced.json"
sed 's/"intermediate_size": [0-9]*/"intermediate_size": 640/' \
  "$examples/configs/time_moe_small_dense.json" > "$out/wide.json"

train() {  # NAME CONFIG SEED
  [ ! -e "$out/$1/metrics.json" ] || return 0
  resume=
  [ ! -e "$out/$1/checkpoint.safetensors" ] || resume=--resume
  # shellcheck disable=SC2086
  "$program" train "$2" --series "$series" -o "$out/$1" --seed "$3" --quiet ${TRAIN:-} $resume >&2
}
for seed in $seeds; do
  train "experts-$seed" "$examples/configs/time_moe_small.json" "$seed"
  train "dense-$seed" "$examples/configs/time_moe_small_dense.json" "$seed"
done
first=${seeds%% *}
train "unbalanced-$first" "$out/unbalanced.json" "$first"
train "wide-$first" "$out/wide.json" "$first"

runs=$out/wide-$first
for kind in experts dense; do
  for seed in $seeds; do runs="$runs $out/$kind-$seed"; done
done
# shellcheck disable=SC2086
"$program" score $runs --series "$series" --csv "$examples/data/us_departures.csv" --period 48 \
  --quiet --json > "$out/scores.json"
python3 - "$out" $seeds <<'PYTHON'
import json, statistics, sys
out, seeds = sys.argv[1], sys.argv[2:]
scores = json.load(open(f"{out}/scores.json"))
def cell(kind, group):
    values = [scores[f"{kind}-{s}"][group]["mase"] for s in seeds]
    return f"{statistics.mean(values):.3f} ({', '.join(f'{v:.3f}' for v in values)})"
print("| series (number, forecasts) | naive | seasonal naive | experts | dense | dense, wide |")
print("| --- | --- | --- | --- | --- | --- |")
for group, row in scores["naive"].items():
    naive, seasonal = (scores[n][group]["mase"] for n in ("naive", "seasonal naive"))
    print(f"| {group} ({row['series']}, {row['forecasts']}) | {naive:.3f} | {seasonal:.3f} | "
          f"{cell('experts', group)} | {cell('dense', group)} | "
          f"{scores[f'wide-{seeds[0]}'][group]['mase']:.3f} |")
print("\n| run | layer | busiest by mean before | after | least share after | shares after |")
print("| --- | --- | --- | --- | --- | --- |")
for run in [f"experts-{s}" for s in seeds] + [f"unbalanced-{seeds[0]}"]:
    m = json.load(open(f"{out}/{run}/metrics.json"))
    for layer, (b, a) in enumerate(zip(m["expert_load_before"], m["expert_load_after"])):
        shares = " ".join(f"{v:.3f}" for v in a["shares"])
        print(f"| {run} | {layer} | {b['max_by_mean']:.2f} | {a['max_by_mean']:.2f} | "
              f"{min(a['shares']):.3f} | {shares} |")
PYTHON

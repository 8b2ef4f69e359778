#!/bin/sh
# Pre-trains the small Time-MoE, a dense model that computes as much a token and (first seed) one that
# has as many parameters, and prints Markdown tables: MASE and scaled MSE on unseen series beside naive
# forecasts (mean over the seeds, and each), and the share of tokens of the busiest expert, also after
# 2000 steps that balance all layers together, as the official loss does, or not at all. What is in OUT
# is not trained again.
# usage: bench/pretrain.sh SERIES OUT [PROGRAM=build/release/bin/pretrain]
#   SERIES: folder of examples/pretrain/make_series.sh. SEEDS="1 2" and TRAIN="options of pretrain train"
#   may be set in the environment.
set -eu
[ $# -ge 2 ] || { sed -n '2,9s/^# //p' "$0" >&2; exit 2; }
series=$1/series.csv out=$2 program=${3:-build/release/bin/pretrain}
examples=$(dirname "$0")/../examples
seeds=${SEEDS:-1 2}
mkdir -p "$out"
sed 's/"router_aux_loss_factor": [0-9.]*/"router_aux_loss_factor": 0.0/' \
  "$examples/configs/time_moe_small.json" > "$out/unbalanced.json"
sed 's/"intermediate_size": [0-9]*/"intermediate_size": 640/' \
  "$examples/configs/time_moe_small_dense.json" > "$out/wide.json"

train() {  # NAME CONFIG SEED [OPTION...], those of TRAIN by default
  [ ! -e "$out/$1/metrics.json" ] || return 0
  resume=
  [ ! -e "$out/$1/checkpoint.safetensors" ] || resume=--resume
  name=$1 config=$2 seed=$3
  shift 3
  # shellcheck disable=SC2086
  [ $# -gt 0 ] || set -- ${TRAIN:-}
  # shellcheck disable=SC2086
  "$program" train "$config" --series "$series" -o "$out/$name" --seed "$seed" --quiet "$@" \
    $resume >&2
}
for seed in $seeds; do
  train "experts-$seed" "$examples/configs/time_moe_small.json" "$seed"
  train "dense-$seed" "$examples/configs/time_moe_small_dense.json" "$seed"
done
first=${seeds%% *}
train "wide-$first" "$out/wide.json" "$first"
train "together-$first" "$examples/configs/time_moe_small.json" "$first" --steps 2000 \
  --balance-together
train "unbalanced-$first" "$out/unbalanced.json" "$first" --steps 2000

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
def cell(kind, group, name):
    values = [scores[f"{kind}-{s}"][group][name] for s in seeds]
    each = f" ({', '.join(f'{v:.3f}' for v in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{each}"
for name, title in (("mase", "MASE"), ("mse", "Squared error by the variance of the past")):
    print(f"\n{title}\n\n| series (number, forecasts) | last value | last season | experts | dense | "
          "dense, wide |\n| --- | --- | --- | --- | --- | --- |")
    for group, row in scores["naive"].items():
        naive, seasonal = (scores[n][group][name] for n in ("naive", "seasonal naive"))
        print(f"| {group} ({row['series']}, {row['forecasts']}) | {naive:.3f} | {seasonal:.3f} | "
              f"{cell('experts', group, name)} | {cell('dense', group, name)} | "
              f"{scores[f'wide-{seeds[0]}'][group][name]:.3f} |")
print("\n| run | layer | busiest by mean before | after | least share after | shares after |")
print("| --- | --- | --- | --- | --- | --- |")
for run in [f"experts-{s}" for s in seeds] + [f"{n}-{seeds[0]}" for n in ("together", "unbalanced")]:
    m = json.load(open(f"{out}/{run}/metrics.json"))
    for layer, (b, a) in enumerate(zip(m["expert_load_before"], m["expert_load_after"])):
        shares = " ".join(f"{v:.3f}" for v in a["shares"])
        print(f"| {run} | {layer} | {b['max_by_mean']:.2f} | {a['max_by_mean']:.2f} | "
              f"{min(a['shares']):.3f} | {shares} |")
PYTHON

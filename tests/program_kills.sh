#!/usr/bin/env bash
# Kills a training with SIGKILL at random moments, resumes it each time, and compares what comes out,
# byte for byte, with a training that nobody disturbed: the best weights, the last checkpoint and the
# log's losses.
#
#   tests/program_kills.sh PROGRAM DATA.csv WORK [KILLS=5] [SEED=1]
set -euo pipefail
program=$1 data=$2 work=$3 kills=${4:-5}
RANDOM=${5:-1}

rm -rf "$work"
mkdir -p "$work"
head -n 1201 "$data" >"$work/data.csv"
cat >"$work/config.json" <<'CONFIG'
{"model": "itransformer", "data": "custom", "features": "M", "target": "DTW", "freq": "t",
 "seq_len": 48, "label_len": 12, "pred_len": 12, "enc_in": 7, "d_model": 32, "n_heads": 4,
 "e_layers": 2, "d_ff": 64, "dropout": 0.1, "train_epochs": 8, "batch_size": 8,
 "learning_rate": 0.001, "patience": 0, "lradj": "type3"}
CONFIG

fail() {
  echo "kills: $*" >&2
  exit 1
}

# train FOLDER ARGUMENT...: with an average of the weights, accumulation and a frozen part, so that
# all of the state is in it.
train() {
  local folder=$1
  shift
  "$@" "$program" train "$work/config.json" --data "$work/data.csv" -o "$folder" --seed 7 --quiet \
    --checkpoint-every 5 --log-every 3 --accumulate 2 --ema 0.99 --clip-norm 1 \
    --freeze 'encoder.attn_layers.0.norm1.*' --rate 'projector.*=0.5' \
    $([[ -e $folder/checkpoint.safetensors ]] && echo --resume) >"$work/output" 2>&1
}

# shellcheck source=tests/same_training.sh
. "$(dirname "$0")/same_training.sh"

now() { date +%s%3N; }

began=$(now)
train "$work/straight" env || fail "the undisturbed training failed: $(cat "$work/output")"
whole=$(($(now) - began))
[[ $(losses "$work/straight" | grep -c '^{"epoch"') == 8 ]] || fail "expected 8 epochs in the log"

# signalled FOLDER SIGNAL COMMAND...: sends SIGNAL once the log has begun.
signalled() {
  local log=$1/metrics.jsonl signal=$2 pid
  shift 2
  set -m  # else a command in the background would ignore SIGINT
  "$@" &
  pid=$!
  set +m
  until [[ -s $log ]] || ! kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
  kill -s "$signal" "$pid"
  wait "$pid"
}

# Asked to stop, it saves and says so.
for signal in INT TERM; do
  folder=$work/stopped_$signal code=0
  train "$folder" signalled "$folder" "$signal" || code=$?
  [[ $code == 1 ]] && grep -q 'stopped; continue with --resume' "$work/output" ||
    fail "SIG$signal: expected exit code 1 and a hint, found $code and '$(cat "$work/output")'"
  train "$folder" env || fail "SIG$signal: did not resume: $(cat "$work/output")"
  same "$folder" "after SIG$signal"
done

killed=0 runs=0 trainings=0 lost=0
while ((killed < kills)); do
  folder=$work/killed$((++trainings))
  while true; do
    # Between at once and a few checkpoints' time; a training takes about a dozen lives.
    life=$((RANDOM % (whole / 4 + 60) + 1))
    ((killed >= kills)) && life=600000
    code=0
    { # without the shell's report of the kill
      train "$folder" timeout -s KILL "$((life / 1000)).$(printf %03d $((life % 1000)))" || code=$?
    } 2>/dev/null
    ((++runs))
    ((code == 0)) && break
    ((code == 137)) || fail "run $runs ended with $code: $(cat "$work/output")"
    ((++killed))
    [[ -e $folder/checkpoint.safetensors ]] || ((++lost))
  done
  same "$folder" "training $trainings, after $killed kills"
done
echo "$killed kills in $trainings trainings ($lost before their first checkpoint), $runs runs of a" \
  "training of $whole ms: every result is byte for byte that of the undisturbed one"

#!/usr/bin/env bash
# `sequin train` under mpirun: two processes learn what one with twice the batch does. Killed,
# stopped or wrong, one ends all, with a message and an exit code, and the checkpoint resumes to the
# bytes of an undisturbed run; with another number of processes it is refused.
#
#   tests/program_ranks.sh PROGRAM MPIRUN DATA.csv WORK
set -euo pipefail
program=$1 mpirun=$2 data=$3 work=$4

# Open MPI: as root, with fewer cores than processes, in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

rm -rf "$work"
mkdir -p "$work"
head -n 1001 "$data" >"$work/data.csv"

config() { # config FILE DROPOUT EPOCHS
  cat >"$work/$1" <<CONFIG
{"model": "itransformer", "data": "custom", "features": "M", "target": "DTW", "freq": "t",
 "seq_len": 48, "label_len": 12, "pred_len": 12, "enc_in": 7, "d_model": 32, "n_heads": 4,
 "e_layers": 2, "d_ff": 64, "dropout": $2, "train_epochs": $3, "batch_size": 8,
 "learning_rate": 0.001, "patience": 0, "lradj": "type3"}
CONFIG
}
config plain.json 0 2
config noisy.json 0.1 8

fail() {
  echo "ranks: $*" >&2
  exit 1
}

# train RANKS CONFIG FOLDER ARGUMENT...: its output goes to $work/output.
train() {
  local ranks=$1 config=$2 folder=$3
  shift 3
  "$mpirun" -n "$ranks" "$program" train "$work/$config" --data "$work/data.csv" -o "$folder" \
    --seed 7 --log-every 5 "$@" >"$work/output" 2>&1
}

# expect CODE TEXT COMMAND...: ends with CODE (or "fails": any but 0) and says TEXT once.
expect() {
  local code=$1 text=$2 found=0
  shift 2
  "$@" || found=$?
  [[ $found == "$code" || ($code == fails && $found != 0) ]] ||
    fail "$*: expected exit code $code, found $found and '$(cat "$work/output")'"
  [[ $(grep -cF -- "$text" "$work/output") == 1 ]] ||
    fail "$*: expected '$text' once in '$(cat "$work/output")'"
}

# shellcheck source=tests/same_training.sh
. "$(dirname "$0")/same_training.sh"

# The processes that train into FOLDER, without mpirun.
processes() {
  local entry line
  for entry in /proc/[0-9]*; do
    line=$(tr '\0' ' ' 2>/dev/null <"$entry/cmdline") || continue
    [[ $line == "$program train "*" $1 "* ]] && echo "${entry#/proc/}"
  done
  return 0
}

# One process with batch 16, two with 8: the epochs' losses agree to rounding.
"$program" train "$work/plain.json" --data "$work/data.csv" -o "$work/one" --seed 7 --quiet \
  --batch-size 16 >"$work/output" 2>&1 || fail "alone: $(cat "$work/output")"
expect 0 'epoch 2: train' train 2 plain.json "$work/two"
paste <(grep '^{"epoch"' "$work/one/metrics.jsonl") <(grep '^{"epoch"' "$work/two/metrics.jsonl") |
  tr ',\t' '\n\n' | awk -F': ' '
    /"(train|val)_loss"/ { value[++n] = $2 }
    END {
      if (n != 8) { print "expected 8 losses, found " n; exit 1 }
      for (i = 1; i <= 8; i += 4)
        for (k = i; k < i + 2; ++k) {
          d = value[k] - value[k + 2]
          if (d < 0) d = -d
          if (d > 1e-5 * value[k]) { print value[k] " and " value[k + 2]; exit 1 }
        }
    }' || fail "two processes and one with their batches differ"

# An undisturbed run, and one that a process leaves by SIGKILL in the middle.
expect 0 'epoch 8: train' train 2 noisy.json "$work/straight" --checkpoint-every 5

# leave SIGNAL FOLDER: begins a training and sends SIGNAL to its last process after a checkpoint.
leave() {
  train 2 noisy.json "$2" --checkpoint-every 5 &
  local waits=0 victims all=$!
  until [[ -e $2/checkpoint.safetensors ]]; do
    ((++waits < 600)) && kill -0 $all 2>/dev/null || fail "no checkpoint: $(cat "$work/output")"
    sleep 0.05
  done
  mapfile -t victims < <(processes "$2")
  ((${#victims[@]} == 2)) || fail "expected 2 processes, found ${#victims[@]}"
  kill -s "$1" "${victims[1]}"
  wait $all
}
expect fails 'signal 9' leave KILL "$work/killed"
[[ -z $(processes "$work/killed") ]] || fail "a process outlived the killed one"
grep -q '"epoch": 8' "$work/killed/metrics.jsonl" && fail "the kill came too late to prove anything"
expect 2 'train.ranks is "2", expected "3"' train 3 noisy.json "$work/killed" --resume
expect 0 'epoch 8: train' train 2 noisy.json "$work/killed" --checkpoint-every 5 --resume
same "$work/killed" "after SIGKILL"

# Asked to stop, one stops all, and the first saves.
expect 1 'stopped; continue with --resume' leave INT "$work/stopped"
expect 0 'epoch 8: train' train 2 noisy.json "$work/stopped" --checkpoint-every 5 --resume
same "$work/stopped" "after SIGINT"

# A mistake that all make is told once; one of a single process ends all.
expect 2 'nowhere' train 2 noisy.json "$work/bad" --target nowhere
differ() {
  local one=("$program" train "$work/noisy.json" --data "$work/data.csv" -o "$work/bad" --seed)
  "$mpirun" -n 1 "${one[@]}" 7 : -n 1 "${one[@]}" 8 >"$work/output" 2>&1
}
expect 2 'rank 1 of 2: train: rank 1 has train.seed "8", expected train.seed "7" as rank 0' differ
[[ ! -e $work/bad/checkpoint.safetensors ]] || fail "trained in spite of two seeds"
echo "two processes learn what one does, and end together"

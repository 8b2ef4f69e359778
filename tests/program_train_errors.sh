#!/usr/bin/env bash
# What goes wrong while training: a full disk, a folder that cannot be written, a checkpoint that is
# damaged or another model's. Each time: exit code 2, one line that names the file, the old files
# as they were and nothing half-written.
#
#   tests/program_train_errors.sh PROGRAM DATA.csv WORK
set -euo pipefail
program=$1 data=$2 work=$3
rm -rf "$work"
mkdir -p "$work"
head -n 401 "$data" >"$work/data.csv"

config() { # config FILE D_MODEL EPOCHS
  cat >"$work/$1" <<CONFIG
{"model": "itransformer", "data": "custom", "features": "M", "target": "DTW", "freq": "t",
 "seq_len": 24, "label_len": 6, "pred_len": 6, "enc_in": 7, "d_model": $2, "n_heads": 4,
 "e_layers": 1, "d_ff": 32, "train_epochs": $3, "batch_size": 16, "patience": 0}
CONFIG
}
config small.json 16 2
config longer.json 16 2
config other.json 24 2

fail() {
  echo "train errors: $*" >&2
  exit 1
}

train() { # train CONFIG FOLDER ARGUMENT...
  local file=$1 folder=$2
  shift 2
  "$program" train "$work/$file" --data "$work/data.csv" -o "$folder" --seed "${seed:-5}" --quiet "$@"
}

state() { (cd "$1" && find . -type f | sort | xargs sha256sum); }

# refuses TEXT COMMAND...: exit code 2 and one line on stderr that holds TEXT.
refuses() {
  local text=$1 code=0
  shift
  "$@" >/dev/null 2>"$work/errors" || code=$?
  [[ $code == 2 ]] || fail "$*: expected exit code 2, found $code and '$(cat "$work/errors")'"
  [[ $(wc -l <"$work/errors") == 1 ]] || fail "$*: expected one line, found '$(cat "$work/errors")'"
  grep -qF -- "$text" "$work/errors" ||
    fail "$*: expected '$text' in '$(cat "$work/errors")'"
}

# keeps FOLDER TEXT COMMAND...: the same, and the folder's files stay as they are.
keeps() {
  local folder=$1 before
  shift
  before=$(state "$folder")
  refuses "$@"
  [[ $(state "$folder") == "$before" ]] ||
    fail "$*: changed $folder: $(diff <(echo "$before") <(state "$folder"))"
}

run=$work/run
train small.json "$run" >/dev/null 2>&1 || fail "the first training failed"

# Folders that cannot be written; /proc/self refuses root too.
refuses "/proc/self/none: cannot be created" train small.json /proc/self/none
echo text >"$work/a_file"
refuses "a_file/run: cannot be created" train small.json "$work/a_file/run"
if [[ $(id -u) != 0 ]]; then
  mkdir "$work/locked" && chmod 555 "$work/locked"
  refuses "locked/run: cannot be created" train small.json "$work/locked/run"
fi

# Checkpoints that cannot be resumed.
mkdir "$work/empty"
refuses "empty/checkpoint.safetensors" train small.json "$work/empty" --resume
keeps "$run" "checkpoint.safetensors: checkpoint of another model" train other.json "$run" --resume
seed=6 keeps "$run" "train.seed is \"5\", expected \"6\"" train small.json "$run" --resume
keeps "$run" "loss is \"mse\", expected \"huber 1\"" train small.json "$run" --resume --loss huber
sed '10s/,[0-9]*$/,77/' "$work/data.csv" >"$work/changed.csv"
keeps "$run" "data is \"" "$program" train "$work/small.json" --data "$work/changed.csv" -o "$run" \
  --seed 5 --quiet --resume
keeps "$run" "freeze: 'decoder.*' matches no parameter" train small.json "$run" --freeze 'decoder.*'
keeps "$run" "--rate: expected PATTERN=FACTOR, found 'projector.*'" \
  train small.json "$run" --rate 'projector.*'
size=$(stat -c %s "$run/checkpoint.safetensors")
for bytes in 0 7 100 $((size / 2)) $((size - 1)); do
  rm -rf "$work/cut" && cp -r "$run" "$work/cut"
  truncate -s $bytes "$work/cut/checkpoint.safetensors"
  keeps "$work/cut" "cut/checkpoint.safetensors: " train small.json "$work/cut" --resume
done
rm -rf "$work/cut" && cp -r "$run" "$work/cut"
printf 'xxxxxxxx' | dd of="$work/cut/checkpoint.safetensors" bs=1 seek=20 conv=notrunc 2>/dev/null
keeps "$work/cut" "cut/checkpoint.safetensors: " train small.json "$work/cut" --resume
cp "$run/weights.safetensors" "$work/cut/checkpoint.safetensors"
keeps "$work/cut" "format is \"pt\", expected sequin.checkpoint" \
  train small.json "$work/cut" --resume

# A disk that is full. A limit on the size of files stands for it; the checkpoint is the largest.
full() {
  (trap '' XFSZ && ulimit -f 16 && train small.json "$@")
}
((size > 17 * 1024)) || fail "the checkpoint has $size bytes, expected more than the limit"
sum=$(sha256sum <"$run/checkpoint.safetensors") best=$(sha256sum <"$run/weights.safetensors")
refuses "checkpoint.safetensors: cannot be written: File too large" full "$run" --epochs 3 --resume
[[ $(sha256sum <"$run/checkpoint.safetensors") == "$sum" ]] || fail "full disk: checkpoint changed"
[[ $(sha256sum <"$run/weights.safetensors") == "$best" ]] || fail "full disk: weights changed"
[[ -z $(find "$run" -name '*.tmp*') ]] || fail "full disk: left $(find "$run" -name '*.tmp*')"
# With room again it goes on as if nothing had been.
train small.json "$run" --epochs 3 --resume >/dev/null 2>&1 || fail "did not go on after a full disk"
train small.json "$work/whole" --epochs 3 >/dev/null 2>&1
cmp "$run/checkpoint.safetensors" "$work/whole/checkpoint.safetensors" ||
  fail "after a full disk: another result"
cmp "$run/weights.safetensors" "$work/whole/weights.safetensors" ||
  fail "after a full disk: other weights"

# A real one, where a file system of our own can be mounted.
in_small_disk() {
  unshare -Urm bash -c 'mount -t tmpfs -o size=256k none "$1" && shift && "$@"' _ "$@"
}
mkdir "$work/disk"
if in_small_disk "$work/disk" true 2>/dev/null; then
  small_disk_run() {
    export -f train state fail
    export program work
    in_small_disk "$work/disk" bash -c '
      set -e
      train small.json "$work/disk/run" >/dev/null 2>&1
      before=$(sha256sum <"$work/disk/run/checkpoint.safetensors")
      head -c 1M /dev/zero >"$work/disk/filler" 2>/dev/null || true
      code=0
      train small.json "$work/disk/run" --epochs 3 --resume || code=$?
      [[ $(sha256sum <"$work/disk/run/checkpoint.safetensors") == "$before" ]] || exit 9
      [[ -z $(find "$work/disk/run" -name "*.tmp*") ]] || exit 8
      exit $code'
  }
  refuses "No space left on device" small_disk_run
  echo "train errors: refused as they should be, with a full disk of 256 KiB too"
else
  echo "train errors: refused as they should be (no small disk could be mounted here)"
fi

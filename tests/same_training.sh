# What program_kills.sh and program_ranks.sh compare trainings with; needs $work, with the undisturbed
# one in $work/straight, and fail().

# The log without what is measured by the clock.
losses() { sed -E 's/, "(examples_per_second|seconds)": [^,}]+//g' "$1/metrics.jsonl"; }

# same FOLDER WHAT: the results are the undisturbed ones and nothing half-written is left.
same() {
  local file left
  for file in weights.safetensors checkpoint.safetensors scaler.csv config.json; do
    cmp -s "$work/straight/$file" "$1/$file" || fail "$2: $file differs from the undisturbed one"
  done
  losses "$work/straight" | cmp -s - <(losses "$1") ||
    fail "$2: metrics.jsonl differs from the undisturbed one"
  left=$(find "$1" -name '*.tmp*')
  [[ -z $left ]] || fail "$2: left behind: $left"
}

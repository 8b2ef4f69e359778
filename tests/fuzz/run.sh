#!/usr/bin/env bash
# Runs the fuzz targets of a build, as many at a time as there are processors:
#   tests/fuzz/run.sh build/fuzz SECONDS [TARGET...]
# Inputs that reach new code are kept in BUILD/corpus/TARGET for the next run, one that breaks a
# target in BUILD/crashes; the exit code is then 1.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
seconds=$2
shift 2
(($#)) || set -- $(cd "$build/bin" && ls -d fuzz_* | sed 's/^fuzz_//')

run_one() {
  local target=$1 words=()
  mkdir -p "$build/corpus/$target" "$build/crashes" "$build/logs"
  [ -f "$here/dictionary/$target" ] && words=("-dict=$here/dictionary/$target")
  # Files in memory, where there are any: each input is written to one.
  local folder=/dev/shm
  [ -w "$folder" ] || folder=${TMPDIR:-/tmp}
  local code=0
  TMPDIR=$folder ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=1 \
    "$build/bin/fuzz_$target" "${words[@]}" -max_len=4096 -timeout=10 -rss_limit_mb=512 \
    -malloc_limit_mb=256 -max_total_time="$seconds" -print_final_stats=1 -use_value_profile=1 \
    -artifact_prefix="$build/crashes/$target-" \
    "$build/corpus/$target" "$here/corpus/$target" >"$build/logs/$target" 2>&1 || code=1
  printf '%-14s %s %s\n' "$target" \
    "$(grep -o 'cov: .*' "$build/logs/$target" | tail -n 1)" \
    "$(grep -o 'number_of_executed_units: .*' "$build/logs/$target")"
  ((code == 0)) || { tail -n 40 "$build/logs/$target" >&2; return 255; }
}
export -f run_one
export here build seconds
printf '%s\n' "$@" | xargs -n 1 -P "$(nproc)" bash -c 'run_one "$1"' _

#!/bin/sh
# What xz and zstd need for the bytes that byte_lm holds out: alone, and after the rest of the text.
# usage: bench/byte_lm_vs_compressors.sh TEXT HELD_OUT_BYTES
set -eu
text=$1
held_out=$2
size=$(wc -c <"$text")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c "$((size - held_out))" "$text" >"$work/learnt"
tail -c "$held_out" "$text" >"$work/held_out"
report() {
  name=$1
  shift
  alone=$("$@" <"$work/held_out" | wc -c)
  learnt=$("$@" <"$work/learnt" | wc -c)
  both=$("$@" <"$text" | wc -c)
  awk -v name="$name" -v alone="$alone" -v more="$((both - learnt))" -v bytes="$held_out" 'BEGIN {
    printf "%-10s alone %7d bytes, %.4f bits a byte; after the rest %7d bytes, %.4f bits a byte\n",
      name, alone, 8 * alone / bytes, more, 8 * more / bytes }'
}
report 'xz -9e' xz -9e -c
report 'zstd -19' zstd -q -19 -c

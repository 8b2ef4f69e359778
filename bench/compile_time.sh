#!/bin/sh
# Seconds of processor time that a translation unit costs, as multiples of one with <Eigen/Core>
# alone: header-only, and for those who link sequin::compiled.
# usage: bench/compile_time.sh [COMPILER] [FLAGS...]   (g++ -O2 -march=native)
#   UNITS="tensor mamba" and TURNS=1 measure less.
set -eu
cd "$(dirname "$0")/.."
compiler=${1:-g++}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- -O2 -march=native
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
units=

unit() { # name, headers, code
  units="$units $1"
  for header in $2; do
    printf '#include "sequin/%s"\n' "$header"
  done >"$work/$1.cpp"
  printf 'using namespace sequin;\n%s\n' "${3:-}" >>"$work/$1.cpp"
}
printf '#include <Eigen/Core>\n' >"$work/eigen.cpp"
unit tensor core/tensor.hpp 'Tensor<float, 2> f() { return Tensor<float, 2>({2, 3}); }'
unit gemm kernels/gemm.hpp 'void f(const kernels::GemmProblem<float>& p) { kernels::gemm(p, 0, 9, 0, 9); }'
unit linear ops/linear.hpp 'Tensor<float, 3> f(const Tensor<float, 3>& x, const Tensor<float, 2>& w) { return linear(x, w); }'
unit attention ops/attention.hpp 'Tensor<float, 4> f(const Tensor<float, 4>& x) { return attention(x, x, x); }'
unit block blocks/attention_layer.hpp 'Tensor<float, 3> f(const AttentionLayer<float>& a, const Tensor<float, 3>& x) { return a.forward(x, x, x); }'
unit itransformer models/itransformer.hpp 'Tensor<float, 3> f(const ITransformer<float>& m, const Tensor<float, 3>& x) { return m.forward(x); }'
unit mamba models/mamba.hpp 'Tensor<float, 3> f(const Mamba<float>& m, const Tensor<std::int64_t, 2>& x) { return m.forward(x); }'
unit session 'models/mamba.hpp stream/session.hpp' 'float f(Session<Mamba<float>>& s, std::int64_t t) { return s.step({&t, 1})[0]; }'
unit config io/config.hpp 'double f() { return Config::load("x").get_double("x", 1.0); }'
unit loader 'io/load_model.hpp models/itransformer.hpp' 'ITransformer<float> f() { return load_model<ITransformer<float>>("x"); }'
unit everything sequin.hpp ''

seconds() { # name, flags
  name=$1
  shift
  best=
  for _ in $(seq "${TURNS:-3}"); do
    t=$( { /usr/bin/env time -f '%U %S' "$compiler" -std=c++20 "$@" -Iinclude \
      -isystem /usr/include/eigen3 -c -o /dev/null "$work/$name.cpp" >/dev/null; } 2>&1 |
      awk 'END { print $1 + $2 }')
    best=$(echo "$t $best" | awk '{ print (NF == 1 || $1 < $2) ? $1 : $2 }')
  done
  echo "$best"
}
base=$(seconds eigen "$@")
printf '%-14s %8s %16s   (<Eigen/Core>: %s s)\n' unit header-only sequin::compiled "$base"
for name in ${UNITS:-$units}; do
  echo "$name $(seconds "$name" "$@") $(seconds "$name" "$@" -DSEQUIN_COMPILED) $base" |
    awk '{ printf "%-14s %6.2f s %5.2f %6.2f s %5.2f\n", $1, $2, $2 / $4, $3, $3 / $4 }'
done

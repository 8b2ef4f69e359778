#!/bin/sh
# Seconds that a translation unit costs, as multiples of one with <Eigen/Core> alone.
# usage: bench/compile_time.sh [COMPILER] [FLAGS...]   (g++ -O2 -march=native)
set -eu
cd "$(dirname "$0")/.."
compiler=${1:-g++}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- -O2 -march=native
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unit() { # name, text
  printf '%b\n' "$2" >"$work/$1.cpp"
}
unit eigen '#include <Eigen/Core>'
unit core '#include "sequin/core/tensor.hpp"\nsequin::Tensor<float, 2> f() { return sequin::Tensor<float, 2>({2, 3}); }'
unit block '#include "sequin/blocks/attention_layer.hpp"\nusing namespace sequin;\nTensor<float, 3> f(const AttentionLayer<float>& a, const Tensor<float, 3>& x) { return a.forward(x, x, x); }'
unit itransformer '#include "sequin/models/itransformer.hpp"\nusing namespace sequin;\nTensor<float, 3> f(const ITransformer<float>& m, const Tensor<float, 3>& x) { return m.forward(x); }'
unit mamba '#include "sequin/models/mamba.hpp"\nusing namespace sequin;\nTensor<float, 3> f(const Mamba<float>& m, const Tensor<std::int64_t, 2>& x) { return m.forward(x); }'
unit mamba_session '#include "sequin/models/mamba.hpp"\n#include "sequin/stream/session.hpp"\nusing namespace sequin;\nfloat f(Session<Mamba<float>>& s, std::int64_t t) { return s.step({&t, 1})[0]; }'
unit loader '#include "sequin/io/load_model.hpp"\n#include "sequin/models/itransformer.hpp"\nusing namespace sequin;\nITransformer<float> f() { return load_model<ITransformer<float>>("x"); }'

seconds() {
  best=
  for _ in 1 2 3; do
    t=$( { /usr/bin/env time -f %e "$compiler" -std=c++20 "$@" -Iinclude -isystem /usr/include/eigen3 \
      -c -o /dev/null "$unit_file" >/dev/null; } 2>&1 | tail -n 1)
    best=$(echo "$best $t" | awk '{ print (NF == 1 || $2 < $1) ? $NF : $1 }')
  done
  echo "$best"
}
unit_file=$work/eigen.cpp
base=$(seconds "$@")
printf '%-16s %6s s %6s\n' unit time ratio
for name in eigen core block itransformer mamba mamba_session loader; do
  unit_file=$work/$name.cpp
  t=$(seconds "$@")
  echo "$name $t $base" | awk '{ printf "%-16s %6.2f s %6.2f\n", $1, $2, $2 / $3 }'
done

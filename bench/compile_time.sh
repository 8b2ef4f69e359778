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
unit gradients 'autograd/tape.hpp models/itransformer.hpp' 'Gradients f(const ITransformer<float>& m, const Tensor<float, 3>& x) { Tape tape; const auto y = m.forward(x); return tape.gradients(y, y); }'
unit session 'models/mamba.hpp stream/session.hpp' 'float f(Session<Mamba<float>>& s, std::int64_t t) { return s.step({&t, 1})[0]; }'
unit config io/config.hpp 'double f() { return Config::load("x").get_double("x", 1.0); }'
unit loader 'io/load_model.hpp models/itransformer.hpp' 'ITransformer<float> f() { return load_model<ITransformer<float>>("x"); }'
unit everything sequin.hpp ''

seconds() { # name, compiler flags
  name=$1
  shift
  { /usr/bin/env time -f '%U %S' "$compiler" -std=c++20 "$@" -Iinclude \
    -isystem /usr/include/eigen3 -c -o /dev/null "$work/$name.cpp" >/dev/null; } 2>&1 |
    awk 'END { print $1 + $2 }'
}
# By turns, and of the turns' quotients the median: a machine's speed changes within seconds.
printf '%-14s %17s %17s %17s\n' unit header-only sequin::compiled '<Eigen/Core>'
for name in ${UNITS:-$units}; do
  for _ in $(seq "${TURNS:-3}"); do
    echo "$(seconds eigen "$@") $(seconds "$name" "$@")" \
      "$(seconds eigen "$@") $(seconds "$name" "$@" -DSEQUIN_COMPILED)"
  done | awk -v name="$name" '
    function median(v, n,   i, j, t) {
      for (i = 2; i <= n; ++i)
        for (j = i; j > 1 && v[j] < v[j - 1]; --j) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    { e[NR] = $1; h[NR] = $2; c[NR] = $4; hq[NR] = 2 * $2 / ($1 + $3); cq[NR] = $4 / $3 }
    END { printf "%-14s %8.2f s %6.2f %8.2f s %6.2f %15.2f s\n", name, median(h, NR),
                 median(hq, NR), median(c, NR), median(cq, NR), median(e, NR) }'
done

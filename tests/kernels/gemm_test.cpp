#include "sequin/kernels/gemm.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <limits>
#include <vector>

using namespace sequin;
using kernels::GemmProblem;
using kernels::kPanelColumns;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

/// One link of the chain as simd::fma computes it: one rounding where the instruction set has it.
template <class T>
T link(T a, T b, T c) {
#if defined(__FMA__) || defined(__aarch64__)
  return std::fma(a, b, c);
#else
  const volatile T product = a * b;
  return product + c;
#endif
}

/// A product of m x k and k x n with its operands in every layout.
template <class T>
struct Case {
  index_t m, n, k;
  Tensor<T, 2> a = wavy<T, 2>({m, k}, 0.3), b = wavy<T, 2>({k, n}, 0.8);
  Tensor<T, 2> a_transposed{Shape<2>{k, m}}, b_transposed{Shape<2>{n, k}};
  Tensor<T, 1> bias = wavy<T, 1>({n}, 0.1);
  std::vector<T> panels;

  Case(index_t rows, index_t columns, index_t depth) : m(rows), n(columns), k(depth) {
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < k; ++j) a_transposed(j, i) = std::as_const(a)(i, j);
    for (index_t i = 0; i < k; ++i)
      for (index_t j = 0; j < n; ++j) b_transposed(j, i) = std::as_const(b)(i, j);
    panels.assign(static_cast<std::size_t>(kernels::packed_size<T>(k, n)), T(NAN));
    kernels::pack_b(std::as_const(b).data(), n, index_t{1}, k, n, panels.data());
  }

  /// The law, by a plain loop; `c` is what the result is added to.
  Tensor<T, 2> expected(const T* with_bias = nullptr, const Tensor<T, 2>* c = nullptr) const {
    Tensor<T, 2> out({m, n});
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < n; ++j) {
        T sum = 0;
        for (index_t l = 0; l < k; ++l) sum = link(a(i, l), b(l, j), sum);
        if (c != nullptr) sum = (*c)(i, j) + sum;
        if (with_bias != nullptr) sum += with_bias[j];
        out(i, j) = sum;
      }
    return out;
  }

  GemmProblem<T> problem(Tensor<T, 2>& c) const {
    GemmProblem<T> p;
    p.a = a.data();
    p.a_row = k;
    p.b = panels.data();
    p.c = c.data();
    p.c_row = n;
    p.n = n;
    p.k = k;
    return p;
  }
};

template <class T>
void run(const GemmProblem<T>& p, index_t m) {
  kernels::gemm(p, index_t{0}, m, index_t{0}, p.n);
}

/// Every layout of one size, each element for element equal to the chain.
template <class T>
void check(index_t m, index_t n, index_t k) {
  CAPTURE(m, n, k);
  const Case<T> x(m, n, k);
  const auto plain = x.expected();
  const auto with_bias = x.expected(x.bias.data());
  Tensor<T, 2> c({m, n}, T(NAN));  // not read
  auto p = x.problem(c);
  run(p, m);
  REQUIRE(identical(c, plain));
  p.bias = x.bias.data();
  run(p, m);
  REQUIRE(identical(c, with_bias));

  // A transposed, B's rows as they lie.
  p.a = x.a_transposed.data();
  p.a_row = 1;
  p.a_k = m;
  p.b = x.b.data();
  p.b_row = n;
  c.fill(T(NAN));
  run(p, m);
  REQUIRE(identical(c, with_bias));

  auto sum = wavy<T, 2>({m, n}, 0.5);
  const auto accumulated = x.expected(x.bias.data(), &sum);
  p.c = sum.data();
  p.accumulate = true;
  run(p, m);
  REQUIRE(identical(sum, accumulated));
}

}  // namespace

TEMPLATE_TEST_CASE("gemm: each element is one chain of fused multiply-adds, bit by bit", "[gemm]",
                   float, double) {
  using T = TestType;
  constexpr index_t panel = kPanelColumns<T>;
  for (const index_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 25})
    for (const index_t n : {index_t{1}, panel / 2, panel - 1, panel, panel + 1, 4 * panel + 3})
      for (const index_t k : {1, 2, 31, 33}) check<T>(m, n, k);
}

TEMPLATE_TEST_CASE("gemm: long chains that rest in C on the way keep the law", "[gemm]", float,
                   double) {
  using T = TestType;
  for (const index_t k : {300, 767, 768, 769, 1537, 2048, 2500})
    for (const index_t m : {3, 4, 9, 29}) check<T>(m, kPanelColumns<T> + 3, k);
  check<T>(301, 5, 800);  // several blocks of rows
}

TEMPLATE_TEST_CASE("gemm: rows that stay in a cache while B passes give what more rows give",
                   "[gemm]", float, double) {
  using T = TestType;
  const index_t k = 3000, n = 2 * kPanelColumns<T> + 1;
  const index_t most = kernels::kGemmScratch<T> / k;
  const Case<T> x(most + 2, n, k);
  Tensor<T, 2> all({most + 2, n}, T(NAN));
  run(x.problem(all), most + 2);
  for (const index_t m : {index_t{4}, index_t{5}, most - 1, most, most + 1}) {
    Tensor<T, 2> c({m, n}, T(NAN));
    run(x.problem(c), m);
    const auto same = std::equal(std::as_const(c).data(), std::as_const(c).data() + m * n,
                                 std::as_const(all).data());
    CAPTURE(m);
    REQUIRE(same);
  }
}

TEMPLATE_TEST_CASE("gemm: rows of A side by side in scratch memory give what they give in place",
                   "[gemm]", float, double) {
  using T = TestType;
  const index_t n = 512, apart = 4096 / static_cast<index_t>(sizeof(T));
  std::vector<T> scratch(static_cast<std::size_t>(kernels::kGemmScratch<T>));
  for (const index_t m : {16, 17, 19, 20, 21, 27, 64})
    for (const index_t k : {1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 25, 34, 40}) {
      CAPTURE(m, k);
      const Case<T> x(m, n, k);
      Tensor<T, 2> wide({m, apart}, T(NAN));
      for (index_t i = 0; i < m; ++i)
        for (index_t l = 0; l < k; ++l) wide(i, l) = x.a(i, l);
      Tensor<T, 2> in_place({m, n}, T(NAN)), beside({m, n}, T(NAN));
      auto p = x.problem(in_place);
      run(p, m);
      p.a = std::as_const(wide).data();
      p.a_row = apart;
      p.c = beside.data();
      p.scratch = scratch.data();
      std::fill(scratch.begin(), scratch.end(), T(7));
      run(p, m);
      REQUIRE(identical(beside, in_place));
      REQUIRE(scratch[static_cast<std::size_t>(m * k)] == T(7));
      p.a = x.a_transposed.data();
      p.a_row = 1;
      p.a_k = m;
      beside.fill(T(NAN));
      run(p, m);
      REQUIRE(identical(beside, in_place));
    }
}

TEMPLATE_TEST_CASE("gemm: asking for the next panel of a large B changes nothing", "[gemm]", float,
                   double) {
  using T = TestType;
  const auto k = static_cast<index_t>(4194304 / (64 * kPanelColumns<T> * sizeof(T))) + 3;
  for (const index_t m : {4, 9, 31}) check<T>(m, 64 * kPanelColumns<T> + 5, k);
}

TEMPLATE_TEST_CASE("gemm: B packed from its transpose or range by range is the same", "[gemm]",
                   float, double) {
  using T = TestType;
  for (const index_t n : {1, 7, 16, 40})
    for (const index_t k : {1, 15, 16, 17, 40}) {
      const Case<T> x(2, n, k);
      std::vector<T> other(x.panels.size(), T(NAN));
      kernels::pack_b(x.b_transposed.data(), index_t{1}, k, k, n, other.data());
      REQUIRE(other == x.panels);
      std::fill(other.begin(), other.end(), T(NAN));
      for (index_t first = 0; first < n; first += kPanelColumns<T>)
        kernels::pack_b(x.b.data(), n, index_t{1}, k, n, other.data(), first,
                        (std::min)(first + kPanelColumns<T>, n));
      REQUIRE(other == x.panels);
    }
}

TEMPLATE_TEST_CASE("gemm: ranges of rows and columns write their part, in any order", "[gemm]",
                   float, double) {
  using T = TestType;
  constexpr index_t panel = kPanelColumns<T>;
  const index_t m = 23, n = 3 * panel + 5;
  for (const index_t k : {19, 1900})
    for (const bool packed : {true, false}) {
      const Case<T> x(m, n, k);
      const auto expected = x.expected(x.bias.data());
      Tensor<T, 2> c({m, n}, T(NAN));
      auto p = x.problem(c);
      p.bias = x.bias.data();
      if (!packed) {
        p.b = x.b.data();
        p.b_row = n;
      }
      kernels::gemm(p, index_t{7}, m, 2 * panel, n);
      for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < n; ++j)
          REQUIRE(std::isnan(std::as_const(c)(i, j)) == !(i >= 7 && j >= 2 * panel));
      kernels::gemm(p, index_t{7}, m, index_t{0}, 2 * panel);
      kernels::gemm(p, index_t{0}, index_t{6}, index_t{0}, n);
      kernels::gemm(p, index_t{6}, index_t{7}, index_t{0}, n);
      REQUIRE(identical(c, expected));
    }
}

TEMPLATE_TEST_CASE("gemm: rows of A and C may lie apart", "[gemm]", float, double) {
  using T = TestType;
  const index_t m = 9, n = kPanelColumns<T> + 3;
  for (const index_t k : {21, 1700}) {
    const Case<T> x(m, n, k);
    Tensor<T, 2> wide_a({m, 2 * k}, T(NAN)), wide_c({m, n + 6}, T(7));
    for (index_t i = 0; i < m; ++i)
      for (index_t l = 0; l < k; ++l) wide_a(i, 2 * l) = x.a(i, l);
    auto p = x.problem(wide_c);
    p.a = std::as_const(wide_a).data();
    p.a_row = 2 * k;
    p.a_k = 2;
    p.c_row = n + 6;
    run(p, m);
    const auto expected = x.expected();
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < n + 6; ++j)
        REQUIRE(std::as_const(wide_c)(i, j) == (j < n ? expected(i, j) : T(7)));
  }
}

TEST_CASE("gemm: without a depth the product is 0 or the bias, without rows nothing", "[gemm]") {
  const Case<float> x(5, 19, 0);
  Tensor<float, 2> c({5, 19}, NAN);
  auto p = x.problem(c);
  run(p, 5);
  REQUIRE(identical(c, Tensor<float, 2>({5, 19})));
  p.bias = x.bias.data();
  run(p, 5);
  REQUIRE(std::as_const(c)(4, 18) == x.bias(18));
  c.fill(3);
  kernels::gemm(p, index_t{2}, index_t{2}, index_t{0}, index_t{19});
  kernels::gemm(p, index_t{0}, index_t{5}, index_t{16}, index_t{16});
  REQUIRE(identical(c, Tensor<float, 2>({5, 19}, 3.f)));
}

TEST_CASE("gemm: NaN in a row of A spoils that row, in a column of B that column", "[gemm]") {
  for (const index_t k : {9, 1800}) {
    Case<float> x(13, 37, k);
    x.a(4, k - 1) = NAN;
    x.b(0, 36) = NAN;
    kernels::pack_b(std::as_const(x.b).data(), index_t{37}, index_t{1}, k, index_t{37},
                    x.panels.data());
    Tensor<float, 2> c({13, 37});
    run(x.problem(c), 13);
    for (index_t i = 0; i < 13; ++i)
      for (index_t j = 0; j < 37; ++j)
        REQUIRE(std::isnan(std::as_const(c)(i, j)) == (i == 4 || j == 36));
  }
}

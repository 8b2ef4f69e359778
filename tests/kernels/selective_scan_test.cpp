#include "sequin/kernels/selective_scan.hpp"

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace sequin;

namespace {

template <class T>
T exp2_of(T x) {
  simd::Vec<T> v[2] = {simd::set1<T>(x), simd::set1<T>(x)};
  kernels::detail::exp2_inplace<T>(v);
  T out[static_cast<std::size_t>(simd::kLanes<T>)];
  simd::store<T>(out, v[1]);
  return out[0];
}

template <class T, std::size_t Rank>
Tensor<T, Rank> random_tensor(const Shape<Rank>& shape, std::uint64_t seed) {
  Generator random(seed);
  Tensor<T, Rank> t(shape);
  for (T& v : t.span()) v = 2 * random.uniform<T>() - 1;
  return t;
}

template <class T>
void check_rows(double ulps) {
  const double eps = std::numeric_limits<T>::epsilon();
  constexpr index_t n = 512;
  std::vector<T> x(n), soft(n), gate(n);
  for (index_t i = 0; i < n; ++i) {
    x[static_cast<std::size_t>(i)] = static_cast<T>(-40.0 + 0.15 * static_cast<double>(i));
  }
  alignas(64) T rows[n];
  std::copy(x.begin(), x.end(), rows);
  kernels::detail::softplus_rows(rows, n);
  for (index_t i = 0; i < n; ++i) {
    const double v = x[static_cast<std::size_t>(i)];
    const double expected = v > 20 ? v : std::log1p(std::exp(v));
    CHECK(std::abs(rows[i] - expected) <= ulps * eps * expected);
  }
  std::copy(x.begin(), x.end(), rows);
  kernels::detail::silu_rows(rows, n);
  for (index_t i = 0; i < n; ++i) {
    const double v = x[static_cast<std::size_t>(i)];
    const double expected = v / (1 + std::exp(-v));
    CHECK(std::abs(rows[i] - expected) <= ulps * eps * std::abs(expected));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("selective_scan: the decay is within 1.5 ulp and right at the ends", "", float,
                   double) {
  using T = TestType;
  const double limit = sizeof(T) == 4 ? 126 : 1022;
  double worst = 0;
  for (int i = 0; i <= 20000; ++i) {
    const T x = static_cast<T>(-limit + 2 * limit * i / 20000.0);
    const long double exact = std::exp2(static_cast<long double>(x));
    worst = (std::max)(worst, static_cast<double>(std::abs(exp2_of(x) - exact) / exact));
  }
  // The polynomial's own error, its last rounding and that of the step before.
  CHECK(worst <= 1.5 * std::numeric_limits<T>::epsilon());
  CHECK(exp2_of(T{0}) == T{1});
  CHECK(exp2_of(T{-1e6}) == T{0});
  CHECK(exp2_of(-std::numeric_limits<T>::infinity()) == T{0});
  CHECK(exp2_of(T{1e6}) == std::numeric_limits<T>::infinity());
  CHECK(std::isnan(exp2_of(std::numeric_limits<T>::quiet_NaN())));
}

TEST_CASE("selective_scan: softplus and silu of rows are within a few ulp") {
#ifdef __FMA__
  constexpr double kUlps = 4;
#else
  // Without fused multiply-add the rounding error of x log2 e is not seen: |x| / 2 ulp, x to -40.
  constexpr double kUlps = 24;
#endif
  check_rows<float>(kUlps);
  check_rows<double>(kUlps);
  alignas(64) float rows[64] = {NAN, 1000.0f, -1000.0f};
  kernels::detail::softplus_rows(rows, 64);
  CHECK(std::isnan(rows[0]));
  CHECK(rows[1] == 1000.0f);
  CHECK(rows[2] == 0.0f);
}

TEST_CASE("selective_scan: views into wider matrices give the bits of contiguous ones") {
  constexpr index_t steps = 37, channels = 24, states = 5, rank = 3;
  const auto xz = random_tensor<float, 3>({2, steps, 2 * channels}, 1);
  const auto projected = random_tensor<float, 3>({2, steps, rank + 2 * states}, 2);
  const auto delta = random_tensor<float, 3>({2, steps, channels}, 3);
  auto a = random_tensor<float, 2>({channels, states}, 4);
  for (float& v : a.span()) v -= 1.5f;
  const auto columns = [](const Tensor<float, 3>& x, index_t first, index_t count) {
    return View<const float, 3>(x.data() + first, {x.extent(0), x.extent(1), count},
                                x.view().strides());
  };
  const auto copy = [](const View<const float, 3>& v) {
    Tensor<float, 3> t(v.shape());
    for (index_t i = 0; i < v.extent(0); ++i)
      for (index_t j = 0; j < v.extent(1); ++j)
        for (index_t k = 0; k < v.extent(2); ++k) t(i, j, k) = v(i, j, k);
    return t;
  };
  const auto four = [](const View<const float, 3>& v) {
    return View<const float, 4>(v.data(), {v.extent(0), v.extent(1), 1, v.extent(2)},
                                {v.stride(0), v.stride(1), 0, 1});
  };
  kernels::SelectiveScanInputs<float> in;
  in.u = columns(xz, 0, channels);
  in.z = columns(xz, channels, channels);
  in.delta = delta.view();
  in.A = std::as_const(a).view();
  in.B = four(columns(projected, rank, states));
  in.C = four(columns(projected, rank + states, states));
  in.delta_softplus = true;
  Tensor<float, 3> state({2, channels, states}), other({2, channels, states});
  Tensor<float, 3> y({2, steps, channels}), same({2, steps, channels});
  const index_t items = kernels::selective_scan_forward_items(in);
  kernels::selective_scan_forward<float>(in, state.view(), y.view(), nullptr, 0, items);

  const auto u = copy(in.u);
  const auto z = copy(in.z);
  const auto b = copy(columns(projected, rank, states));
  const auto c = copy(columns(projected, rank + states, states));
  in.u = u.view();
  in.z = z.view();
  in.B = four(b.view());
  in.C = four(c.view());
  // One piece of work at a time, last first.
  for (index_t i = items; i-- > 0;)
    kernels::selective_scan_forward<float>(in, other.view(), same.view(), nullptr, i, i + 1);
  CHECK(std::memcmp(y.data(), same.data(), static_cast<std::size_t>(y.size()) * 4) == 0);
  CHECK(std::memcmp(state.data(), other.data(), static_cast<std::size_t>(state.size()) * 4) == 0);
}

TEMPLATE_TEST_CASE("transpose: every size of block is turned and nothing else is written", "",
                   float, double) {
  using T = TestType;
  for (const index_t rows : {0, 1, 3, 4, 7, 33, 70}) {
    for (const index_t cols : {0, 1, 2, 5, 8, 34}) {
      const auto from = random_tensor<T, 2>({rows, cols + 3}, 1);
      Tensor<T, 2> to({cols, rows + 2}, T{9});
      kernels::transpose(from.data(), cols + 3, rows, cols, to.data(), rows + 2);
      bool right = true;
      for (index_t c = 0; c < cols; ++c)
        for (index_t r = 0; r < rows + 2; ++r)
          right = right && to(c, r) == (r < rows ? from(r, c) : T{9});
      CHECK(right);
    }
  }
}

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/kernels/gru.hpp"
#include "sequin/kernels/lstm.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

using namespace sequin;

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

template <class T>
Tensor<T, 1> drawn(index_t count, std::uint64_t seed) {
  Generator random(seed);
  Tensor<T, 1> t({count});
  for (T& v : t.span()) v = static_cast<T>(2 * random.uniform<double>() - 1);
  return t;
}

/// One cell: weights as PyTorch stores them, and packed.
template <class T>
struct Cell {
  index_t gates, in, hidden;
  Tensor<T, 1> weight_ih, weight_hh, bias_ih, bias_hh;
  Tensor<T, 1> packed_ih, packed_hh, packed_bias_ih, packed_bias_hh;

  Cell(index_t g, index_t i, index_t h)
      : gates(g),
        in(i),
        hidden(h),
        weight_ih(drawn<T>(g * h * i, 1)),
        weight_hh(drawn<T>(g * h * h, 2)),
        bias_ih(drawn<T>(g * h, 3)),
        bias_hh(drawn<T>(g * h, 4)) {
    const index_t columns = kernels::recurrent_columns<T>(gates, hidden);
    const auto pack = [&](const Tensor<T, 1>& weight, index_t k) {
      Tensor<T, 1> to({kernels::packed_size<T>(k, columns)}, T{7});
      kernels::pack_gates(weight.data(), gates, hidden, k, to.data());
      return to;
    };
    packed_ih = pack(weight_ih, in);
    packed_hh = pack(weight_hh, hidden);
    packed_bias_ih = Tensor<T, 1>({columns}, T{7});
    packed_bias_hh = Tensor<T, 1>({columns}, T{7});
    kernels::pack_gate_bias(std::as_const(bias_ih).data(), gates, hidden, packed_bias_ih.data());
    kernels::pack_gate_bias(std::as_const(bias_hh).data(), gates, hidden, packed_bias_hh.data());
  }

  kernels::RecurrentWeights<T> weights() const {
    return {packed_ih.data(),
            packed_hh.data(),
            packed_bias_ih.data(),
            packed_bias_hh.data(),
            in,
            hidden};
  }

  double sum(const Tensor<T, 1>& weight, const Tensor<T, 1>& bias, const Tensor<T, 1>& x,
             index_t gate, index_t unit) const {
    const index_t row = gate * hidden + unit;
    double total = bias(row);
    for (index_t k = 0; k < x.size(); ++k)
      total += static_cast<double>(weight(row * x.size() + k)) * x(k);
    return total;
  }
  double from_input(const Tensor<T, 1>& x, index_t gate, index_t unit) const {
    return sum(weight_ih, bias_ih, x, gate, unit);
  }
  double from_state(const Tensor<T, 1>& h, index_t gate, index_t unit) const {
    return sum(weight_hh, bias_hh, h, gate, unit);
  }
};

// A sum of 70 products of numbers below 1 and the slopes of the gates: a few ten roundings.
template <class T>
constexpr double kTolerance = 60 * std::numeric_limits<T>::epsilon();

const std::vector<index_t> kSizes = {1, 3, 7, 8, 9, 15, 16, 17, 24, 32, 33, 48, 64, 65};

}  // namespace

TEMPLATE_TEST_CASE("gru_step: every size equals the formulas and writes nothing else", "", float,
                   double) {
  using T = TestType;
  for (const index_t hidden : kSizes) {
    for (const index_t in : {index_t{1}, index_t{5}, hidden}) {
      const Cell<T> cell(kernels::kGruGates, in, hidden);
      const auto x = drawn<T>(in, 5);
      const auto h = drawn<T>(hidden, 6);
      Tensor<T, 1> out({hidden + 4}, T{9}), turned({hidden + 4}, T{9});
      kernels::gru_step<T>(cell.weights(), x.data(), h.data(), out.data());
      kernels::gru_step<T>(cell.weights(), x.data(), h.data(), turned.data(), true);
      double worst = 0;
      for (index_t j = 0; j < hidden; ++j) {
        const double r = sigmoid(cell.from_input(x, 0, j) + cell.from_state(h, 0, j));
        const double z = sigmoid(cell.from_input(x, 1, j) + cell.from_state(h, 1, j));
        const double n = std::tanh(cell.from_input(x, 2, j) + r * cell.from_state(h, 2, j));
        worst = (std::max)(worst, std::abs(out(j) - ((1 - z) * n + z * h(j))));
        REQUIRE(out(j) == turned(j));
      }
      INFO("hidden " << hidden << ", in " << in);
      CHECK(worst <= kTolerance<T>);
      for (index_t j = hidden; j < hidden + 4; ++j) REQUIRE(out(j) == T{9});
    }
  }
}

TEMPLATE_TEST_CASE("lstm_step: every size equals the formulas and writes nothing else", "", float,
                   double) {
  using T = TestType;
  for (const index_t hidden : kSizes) {
    for (const index_t in : {index_t{1}, index_t{5}, hidden}) {
      const Cell<T> cell(kernels::kLstmGates, in, hidden);
      const auto x = drawn<T>(in, 5);
      const auto h = drawn<T>(hidden, 6);
      const auto before = drawn<T>(hidden, 7);
      Tensor<T, 1> out({hidden + 4}, T{9}), turned({hidden + 4}, T{9}), c({hidden + 4}, T{9});
      std::copy_n(before.data(), hidden, c.data());
      auto c_turned = c.clone();
      kernels::lstm_step<T>(cell.weights(), x.data(), h.data(), c.data(), out.data());
      kernels::lstm_step<T>(cell.weights(), x.data(), h.data(), c_turned.data(), turned.data(),
                            true);
      double worst = 0;
      for (index_t j = 0; j < hidden; ++j) {
        const auto gate = [&](index_t g) {
          return cell.from_input(x, g, j) + cell.from_state(h, g, j);
        };
        const double next = sigmoid(gate(1)) * before(j) + sigmoid(gate(0)) * std::tanh(gate(2));
        worst = (std::max)(worst, std::abs(c(j) - next));
        worst = (std::max)(worst, std::abs(out(j) - sigmoid(gate(3)) * std::tanh(next)));
        REQUIRE(out(j) == turned(j));
        REQUIRE(c(j) == c_turned(j));
      }
      INFO("hidden " << hidden << ", in " << in);
      CHECK(worst <= kTolerance<T>);
      for (index_t j = hidden; j < hidden + 4; ++j) {
        REQUIRE(out(j) == T{9});
        REQUIRE(c(j) == T{9});
      }
    }
  }
}

TEST_CASE("gate functions: sigmoid and tanh are within a few ulp, NaN and infinities pass") {
  using V = simd::Vec<float>;
  const auto first = [](const V& v) {
    float lanes[static_cast<std::size_t>(simd::kLanes<float>)];
    simd::store<float>(lanes, v);
    return lanes[0];
  };
  const double eps = std::numeric_limits<float>::epsilon();
  double worst_sigmoid = 0, worst_tanh = 0;
  for (int i = -86000; i <= 86000; ++i) {
    const float x = static_cast<float>(i) * 1e-3f;
    const double s = 1 / (1 + std::exp(-static_cast<double>(x)));
    const double t = std::tanh(static_cast<double>(x));
    const double scale = 1 + std::abs(x) / 8;  // the last bits of log2 e
    const auto sigmoid = static_cast<double>(first(kernels::detail::gate_sigmoid<float>(V(x))));
    const auto tanh = static_cast<double>(first(kernels::detail::gate_tanh<float>(V(x))));
    worst_sigmoid = (std::max)(worst_sigmoid, std::abs(sigmoid - s) / s / scale);
    if (i != 0) worst_tanh = (std::max)(worst_tanh, std::abs(tanh - t) / std::abs(t));
  }
#ifdef __FMA__
  CHECK(worst_sigmoid <= 2 * eps);
#else
  CHECK(worst_sigmoid <= 5 * eps);  // the product with log2 e rounds, |x| / 2 ulp
#endif
  CHECK(worst_tanh <= 3 * eps);
  for (const auto f : {kernels::detail::gate_sigmoid<float>, kernels::detail::gate_tanh<float>}) {
    CHECK(std::isnan(first(f(V(NAN)))));
    CHECK(first(f(V(INFINITY))) == 1.0f);
  }
  CHECK(first(kernels::detail::gate_tanh<float>(V(-INFINITY))) == -1.0f);
  CHECK(first(kernels::detail::gate_sigmoid<float>(V(-INFINITY))) <= 2e-38f);
}

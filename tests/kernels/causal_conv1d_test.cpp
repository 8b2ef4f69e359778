#include "sequin/kernels/causal_conv1d.hpp"

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <cstring>

using namespace sequin;

namespace {

Tensor<float, 3> random_tensor(const Shape<3>& shape, std::uint64_t seed) {
  Generator random(seed);
  Tensor<float, 3> t(shape);
  for (float& v : t.span()) v = 2 * random.uniform<float>() - 1;
  return t;
}

}  // namespace

TEST_CASE("causal_conv1d: columns of a wider matrix, piece by piece, give the same bits") {
  constexpr index_t steps = 300, channels = 270;
  const auto wide = random_tensor({2, steps, 2 * channels}, 1);
  const auto weight = random_tensor({1, channels, 4}, 2);
  kernels::CausalConv1dInputs<float> in;
  in.x = {wide.data() + channels, {2, steps, channels}, wide.view().strides()};
  in.weight = {weight.data(), {channels, 4}};
  in.silu = true;
  Tensor<float, 3> narrow({2, steps, channels}), y(narrow.shape()), same(narrow.shape());
  for (index_t b = 0; b < 2; ++b)
    for (index_t t = 0; t < steps; ++t)
      for (index_t e = 0; e < channels; ++e) narrow(b, t, e) = wide(b, t, channels + e);
  const index_t items = kernels::causal_conv1d_items(in);
  kernels::causal_conv1d_forward(in, y.view(), 0, items);
  in.x = std::as_const(narrow).view();
  for (index_t i = items; i-- > 0;) kernels::causal_conv1d_forward(in, same.view(), i, i + 1);
  CHECK(std::memcmp(y.data(), same.data(), static_cast<std::size_t>(y.size()) * 4) == 0);
}

TEST_CASE("causal_conv1d: any number of steps, channels and taps equals a plain loop") {
  for (const index_t taps : {1, 2, 3, 4, 5, 8, 9, 17})
    for (const index_t steps : {1, 3, 4, 5, 11})
      for (const index_t channels : {1, 7, 8, 9, 261})
        for (const bool silu : {false, true}) {
          const auto x = random_tensor({2, steps, channels}, 1);
          const auto weight = random_tensor({1, channels, taps}, 2);
          const auto bias = random_tensor({1, 1, channels}, 3);
          kernels::CausalConv1dInputs<float> in;
          in.x = x.view();
          in.weight = {weight.data(), {channels, taps}};
          in.bias = taps % 2 == 0 ? bias.data() : nullptr;
          in.silu = silu;
          Tensor<float, 3> y(x.shape());
          kernels::causal_conv1d_forward(in, y.view(), 0, kernels::causal_conv1d_items(in));
          double worst = 0;
          for (index_t b = 0; b < 2; ++b)
            for (index_t t = 0; t < steps; ++t)
              for (index_t e = 0; e < channels; ++e) {
                double sum = in.bias == nullptr ? 0.0 : double{bias(0, 0, e)};
                for (index_t k = 0; k < taps; ++k)
                  if (t + k >= taps - 1)
                    sum += double{weight(0, e, k)} * double{x(b, t + k - (taps - 1), e)};
                if (silu) sum /= 1 + std::exp(-sum);
                worst = (std::max)(worst, std::abs(double{std::as_const(y)(b, t, e)} - sum));
              }
          INFO(taps << " taps, " << steps << " steps, " << channels << " channels");
          // Up to 17 sums of values up to 1, each rounded to 2^-23 of up to 17.
          CHECK(worst <= 1e-5);
        }
}

TEST_CASE("causal_conv1d: the state keeps the last samples, whatever was longer") {
  for (const index_t kept : {0, 1, 3, 4, 9}) {
    for (const index_t steps : {0, 1, 2, 4, 20}) {
      const auto x = random_tensor({2, steps, 5}, 1);
      const auto before = random_tensor({2, 5, kept}, 2);
      auto state = before.clone();
      kernels::causal_conv1d_advance<float>(x.view(), state.view(), 0, 3);
      kernels::causal_conv1d_advance<float>(x.view(), state.view(), 3, 5);
      bool right = true;
      for (index_t b = 0; b < 2; ++b)
        for (index_t e = 0; e < 5; ++e)
          for (index_t j = 0; j < kept; ++j) {
            const index_t t = steps - kept + j;
            right = right && state(b, e, j) == (t >= 0 ? x(b, t, e) : before(b, e, kept + t));
          }
      CHECK(right);
    }
  }
}

#include "sequin/ops/causal_conv1d.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/random.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/causal_conv1d_circular.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

using namespace sequin;
using sequin_test::GoldenCase;
using sequin_test::relative_error;

namespace {

template <class T, std::size_t Rank>
Tensor<T, Rank> random_tensor(const Shape<Rank>& shape, std::uint64_t seed) {
  Generator random(seed);
  Tensor<T, Rank> t(shape);
  for (T& v : t.span()) v = static_cast<T>(2 * random.uniform<double>() - 1);
  return t;
}

template <class T, std::size_t Rank>
bool same_bits(const Tensor<T, Rank>& a, const Tensor<T, Rank>& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

// Steps [begin, end) of [B, T, E].
template <class T>
Tensor<T, 3> steps_of(const Tensor<T, 3>& x, index_t begin, index_t end) {
  Tensor<T, 3> part({x.extent(0), end - begin, x.extent(2)});
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = begin; t < end; ++t)
      for (index_t e = 0; e < x.extent(2); ++e) part(b, t - begin, e) = x(b, t, e);
  return part;
}

// The formula, one value at a time, in double.
template <class T>
CausalConv1dResult<double> reference(const Tensor<T, 3>& x, const Tensor<T, 2>& weight,
                                     const CausalConv1dOptions<T>& o, const Tensor<T, 3>& state) {
  const index_t taps = weight.extent(1);
  const index_t kept = state.defined() ? state.extent(2) : taps - 1;
  const auto sample = [&](index_t b, index_t t, index_t e) {
    if (t >= 0) return static_cast<double>(x(b, t, e));
    return state.defined() && kept + t >= 0 ? static_cast<double>(state(b, e, kept + t)) : 0.0;
  };
  Tensor<double, 3> y(x.shape());
  Tensor<double, 3> last({x.extent(0), x.extent(2), kept});
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t e = 0; e < x.extent(2); ++e) {
      for (index_t t = 0; t < x.extent(1); ++t) {
        double sum = o.bias.defined() ? static_cast<double>(o.bias(e)) : 0.0;
        for (index_t k = 0; k < taps; ++k)
          sum += static_cast<double>(weight(e, k)) * sample(b, t + k - taps + 1, e);
        y(b, t, e) = o.silu ? sum / (1 + std::exp(-sum)) : sum;
      }
      for (index_t j = 0; j < kept; ++j) last(b, e, j) = sample(b, x.extent(1) - kept + j, e);
    }
  return {y, last};
}

template <class T>
void check_golden_sequence(const std::string& name, double output_tolerance,
                           double grad_tolerance) {
  INFO(name);
  const GoldenCase c("blocks/causal_conv1d/" + name);
  auto x = c.tensor<T, 3>("input.x");
  auto weight = c.tensor<T, 2>("input.weight");
  auto state = c.tensor<T, 3>("input.initial_states");
  CausalConv1dOptions<T> o{c.tensor<T, 1>("input.bias"), c.text("activation") == "silu"};
  x.set_requires_grad();
  weight.set_requires_grad();
  if (o.bias.defined()) o.bias.set_requires_grad();
  if (state.defined()) state.set_requires_grad();
  const std::string output = sizeof(T) == 4 ? "output." : "output64.";
  Tape tape;
  const auto r = causal_conv1d_channel_major(x, weight, o, state);
  CHECK(relative_error(r.y, c.tensor<T, 3>(output + "y")) <= output_tolerance);
  CHECK(relative_error(r.final_state, c.tensor<T, 3>(output + "final_states")) <= output_tolerance);
  const auto target = c.tensor<T, 3>("input.target");
  auto dy = Tensor<T, 3>::empty(r.y.shape());
  for (index_t i = 0; i < dy.size(); ++i)
    dy.data()[i] = T{2} * (r.y.data()[i] - target.data()[i]) / static_cast<T>(dy.size());
  const Gradients g = tape.gradients(r.y, dy);
  CHECK(relative_error(g.of(x), c.tensor<T, 3>("grad.input.x")) <= grad_tolerance);
  CHECK(relative_error(g.of(weight), c.tensor<T, 2>("grad.input.weight")) <= grad_tolerance);
  if (o.bias.defined())
    CHECK(relative_error(g.of(o.bias), c.tensor<T, 1>("grad.input.bias")) <= grad_tolerance);
  if (state.defined())
    CHECK(relative_error(g.of(state), c.tensor<T, 3>("grad.input.initial_states")) <=
          grad_tolerance);
}

template <class T>
void check_golden_update(const std::string& name, double tolerance) {
  INFO(name);
  const GoldenCase c("blocks/causal_conv1d/" + name);
  const auto x = swap_time_channels(c.tensor<T, 3>("input.x"));
  const auto expected =
      swap_time_channels(c.tensor<T, 3>(sizeof(T) == 4 ? "output.y" : "output64.y"));
  const auto weight = c.tensor<T, 2>("input.weight");
  const CausalConv1dOptions<T> o{c.tensor<T, 1>("input.bias"), c.text("activation") == "silu"};
  auto state = c.tensor<T, 3>("input.conv_state");
  auto seen = c.tensor<std::int32_t, 1>("input.cache_seqlens");
  index_t t = 0;
  for (const index_t n : c.integers("pieces")) {
    const auto piece = steps_of(x, t, t + n);
    const auto y = c.flag("circular") ? causal_conv1d_circular(piece, weight, o, state, seen)
                                      : causal_conv1d(piece, weight, o, &state);
    CHECK(relative_error(y, steps_of(expected, t, t + n)) <= tolerance);
    t += n;
    for (std::int32_t& s : seen.span()) s += static_cast<std::int32_t>(n);
  }
  REQUIRE(t == x.extent(1));
  CHECK(relative_error(state, c.tensor<T, 3>(sizeof(T) == 4 ? "output.conv_state"
                                                            : "output64.conv_state")) <= tolerance);
}

}  // namespace

TEST_CASE("causal_conv1d: the official sequence values and gradients are reproduced") {
  for (const char* name : {"plain_no_bias", "silu", "initial_states"}) {
    check_golden_sequence<float>(name, 2e-5, 2e-4);
    // The double twins are stored as float, the gradients come from a float run.
    check_golden_sequence<double>(name, 1e-6, 2e-5);
  }
}

TEST_CASE("causal_conv1d: the official updates, circular ones included, are reproduced") {
  for (const char* name : {"update", "update_pieces", "update_circular"}) {
    check_golden_update<float>(name, 2e-5);
    check_golden_update<double>(name, 1e-6);
  }
}

TEST_CASE("causal_conv1d: any number of taps, channels and steps equals the plain formula") {
  for (const index_t taps : {1, 2, 3, 4, 5, 8, 9, 21}) {
    for (const index_t channels : {1, 7, 9, 300}) {
      for (const index_t steps : {1, 3, 131}) {
        for (const index_t extra : {-1, 0, 1, 13}) {
          INFO(taps << " taps, " << channels << " channels, " << steps << " steps, " << extra);
          const auto x = random_tensor<float, 3>({2, steps, channels}, 1);
          const auto weight = random_tensor<float, 2>({channels, taps}, 2);
          const CausalConv1dOptions<float> o{
              extra == 0 ? Tensor<float, 1>() : random_tensor<float, 1>({channels}, 3), extra >= 0};
          const auto state = extra < 0
                                 ? Tensor<float, 3>()
                                 : random_tensor<float, 3>({2, channels, taps - 1 + extra}, 4);
          const auto ours = causal_conv1d(x, weight, o, state);
          const auto expected = reference(x, weight, o, state);
          // Float rounding of up to 22 terms.
          REQUIRE(relative_error(ours.y, expected.y) <= 2e-6);
          REQUIRE(relative_error(ours.final_state, expected.final_state) == 0);
        }
      }
    }
  }
}

TEST_CASE("causal_conv1d: gradients equal finite differences for odd sizes and all options") {
  for (const index_t taps : {1, 3, 4, 11}) {
    for (const index_t steps : {2, 35}) {
      for (const bool silu : {false, true}) {
        INFO(taps << " taps, " << steps << " steps, silu " << silu);
        const auto x = random_tensor<double, 3>({2, steps, 5}, 1);
        const auto weight = random_tensor<double, 3>({5, 1, taps}, 2);
        const auto bias = random_tensor<double, 1>({5}, 3);
        const auto state = random_tensor<double, 3>({2, 5, taps + 1}, 4);
        const auto y = grad_check(
            [&](auto& a, auto& w, auto& b, auto& s) {
              return causal_conv1d<double>(a, w, {b, silu}, s).y;
            },
            x, weight, bias, state);
        INFO(y.where);
        CHECK(y.ok());
        const auto last = grad_check(
            [&](auto& a, auto& s) {
              return causal_conv1d<double>(a, weight, {bias, silu}, s).final_state;
            },
            x, state);
        INFO(last.where);
        CHECK(last.ok());
        const auto zero = grad_check(
            [&](auto& a, auto& w) {
              return causal_conv1d<double>(a, w, {{}, silu}).y;
            },
            x, weight);
        INFO(zero.where);
        CHECK(zero.ok());
      }
    }
  }
}

TEMPLATE_TEST_CASE("causal_conv1d: any chunking gives the bits of the whole", "", float, double) {
  using T = TestType;
  for (const index_t taps : {1, 2, 4, 7, 20}) {
    for (const index_t extra : {0, 1, 5}) {
      const auto x = random_tensor<T, 3>({2, 141, 19}, 1);
      const auto weight = random_tensor<T, 2>({19, taps}, 2);
      const CausalConv1dOptions<T> o{random_tensor<T, 1>({19}, 3), true};
      const auto initial = random_tensor<T, 3>({2, 19, taps - 1 + extra}, 4);
      const auto whole = causal_conv1d(x, weight, o, initial);
      for (const std::vector<index_t>& pieces :
           {std::vector<index_t>(141, 1), {2, 139}, {130, 0, 3, 8}, {5, 4, 3, 2, 1, 126}}) {
        auto state = initial.clone();
        const T* const place = std::as_const(state).data();
        index_t t = 0;
        for (const index_t n : pieces) {
          const auto y = causal_conv1d(steps_of(x, t, t + n), weight, o, &state);
          REQUIRE(same_bits(y, steps_of(whole.y, t, t + n)));
          t += n;
        }
        REQUIRE(t == 141);
        CHECK(same_bits(state, whole.final_state));
        CHECK(std::as_const(state).data() == place);
      }
    }
  }
}

TEST_CASE("causal_conv1d: no state means zeros, and a carry makes one") {
  const auto x = random_tensor<float, 3>({1, 6, 5}, 1);
  const auto weight = random_tensor<float, 2>({5, 4}, 2);
  Tensor<float, 3> state;
  const auto y = causal_conv1d(x, weight, {}, &state);
  CHECK(state.shape() == Shape<3>{1, 5, 3});
  CHECK(same_bits(y, causal_conv1d(x, weight, {}, Tensor<float, 3>({1, 5, 3})).y));
}

TEST_CASE("causal_conv1d: results do not depend on the number of threads") {
  const auto run = [](Executor* executor) {
    const ExecutorScope scope(executor);
    auto x = random_tensor<float, 3>({3, 300, 700}, 1);
    auto weight = random_tensor<float, 2>({700, 4}, 2);
    auto bias = random_tensor<float, 1>({700}, 3);
    x.set_requires_grad();
    weight.set_requires_grad();
    bias.set_requires_grad();
    Tape tape;
    const auto y = causal_conv1d<float>(x, weight, {bias, true}).y;
    const Gradients g = tape.gradients(y, x.detach());
    return std::tuple(y, g.of(x), g.of(weight), g.of(bias));
  };
  ThreadPool pool(3);
  const auto alone = run(nullptr);
  const auto shared = run(&pool);
  CHECK(same_bits(std::get<0>(alone), std::get<0>(shared)));
  CHECK(same_bits(std::get<1>(alone), std::get<1>(shared)));
  CHECK(same_bits(std::get<2>(alone), std::get<2>(shared)));
  CHECK(same_bits(std::get<3>(alone), std::get<3>(shared)));
}

TEST_CASE("causal_conv1d: no steps give no output and leave the state as it was") {
  auto state = random_tensor<float, 3>({2, 5, 4}, 1);
  const auto before = state.clone();
  const auto weight = random_tensor<float, 2>({5, 4}, 2);
  CHECK(causal_conv1d(Tensor<float, 3>({2, 0, 5}), weight, {}, &state).shape() ==
        Shape<3>{2, 0, 5});
  CHECK(same_bits(state, before));
}

TEST_CASE("causal_conv1d: mistakes are named with what was expected") {
  const Tensor<float, 3> x({1, 6, 8});
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const ShapeError& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK(message([&] {
          causal_conv1d(x, Tensor<float, 2>({4, 4}));
        }) == "causal_conv1d: weight is [4, 4], expected [E=8, K>=1] (x is [1, 6, 8])");
  CHECK(message([&] {
          causal_conv1d(x, Tensor<float, 3>({8, 2, 4}));
        }) == "causal_conv1d: weight is [8, 2, 4], expected [E, 1, K]");
  CHECK(message([&] {
          causal_conv1d<float>(x, Tensor<float, 2>({8, 4}), {Tensor<float, 1>({7}), true});
        }) == "causal_conv1d: bias is [7], expected [E=8] (x is [1, 6, 8])");
  CHECK(message([&] {
          Tensor<float, 3> state({1, 8, 2});
          causal_conv1d(x, Tensor<float, 2>({8, 4}), {}, &state);
        }) == "causal_conv1d: the state is [1, 8, 2], expected [B=1, E=8, S>=3] (x is [1, 6, 8])");
}

#include "sequin/autograd/grad_check.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/gru.hpp"
#include "sequin/ops/lstm.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/shape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

template <class T>
RecurrentParameters<T> cell(index_t gates, index_t in, index_t hidden, bool bias = true) {
  RecurrentParameters<T> p;
  p.weight_ih = wavy<T, 2>({gates * hidden, in}, 0.1, 0.8);
  p.weight_hh = wavy<T, 2>({gates * hidden, hidden}, 0.7, 0.6);
  if (bias) {
    p.bias_ih = wavy<T, 1>({gates * hidden}, 0.3, 0.5);
    p.bias_hh = wavy<T, 1>({gates * hidden}, 0.9, 0.5);
  }
  return p;
}

/// Both operations as one: the cell's state is ignored by gru.
template <class T>
struct Both {
  bool is_lstm;
  RecurrentParameters<T> p;
  RecurrentOptions<T> options;

  Tensor<T, 3> operator()(const Tensor<T, 3>& x, LstmLayerState<T>& s) const {
    return is_lstm ? lstm(x, p, &s, options) : gru(x, p, &s.h, options);
  }
};

template <class T>
LstmLayerState<T> states(index_t batch, index_t hidden) {
  return {wavy<T, 2>({batch, hidden}, 1.1, 0.7), wavy<T, 2>({batch, hidden}, 1.9, 0.9)};
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("gru, lstm: any chunking equals the batch result bit for bit", "[recurrent]") {
  for (const bool is_lstm : {false, true}) {
    for (const index_t hidden : {1, 7, 8, 16, 17, 33}) {
      for (const index_t batch : {1, 5}) {
        const Both<float> f{is_lstm, cell<float>(is_lstm ? 4 : 3, 3, hidden), {}};
        const auto x = wavy<float, 3>({batch, 11, 3}, 0.2);
        auto whole_state = states<float>(batch, hidden);
        const auto whole = f(x, whole_state);
        for (const index_t chunk : {1, 2, 4}) {
          auto state = states<float>(batch, hidden);
          Tensor<float, 3> y({batch, 0, hidden});
          for (index_t t = 0; t < 11; t += chunk)
            y = concat(y, f(slice(x, 1, t, (std::min)(t + chunk, index_t{11})), state), 1);
          REQUIRE(identical(y, whole));
          REQUIRE(identical(state.h, whole_state.h));
          REQUIRE(identical(state.c, whole_state.c));
        }
      }
    }
  }
}

TEST_CASE("gru, lstm: a row does not depend on its batch or on threads", "[recurrent]") {
  ThreadPool pool(2);
  for (const bool is_lstm : {false, true}) {
    for (const bool reverse : {false, true}) {
      const index_t gates = is_lstm ? 4 : 3;
      const Both<float> f{is_lstm, cell<float>(gates, 5, 19), {reverse, nullptr}};
      const auto x = wavy<float, 3>({9, 6, 5}, 0.2);
      auto state = states<float>(9, 19);
      const auto y = f(x, state);
      auto threaded_state = states<float>(9, 19);
      {
        const ExecutorScope scope(&pool);
        REQUIRE(identical(f(x, threaded_state), y));
      }
      REQUIRE(identical(threaded_state.h, state.h));
      const auto before = states<float>(9, 19);
      for (index_t b = 0; b < 9; ++b) {
        LstmLayerState<float> own{slice(before.h, 0, b, b + 1).clone(),
                                  slice(before.c, 0, b, b + 1).clone()};
        REQUIRE(identical(f(slice(x, 0, b, b + 1), own), slice(y, 0, b, b + 1)));
        REQUIRE(identical(own.h, slice(state.h, 0, b, b + 1)));
      }
    }
  }
}

TEST_CASE("gru, lstm: the reverse direction is the reversed sequence", "[recurrent]") {
  for (const bool is_lstm : {false, true}) {
    Both<float> f{is_lstm, cell<float>(is_lstm ? 4 : 3, 2, 5), {}};
    const auto x = wavy<float, 3>({2, 4, 2}, 0.2);
    Tensor<float, 3> mirrored(x.shape());
    for (index_t b = 0; b < 2; ++b)
      for (index_t t = 0; t < 4; ++t)
        for (index_t i = 0; i < 2; ++i) mirrored(b, t, i) = x(b, 3 - t, i);
    auto forward_state = states<float>(2, 5);
    auto reverse_state = states<float>(2, 5);
    const auto y = f(mirrored, forward_state);
    f.options.reverse = true;
    const auto r = f(x, reverse_state);
    for (index_t b = 0; b < 2; ++b)
      for (index_t t = 0; t < 4; ++t)
        for (index_t i = 0; i < 5; ++i) REQUIRE(r(b, t, i) == y(b, 3 - t, i));
    REQUIRE(identical(forward_state.h, reverse_state.h));
  }
}

TEST_CASE("gru, lstm: all gradients equal finite differences", "[recurrent]") {
  for (const bool is_lstm : {false, true}) {
    for (const bool reverse : {false, true}) {
      for (const index_t hidden : {1, 5}) {
        for (const index_t batch : {1, 5}) {
          const auto p = cell<double>(is_lstm ? 4 : 3, 3, hidden);
          const auto s = states<double>(batch, hidden);
          // y and the states after, side by side: all of them get a gradient.
          const auto f = [&](const auto& x, const auto& wi, const auto& wh, const auto& bi,
                             const auto& bh, const auto& h, const auto& c) {
            const RecurrentParameters<double> q{wi, wh, bi, bh};
            const RecurrentOptions<double> options{reverse, nullptr};
            const Shape<3> one{h.extent(0), 1, h.extent(1)};
            if (!is_lstm) {
              const auto r = gru(x, q, h, options);
              return concat(r.y, reshape<3>(r.last_state, one), 1);
            }
            const auto r = lstm(x, q, LstmLayerState<double>{h, c}, options);
            return concat(concat(r.y, reshape<3>(r.last_state.h, one), 1),
                          reshape<3>(r.last_state.c, one), 1);
          };
          const auto r = grad_check(f, wavy<double, 3>({batch, 4, 3}, 0.2), p.weight_ih,
                                    p.weight_hh, p.bias_ih, p.bias_hh, s.h, s.c);
          INFO(r.where);
          REQUIRE(r.ok());
        }
      }
    }
  }
}

TEST_CASE("gru, lstm: biases and the state may be absent and the sequence empty", "[recurrent]") {
  for (const bool is_lstm : {false, true}) {
    const index_t gates = is_lstm ? 4 : 3;
    Both<float> with{is_lstm, cell<float>(gates, 2, 5), {}};
    with.p.bias_ih.fill(0);
    with.p.bias_hh.fill(0);
    const Both<float> without{is_lstm, cell<float>(gates, 2, 5, false), {}};
    const auto x = wavy<float, 3>({2, 4, 2}, 0.2);
    LstmLayerState<float> zeros{Tensor<float, 2>({2, 5}), Tensor<float, 2>({2, 5})};
    LstmLayerState<float> absent;
    REQUIRE(identical(with(x, zeros), without(x, absent)));
    REQUIRE(identical(zeros.h, absent.h));
    auto state = states<float>(2, 5);
    REQUIRE(with(Tensor<float, 3>({2, 0, 2}), state).shape() == Shape<3>{2, 0, 5});
    REQUIRE(identical(state.h, states<float>(2, 5).h));
    state = states<float>(0, 5);
    REQUIRE(with(Tensor<float, 3>({0, 3, 2}), state).shape() == Shape<3>{0, 3, 5});
  }
}

TEST_CASE("gru, lstm: NaN in a row stays in that row", "[recurrent]") {
  for (const bool is_lstm : {false, true}) {
    const Both<float> f{is_lstm, cell<float>(is_lstm ? 4 : 3, 2, 5), {}};
    auto x = wavy<float, 3>({6, 3, 2}, 0.2);
    x(1, 1, 0) = NAN;
    auto state = states<float>(6, 5);
    const auto y = f(x, state);
    for (index_t b = 0; b < 6; ++b)
      for (index_t t = 0; t < 3; ++t) REQUIRE(std::isnan(y(b, t, 0)) == (b == 1 && t >= 1));
  }
}

TEST_CASE("gru, lstm: wrong shapes are named", "[recurrent]") {
  const auto x = wavy<float, 3>({2, 4, 3}, 0.2);
  auto p = cell<float>(3, 5, 4);
  CHECK(
      message_of([&] { gru(x, p); }) ==
      "gru: weight_ih is [12, 5], expected [3H, I] = [12, 3] (x is [2, 4, 3], weight_hh [12, 4])");
  p = cell<float>(3, 3, 4);
  CHECK(message_of([&] { lstm(x, p); }) ==
        "lstm: weight_hh is [12, 4], expected [4H, H] = [16, 4] (x is [2, 4, 3], weight_hh "
        "[12, 4])");
  p.bias_hh = Tensor<float, 1>({11});
  CHECK(message_of([&] { gru(x, p); }) ==
        "gru: bias_hh is [11], expected [3H] = [12] (x is [2, 4, 3], weight_hh [12, 4])");
  p = cell<float>(3, 3, 4);
  CHECK(message_of([&] {
          gru(x, p, Tensor<float, 2>({3, 4}));
        }) ==
        "gru: the state is [3, 4], expected [B, H] = [2, 4] (x is [2, 4, 3], weight_hh [12, 4])");
  CHECK(message_of([&] { gru(Tensor<float, 3>{}, p); }) ==
        "gru: x is undefined, expected [B, T, I]");
}

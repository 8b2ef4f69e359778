#include "sequin/ops/selective_scan.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/random.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

using namespace sequin;
using sequin_test::GoldenCase;
using sequin_test::relative_error;

namespace {

template <class T, std::size_t Rank>
Tensor<T, Rank> random_tensor(const Shape<Rank>& shape, std::uint64_t seed, double low = -1,
                              double high = 1) {
  Generator random(seed);
  Tensor<T, Rank> t(shape);
  for (T& v : t.span()) v = static_cast<T>(low + (high - low) * random.uniform<double>());
  return t;
}

template <class T>
struct Problem {
  Tensor<T, 3> u, delta, z, state;
  Tensor<T, 2> A, constant_B, constant_C;
  Tensor<T, 4> B, C;
  Tensor<T, 1> D, bias;

  Problem(index_t batch, index_t steps, index_t channels, index_t states, index_t groups = 1)
      : u(random_tensor<T, 3>({batch, steps, channels}, 1)),
        delta(random_tensor<T, 3>({batch, steps, channels}, 2, -2, 1)),
        z(random_tensor<T, 3>({batch, steps, channels}, 3)),
        state(random_tensor<T, 3>({batch, channels, states}, 4)),
        A(random_tensor<T, 2>({channels, states}, 5, -2, -0.1)),
        constant_B(random_tensor<T, 2>({channels, states}, 6)),
        constant_C(random_tensor<T, 2>({channels, states}, 7)),
        B(random_tensor<T, 4>({batch, steps, groups, states}, 8)),
        C(random_tensor<T, 4>({batch, steps, groups, states}, 9)),
        D(random_tensor<T, 1>({channels}, 10)),
        bias(random_tensor<T, 1>({channels}, 11)) {}

  SelectiveScanOptions<T> options() const { return {D, z, bias, true, state}; }
};

// The formulas, one value at a time, in double.
template <class T>
SelectiveScanResult<double> reference(const Tensor<T, 3>& u, const Tensor<T, 3>& delta,
                                      const Tensor<T, 2>& A, const ScanMatrix<T>& B,
                                      const ScanMatrix<T>& C, const SelectiveScanOptions<T>& o) {
  const index_t channels = u.extent(2);
  const index_t states = A.extent(1);
  const auto at = [&](const ScanMatrix<T>& m, index_t b, index_t t, index_t e, index_t n) {
    if (m.is_constant()) return static_cast<double>(m.constant()(e, n));
    return static_cast<double>(m.varying()(b, t, e / (channels / m.groups()), n));
  };
  Tensor<double, 3> y(u.shape());
  Tensor<double, 3> h({u.extent(0), channels, states});
  if (o.initial_state.defined()) h = o.initial_state.template cast<double>();
  for (index_t b = 0; b < u.extent(0); ++b) {
    for (index_t t = 0; t < u.extent(1); ++t) {
      for (index_t e = 0; e < channels; ++e) {
        double dt = delta(b, t, e);
        if (o.delta_bias.defined()) dt += o.delta_bias(e);
        if (o.delta_softplus) dt = std::log1p(std::exp(dt));
        double sum = 0;
        for (index_t n = 0; n < states; ++n) {
          h(b, e, n) = std::exp(dt * A(e, n)) * h(b, e, n) + dt * at(B, b, t, e, n) * u(b, t, e);
          sum += h(b, e, n) * at(C, b, t, e, n);
        }
        if (o.D.defined()) sum += static_cast<double>(o.D(e)) * u(b, t, e);
        const double z = o.z.defined() ? static_cast<double>(o.z(b, t, e)) : 0.0;
        y(b, t, e) = o.z.defined() ? sum * z / (1 + std::exp(-z)) : sum;
      }
    }
  }
  return {y, h};
}

template <class T, std::size_t Rank>
bool same_bits(const Tensor<T, Rank>& a, const Tensor<T, Rank>& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

template <class T, std::size_t Rank>
Tensor<T, Rank> steps_of(const Tensor<T, Rank>& x, index_t begin, index_t end) {
  Shape<Rank> shape = x.shape();
  shape[1] = end - begin;
  auto part = Tensor<T, Rank>::empty(shape);
  const index_t row = x.extent(1) == 0 ? 0 : x.size() / x.extent(0) / x.extent(1);
  for (index_t b = 0; b < x.extent(0); ++b)
    std::copy_n(x.data() + (b * x.extent(1) + begin) * row, (end - begin) * row,
                part.data() + b * (end - begin) * row);
  return part;
}

template <class T, std::size_t Rank>
ScanMatrix<T> golden_matrix(const GoldenCase& c, const std::string& name) {
  auto m = c.tensor<T, Rank>(name);
  m.set_requires_grad();
  return m;
}

template <class T>
ScanMatrix<T> golden_matrix(const GoldenCase& c, const std::string& name) {
  switch (c.shape(name).size()) {
    case 2:
      return golden_matrix<T, 2>(c, name);
    case 3:
      return golden_matrix<T, 3>(c, name);
    default:
      return golden_matrix<T, 4>(c, name);
  }
}

template <class T>
void check_golden(const std::string& name, double output_tolerance, double grad_tolerance) {
  INFO(name);
  const GoldenCase c("blocks/selective_scan/" + name);
  auto u = c.tensor<T, 3>("input.u");
  auto delta = c.tensor<T, 3>("input.delta");
  auto A = c.tensor<T, 2>("input.A");
  SelectiveScanOptions<T> o{c.tensor<T, 1>("input.D"), c.tensor<T, 3>("input.z"),
                            c.tensor<T, 1>("input.delta_bias"), c.flag("delta_softplus"),
                            c.tensor<T, 3>("input.initial_state")};
  u.set_requires_grad();
  delta.set_requires_grad();
  A.set_requires_grad();
  const auto ask = [](auto&... t) { ((t.defined() ? (void)t.set_requires_grad() : void()), ...); };
  ask(o.D, o.z, o.delta_bias, o.initial_state);
  const auto B = golden_matrix<T>(c, "input.B");
  const auto C = golden_matrix<T>(c, "input.C");

  Tape tape;
  auto result = selective_scan_channel_major(u, delta, A, B, C, o);
  const std::string output = sizeof(T) == 4 ? "output." : "output64.";
  CHECK(relative_error(result.y, c.tensor<T, 3>(output + "y")) <= output_tolerance);
  CHECK(relative_error(result.last_state, c.tensor<T, 3>(output + "last_state")) <=
        output_tolerance);

  // The cases' loss is a mean of squares, for the last state too where the configuration says so.
  // Its gradient is handed to a weighted sum of outputs, made one scalar by a node of our own.
  const auto mse_gradient = [](const Tensor<T, 3>& y, const Tensor<T, 3>& target) {
    auto d = Tensor<T, 3>::empty(y.shape());
    for (index_t i = 0; i < y.size(); ++i)
      d.data()[i] = T{2} * (y.data()[i] - target.data()[i]) / static_cast<T>(y.size());
    return d;
  };
  const auto dy = mse_gradient(result.y, c.tensor<T, 3>("input.target"));
  Tensor<T, 3> dlast;
  if (c.flag("loss_has_last_state"))
    dlast = mse_gradient(result.last_state, c.tensor<T, 3>("input.target_state"));
  Tensor<T, 0> loss(Shape<0>{});
  tape.push([lv = tape.track(loss), yv = result.y.var(), sv = result.last_state.var(), dy,
             dlast](Gradients& g) {
    g.take(lv);
    g.add(yv, dy);
    if (dlast.defined()) g.add(sv, dlast);
  });
  const Gradients g = tape.gradients(loss);
  const auto check_gradient = [&](const std::string& input, const auto& x) {
    if (!x.defined()) return;
    INFO(input);
    using X = std::decay_t<decltype(x)>;
    const auto expected = c.tensor<T, X::kRank>("grad.input." + input);
    CHECK(relative_error(g.of(x), expected) <= grad_tolerance);
  };
  check_gradient("u", u);
  check_gradient("delta", delta);
  check_gradient("A", A);
  check_gradient("D", o.D);
  check_gradient("z", o.z);
  check_gradient("delta_bias", o.delta_bias);
  check_gradient("initial_state", o.initial_state);
  const auto check_matrix = [&](const std::string& input, const ScanMatrix<T>& m) {
    if (m.is_constant()) return check_gradient(input, m.constant());
    if (!m.is_flat()) return check_gradient(input, m.varying());
    INFO(input);
    const auto expected = c.tensor<T, 3>("grad.input." + input);
    CHECK(relative_error(g.of(m.varying()).reshaped(expected.shape()), expected) <= grad_tolerance);
  };
  check_matrix("B", B);
  check_matrix("C", C);
}

const char* const kCases[] = {"plain",   "full",          "constant_bc",
                              "grouped", "initial_state", "strong_decay"};

}  // namespace

TEST_CASE("selective_scan: the official values and gradients are reproduced in float") {
  for (const char* name : kCases) check_golden<float>(name, 2e-5, 2e-4);
}

TEST_CASE("selective_scan: the official values and gradients are reproduced in double") {
  // The double twins are stored as float, the gradients come from a float run.
  for (const char* name : kCases) check_golden<double>(name, 1e-6, 2e-5);
}

TEST_CASE("selective_scan: odd sizes and every kind of B and C equal the plain formulas") {
  struct Size {
    index_t batch, steps, channels, states, groups;
  };
  for (const Size s : {Size{1, 1, 1, 1, 1},
                       {2, 37, 5, 3, 1},
                       {1, 70, 17, 16, 1},
                       {3, 33, 34, 19, 2},
                       {1, 5, 48, 33, 3},
                       {2, 64, 16, 8, 1}}) {
    INFO(s.batch << " " << s.steps << " " << s.channels << " " << s.states);
    const Problem<float> p(s.batch, s.steps, s.channels, s.states, s.groups);
    for (int kind = 0; kind < 4; ++kind) {
      const ScanMatrix<float> B =
          (kind & 1) != 0 ? ScanMatrix<float>(p.constant_B) : ScanMatrix<float>(p.B);
      const ScanMatrix<float> C =
          (kind & 2) != 0 ? ScanMatrix<float>(p.constant_C) : ScanMatrix<float>(p.C);
      const auto ours = selective_scan(p.u, p.delta, p.A, B, C, p.options());
      const auto expected = reference(p.u, p.delta, p.A, B, C, p.options());
      // Float rounding over at most 70 dependent steps.
      CHECK(relative_error(ours.y, expected.y) <= 2e-6);
      CHECK(relative_error(ours.last_state, expected.last_state) <= 2e-6);
    }
  }
}

TEST_CASE("selective_scan: gradients equal finite differences for odd sizes and all options") {
  const Problem<double> p(2, 35, 5, 3);
  const auto full = [](auto& u, auto& delta, auto& A, auto& B, auto& C, auto& D, auto& z,
                       auto& bias, auto& h) {
    return selective_scan(u, delta, A, B, C, {D, z, bias, true, h}).y;
  };
  const auto r = grad_check(full, p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.state);
  INFO(r.where);
  CHECK(r.ok());
  const auto last = grad_check(
      [](auto& u, auto& delta, auto& A, auto& B, auto& h) {
        const Tensor<double, 4> C(B.shape());
        return selective_scan<double>(u, delta, A, B, C, {{}, {}, {}, false, h}).last_state;
      },
      p.u, Problem<double>(2, 35, 5, 3).z, p.A, p.B, p.state);
  INFO(last.where);
  CHECK(last.ok());
  const auto constant = grad_check(
      [](auto& u, auto& delta, auto& A, auto& B, auto& C) {
        return selective_scan<double>(u, delta, A, B, C, {{}, {}, {}, true, {}}).y;
      },
      p.u, p.delta, p.A, p.constant_B, p.constant_C);
  INFO(constant.where);
  CHECK(constant.ok());
  const Problem<double> q(1, 3, 18, 9, 2);
  const Tensor<double, 4> one = random_tensor<double, 4>({1, 3, 1, 9}, 20);
  const auto grouped = grad_check(
      [](auto& u, auto& delta, auto& B, auto& C, auto& A) {
        return selective_scan<double>(u, delta, A, B, C, {{}, {}, {}, true, {}}).y;
      },
      q.u, q.delta, q.B, one, q.A);
  INFO(grouped.where);
  CHECK(grouped.ok());
}

TEMPLATE_TEST_CASE("selective_scan: any chunking gives the bits of the whole", "", float, double) {
  using T = TestType;
  const index_t steps = 75;
  const Problem<T> p(2, steps, 21, 16);
  const auto whole = selective_scan<T>(p.u, p.delta, p.A, p.B, p.C, p.options());
  for (const std::vector<index_t>& pieces :
       {std::vector<index_t>(75, 1), {2, 73}, {32, 43}, {3, 0, 40, 31, 1}, {74, 1}}) {
    Tensor<T, 3> state = p.state.clone();
    const T* const place = std::as_const(state).data();
    index_t t = 0;
    for (const index_t n : pieces) {
      auto o = p.options();
      o.z = steps_of(p.z, t, t + n);
      const auto y = selective_scan<T>(steps_of(p.u, t, t + n), steps_of(p.delta, t, t + n), p.A,
                                       steps_of(p.B, t, t + n), steps_of(p.C, t, t + n), o, &state);
      REQUIRE(same_bits(y, steps_of(whole.y, t, t + n)));
      t += n;
    }
    REQUIRE(t == steps);
    CHECK(same_bits(state, whole.last_state));
    CHECK(std::as_const(state).data() == place);
  }
}

TEST_CASE("selective_scan: a row does not depend on the batch nor on the number of threads") {
  Problem<float> p(3, 40, 300, 16, 1);
  const auto run = [&](bool threads) {
    ThreadPool pool(3);
    const ExecutorScope scope(threads ? &pool : nullptr);
    Tensor<float, 3> u = p.u, delta = p.delta, state = p.state;
    Tensor<float, 4> B = p.B, C = p.C;
    Tensor<float, 2> A = p.A;
    for (auto* t : {&u, &delta, &state}) t->set_requires_grad();
    B.set_requires_grad();
    C.set_requires_grad();
    A.set_requires_grad();
    Tape tape;
    auto result = selective_scan<float>(u, delta, A, B, C, {p.D, p.z, p.bias, true, state});
    const Gradients g = tape.gradients(result.y, p.z);
    return std::tuple(result.y, g.of(u), g.of(delta), g.of(A), g.of(B), g.of(C), g.of(state));
  };
  const auto alone = run(false);
  const auto shared = run(true);
  CHECK(same_bits(std::get<0>(alone), std::get<0>(shared)));
  CHECK(same_bits(std::get<1>(alone), std::get<1>(shared)));
  CHECK(same_bits(std::get<2>(alone), std::get<2>(shared)));
  CHECK(same_bits(std::get<3>(alone), std::get<3>(shared)));
  CHECK(same_bits(std::get<4>(alone), std::get<4>(shared)));
  CHECK(same_bits(std::get<5>(alone), std::get<5>(shared)));
  CHECK(same_bits(std::get<6>(alone), std::get<6>(shared)));

  const auto row = [](const auto& t, index_t b) {
    auto shape = t.shape();
    shape[0] = 1;
    auto one = std::decay_t<decltype(t)>::empty(shape);
    std::copy_n(t.data() + b * one.size(), one.size(), one.data());
    return one;
  };
  const auto third =
      selective_scan<float>(row(p.u, 2), row(p.delta, 2), p.A, row(p.B, 2), row(p.C, 2),
                            {p.D, row(p.z, 2), p.bias, true, row(p.state, 2)});
  CHECK(same_bits(third.y, row(std::get<0>(alone), 2)));
}

TEST_CASE("selective_scan: a recorded carry replaces the state and passes gradients through it") {
  const Problem<double> p(1, 6, 5, 3);
  const auto cut = [&](const auto& u, const auto& delta, const auto& A, const auto& h) {
    const SelectiveScanOptions<double> o{{}, {}, {}, true, {}};
    Tensor<double, 3> state = h;
    const bool recorded = Tape::active() != nullptr;
    // Nothing recorded: the carry would overwrite h, which is the caller's.
    if (!recorded) state = h.clone();
    selective_scan<double>(steps_of(u, 0, 0), steps_of(delta, 0, 0), A, steps_of(p.B, 0, 0),
                           steps_of(p.C, 0, 0), o, &state);
    CHECK(state.shares_storage_with(h) == false);
    selective_scan<double>(u, delta, A, p.B, p.C, o, &state);
    return selective_scan<double>(u, delta, A, p.B, p.C, o, &state);
  };
  const auto before = p.state.clone();
  const auto r = grad_check(cut, p.u, p.delta, p.A, p.state);
  INFO(r.where);
  CHECK(r.ok());
  CHECK(same_bits(before, p.state));
}

TEST_CASE("selective_scan: no steps give no output and leave the state as it was") {
  const Problem<float> p(2, 0, 7, 4);
  const auto r = selective_scan<float>(p.u, p.delta, p.A, p.B, p.C, p.options());
  CHECK(r.y.shape() == Shape<3>{2, 0, 7});
  CHECK(same_bits(r.last_state, p.state));
  Tensor<float, 3> state;
  selective_scan<float>(p.u, p.delta, p.A, p.B, p.C, {}, &state);
  CHECK(same_bits(state, Tensor<float, 3>({2, 7, 4})));
}

TEST_CASE("selective_scan: what is not a number stays in its channel, strong decay forgets") {
  Problem<float> p(1, 9, 20, 16);
  p.u(0, 4, 3) = NAN;
  const auto r = selective_scan<float>(p.u, p.delta, p.A, p.B, p.C, p.options());
  for (index_t t = 0; t < 9; ++t)
    for (index_t e = 0; e < 20; ++e) CHECK(std::isnan(r.y(0, t, e)) == (e == 3 && t >= 4));
  Problem<float> q(1, 1, 9, 4);
  q.A.fill(-1e6f);
  q.u.fill(0);
  const auto s = selective_scan<float>(q.u, q.delta, q.A, q.B, q.C, q.options());
  for (const float h : s.last_state.span()) CHECK(h == 0);
}

TEST_CASE("selective_scan: mistakes are named with what was expected") {
  const Problem<float> p(1, 6, 8, 4);
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const ShapeError& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK(message([&] {
          selective_scan<float>(p.u, p.delta, Tensor<float, 2>({4, 4}), p.B, p.C);
        }) == "selective_scan: A is [4, 4], expected [E, N] = [8, 4] (u is [1, 6, 8])");
  CHECK(message([&] {
          selective_scan<float>(p.u, p.delta, p.A, Tensor<float, 3>({1, 5, 4}), p.C);
        }) ==
        "selective_scan: B is [1, 5, 1, 4], expected [B, T, G, N] = [1, 6, 1, 4] "
        "(u is [1, 6, 8])");
  CHECK(message([&] {
          selective_scan<float>(p.u, p.delta, p.A, p.B, Tensor<float, 4>({1, 6, 3, 4}));
        }) == "selective_scan: C has G=3 groups, expected a divisor of E=8");
  CHECK(message([&] {
          Tensor<float, 3> state({1, 8, 5});
          selective_scan<float>(p.u, p.delta, p.A, p.B, p.C, {}, &state);
        }) ==
        "selective_scan: the state is [1, 8, 5], expected [B, E, N] = [1, 8, 4] "
        "(u is [1, 6, 8])");
  CHECK(message([&] { selective_scan<float>({}, p.delta, p.A, p.B, p.C); }) ==
        "selective_scan: u is undefined, expected [B, T, E]");
}

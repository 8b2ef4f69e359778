#include "sequin/train/optimizer.hpp"
#include "sequin/autograd/tape.hpp"

#include "sequin/core/thread_pool.hpp"
#include "sequin/train/clip.hpp"

#include "support/catch.hpp"

#include <array>
#include <cmath>
#include <limits>

using namespace sequin;

namespace {

// Expected values were made by torch 1.13 with
//   p = torch.tensor(start, dtype=..., requires_grad=True); o = <optimiser>([p], ...,
//   foreach=False) for s in range(1, 6):
//     p.grad = None if s == 3 else torch.tensor([sin(0.7*i + 1.3*s) * (0.5 + i) for i in range(9)])
//     o.step()
constexpr std::array<double, 9> kStart{0.5, -1.25, 2.0, 1e-3, -0.75, 3.0, 0.1, -0.2, 0.3};
// torch.optim.Adam([p], lr=0.01)
constexpr std::array<double, 9> kAdam{
    0.47672922863696521,  -1.2712786293528089,  1.9891690930040955,
    0.019174501096765145, -0.72764256568549812, 3.0231556678923472,
    0.11670933652528162,  -0.19455633795328769, 0.27926623102030695};
// torch.optim.Adam([p], lr=0.01, weight_decay=0.1, amsgrad=True)
constexpr std::array<double, 9> kAdamL2Amsgrad{
    0.4743217209212931,   -1.2676880251401561,  1.9855127577299536,
    0.019165648341433895, -0.72724698184119074, 3.0213539249210952,
    0.11662935601407312,  -0.19446120232979788, 0.2791819695376761};
// torch.optim.AdamW([p], lr=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6)
constexpr std::array<double, 9> kAdamW{
    0.47639828312625165,  -1.2650571723156026,  1.9810895461666029,
    0.017766218638014655, -0.72637458302944813, 3.009681756824345,
    0.11560148598496829,  -0.19288855039413122, 0.27972601168612637};
// torch.optim.SGD([p], lr=0.01, momentum=0.9, dampening=0.1, weight_decay=0.05)
constexpr std::array<double, 9> kSgd{
    0.48163182552386224,  -1.2869088193234324,  1.9651429235807529,
    0.043002139382278877, -0.61672859890733389, 3.164486320455826,
    0.23202773209075295,  -0.20702067197997379, 0.11187965118290862};
// torch.optim.SGD([p], lr=0.01, momentum=0.9, nesterov=True)
constexpr std::array<double, 9> kNesterov{
    0.48133378898419399,  -1.3051390944508801,  1.9527553697300397,
    0.028480765263307752, -0.61091222622545438, 3.2168564221451361,
    0.2911303875398058,   -0.15836426370408491, 0.12224173571488671};

template <class T>
ParameterList<T> one_parameter(const std::string& name, Tensor<T, 1>& values) {
  values.set_requires_grad();
  ParameterList<T> list;
  list.items.push_back({name, {values.size()}, values, true});
  return list;
}

template <class T>
Tensor<T, 1> start() {
  auto p = Tensor<T, 1>::empty({9});
  for (index_t i = 0; i < 9; ++i) p(i) = static_cast<T>(kStart[static_cast<std::size_t>(i)]);
  return p;
}

template <class T>
Tensor<T, 1> gradient(int step) {
  auto g = Tensor<T, 1>::empty({9});
  for (int i = 0; i < 9; ++i) g(i) = static_cast<T>(std::sin(0.7 * i + 1.3 * step) * (0.5 + i));
  return g;
}

// The largest difference, relative to max(|expected|, 0.01).
template <class Optim, class T>
double error_after_five_steps(const typename Optim::Options& options,
                              const std::array<double, 9>& expected) {
  Tensor<T, 1> p = start<T>();
  Optim optimizer(one_parameter("w", p), options);
  for (int step = 1; step <= 5; ++step) {
    std::vector<Tensor<T, 1>> g(1);
    if (step != 3) g[0] = gradient<T>(step);
    REQUIRE(optimizer.step(g) == (step != 3 ? 1 : 0));
  }
  CHECK(optimizer.steps(0) == 4);
  double worst = 0;
  for (std::size_t i = 0; i < 9; ++i) {
    const double want = expected[i];
    const auto found = static_cast<double>(std::as_const(p)(static_cast<index_t>(i)));
    worst = (std::max)(worst, std::abs(found - want) / (std::max)(std::abs(want), 0.01));
  }
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("optimizer: five steps of each give torch's numbers", "[train]", float, double) {
  // Four steps of about ten roundings each (fused or not by the instruction set), in sums whose
  // terms are up to ten times what remains.
  const double tolerance = std::is_same_v<TestType, float> ? 6e-7 : 4e-15;
  CHECK(error_after_five_steps<Adam<TestType>, TestType>({.learning_rate = 0.01}, kAdam) <
        tolerance);
  CHECK(error_after_five_steps<Adam<TestType>, TestType>(
            {.learning_rate = 0.01, .weight_decay = 0.1, .amsgrad = true}, kAdamL2Amsgrad) <
        tolerance);
  CHECK(error_after_five_steps<AdamW<TestType>, TestType>(
            {.learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1},
            kAdamW) < tolerance);
  CHECK(error_after_five_steps<Sgd<TestType>, TestType>(
            {.learning_rate = 0.01, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.05},
            kSgd) < tolerance);
  CHECK(error_after_five_steps<Sgd<TestType>, TestType>(
            {.learning_rate = 0.01, .momentum = 0.9, .nesterov = true}, kNesterov) < tolerance);
}

TEST_CASE("optimizer: an element's result depends on neither its position nor the threads",
          "[train]") {
  const index_t n = 3 * 16384 + 7;
  Tensor<float, 1> serial({n}), parallel({n});
  Tensor<float, 1> g({n});
  for (index_t i = 0; i < n; ++i) g(i) = static_cast<float>(i % 5) - 1.5f;
  Adam<float> a(one_parameter("w", serial)), b(one_parameter("w", parallel));
  ThreadPool pool(2);
  for (int step = 0; step < 3; ++step) {
    a.step(std::vector{g});
    const ExecutorScope scope(&pool);
    b.step(std::vector{g});
  }
  const auto x = std::as_const(serial).span(), y = std::as_const(parallel).span();
  CHECK(std::equal(x.begin(), x.end(), y.begin()));
  CHECK(x[0] == x[x.size() - 3 - x.size() % 5 + 3]);
  for (std::size_t i = 5; i < x.size(); ++i)
    if (x[i] != x[i % 5]) FAIL("element " << i);
}

TEST_CASE("optimizer: a step goes through the model's tensors and makes constants stale",
          "[train]") {
  Tensor<double, 2> weight({2, 3}, 1.0);
  weight.set_requires_grad();
  ParameterList<double> list;
  list.items.push_back({"w", {2, 3}, weight.reshaped<1>({6}), true});
  list.items.back().values.set_var(weight.var().id);
  list.items.push_back(list.items.back());  // listed twice: counts once
  list.items.push_back({"buffer", {1}, Tensor<double, 1>({1}), false});
  Sgd<double> sgd(list, {.learning_rate = 0.5});
  REQUIRE(sgd.parameters().size() == 1);
  const auto version = weight.version();

  Tape tape;
  Tensor<double, 2> y = weight.clone();
  const auto yv = tape.track(y);
  tape.push([yv, wv = weight.var()](Gradients& g) { g.add(wv, g.take(yv)); });
  const Gradients gradients = tape.gradients(y, Tensor<double, 2>({2, 3}, 2.0));
  CHECK(sgd.step(gradients) == 1);
  CHECK(std::as_const(weight)(1, 2) == 0.0);
  CHECK(weight.version() != version);
  CHECK(sgd.step(Gradients{}) == 0);
  CHECK(sgd.steps(0) == 1);
}

TEST_CASE("optimizer: mistakes are named", "[train]") {
  Tensor<float, 1> p({3});
  ParameterList<float> list;
  list.items.push_back({"w", {3}, p, true});
  CHECK_THROWS_WITH(Adam<float>(list),
                    "Adam: none of the 1 parameters asks for a gradient, expected at least one "
                    "(call set_requires_grad(model) before parameters(model))");
  list = one_parameter("w", p);
  CHECK_THROWS_WITH(Adam<float>(list, {.beta1 = 1}), "Adam: beta1 is 1.000000, expected [0, 1)");
  CHECK_THROWS_AS(AdamW<float>(list, {.weight_decay = -1}), ConfigError);
  CHECK_THROWS_AS(Adam<float>(list, {.learning_rate = std::nan("")}), ConfigError);
  CHECK_THROWS_AS(Sgd<float>(list, {.nesterov = true}), ConfigError);
  Adam<float> adam(list);
  CHECK_THROWS_WITH(adam.step(std::vector{Tensor<float, 1>({2})}),
                    "Adam: gradient of w is [2], expected [3]");
  CHECK_THROWS_AS(adam.step(std::vector<Tensor<float, 1>>(2)), ShapeError);
}

TEST_CASE("optimizer: a NaN gradient makes its own parameter NaN and no other", "[train]") {
  Tensor<float, 1> p({11}, 1.0f);
  Adam<float> adam(one_parameter("w", p), {.amsgrad = true});
  Tensor<float, 1> g({11}, 1.0f);
  g(4) = std::numeric_limits<float>::quiet_NaN();
  adam.step(std::vector{g});
  g(4) = 1;
  adam.step(std::vector{g});
  for (index_t i = 0; i < 11; ++i) CHECK(std::isnan(std::as_const(p)(i)) == (i == 4));
}

// ps = [torch.tensor([3., -4., 0.5]), torch.tensor([12., 1.])]; p.grad = p
// torch.nn.utils.clip_grad_norm_(ps, 2.0) -> 13.0480
TEST_CASE("clip_grad_norm: norm and gradients are torch's", "[train]") {
  std::vector<Tensor<float, 1>> g{Tensor<float, 1>({3}, {3.f, -4.f, 0.5f}), Tensor<float, 1>(),
                                  Tensor<float, 1>({2}, {12.f, 1.f})};
  CHECK(clip_grad_norm(g, 100.0) == Approx(13.0480).epsilon(1e-5));
  CHECK(g[0](0) == 3.f);
  CHECK(clip_grad_norm(g, 2.0) == Approx(13.0480).epsilon(1e-5));
  // One rounding of the factor, one of the product.
  const auto near = [](double v) { return Approx(v).epsilon(2.5e-7); };
  CHECK(g[0](0) == near(0.4598410129547119));
  CHECK(g[0](1) == near(-0.6131213307380676));
  CHECK(g[2](0) == near(1.8393640518188477));
  CHECK(g[2](1) == near(0.1532803326845169));
  CHECK_THROWS_AS(clip_grad_norm(g, 0.0), ConfigError);

  g[0](0) = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(clip_grad_norm(g, 2.0)));
  CHECK(std::isnan(g[2](0)));
}

TEST_CASE("clip_grad_value: limits both sides and keeps NaN", "[train]") {
  std::vector<Tensor<double, 1>> g{
      Tensor<double, 1>({4}, {3., -4., 0.5, std::numeric_limits<double>::quiet_NaN()})};
  clip_grad_value(g, 1.0);
  CHECK(g[0](0) == 1.0);
  CHECK(g[0](1) == -1.0);
  CHECK(g[0](2) == 0.5);
  CHECK(std::isnan(g[0](3)));
}

TEST_CASE("take_gradients: what two parameters share is copied before it is written", "[train]") {
  Tensor<float, 1> a({2}, 1.f), b({2}, 2.f), unused({1});
  ParameterList<float> list = one_parameter("a", a);
  list.items.push_back(one_parameter("b", b).items[0]);
  list.items.push_back(one_parameter("unused", unused).items[0]);
  Tape tape;
  Tensor<float, 1> sum({2}, 3.f);
  const auto yv = tape.track(sum);
  tape.push([yv, av = a.var(), bv = b.var()](Gradients& g) {
    const Tensor<float, 1> dy = g.take(yv);
    g.add(av, dy);
    g.add(bv, dy);
  });
  Gradients gradients = tape.gradients(sum, Tensor<float, 1>({2}, {3.f, 4.f}));
  auto taken = take_gradients(gradients, list.items);
  CHECK_FALSE(taken[2].defined());
  CHECK(clip_grad_norm(taken, 0.5) == Approx(std::sqrt(50.0)));
  CHECK(taken[0](1) == Approx(0.5 * 4 / std::sqrt(50.0)).epsilon(1e-6));
  CHECK(taken[1](1) == taken[0](1));
}

#include "sequin/ops/dropout.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <limits>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

TEST_CASE("dropout: with p = 0 the tensor itself comes back and nothing is drawn", "[dropout]") {
  Generator random(5);
  const auto x = wavy<float, 2>({3, 5}, 0.2);
  REQUIRE(dropout(x, 0, random).data() == x.data());
  REQUIRE(random.state() == Generator(5).state());
}

TEST_CASE("dropout: drops its share and scales the rest", "[dropout]") {
  Generator random(5);
  for (const double p : {0.1, 0.5, 0.9}) {
    const Tensor<float, 1> x({200003}, 3.f);
    const auto y = dropout(x, p, random);
    double dropped = 0;
    for (const float v : y.span()) {
      if (v == 0)
        ++dropped;
      else
        REQUIRE(v == 3.f * static_cast<float>(1 / (1 - p)));
    }
    // Five standard deviations of the binomial share, 0.0056 at most.
    REQUIRE(dropped / 200003 == Approx(p).margin(5 * std::sqrt(p * (1 - p) / 200003)));
  }
}

TEST_CASE("dropout: neighbours are dropped independently", "[dropout]") {
  Generator random(9);
  const auto y = dropout(Tensor<float, 1>({160000}, 1.f), 0.5, random);
  for (const index_t lag : {1, 2, 7, 8, 16}) {
    double both = 0;
    for (index_t i = 0; i + lag < y.size(); ++i)
      both += std::as_const(y)(i) == 0 && std::as_const(y)(i + lag) == 0;
    // Five standard deviations of a share of 1/4.
    REQUIRE(both / 160000 == Approx(0.25).margin(5 * std::sqrt(0.25 * 0.75 / 160000)));
  }
}

TEST_CASE("dropout: backward uses the mask of forward", "[dropout]") {
  for (const index_t n : {1, 7, 8, 9, 100}) {
    const auto r = grad_check(
        [](const auto& t) {
          Generator random(3);  // the same draw for every difference
          return dropout(t, 0.4, random);
        },
        wavy<double, 2>({2, n}, 0.2));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("dropout: each call draws another mask, the same seed the same", "[dropout]") {
  Generator random(5), same(5);
  const Tensor<float, 1> x({1000}, 1.f);
  const auto first = dropout(x, 0.5, random);
  const auto second = dropout(x, 0.5, random);
  REQUIRE_FALSE(identical(first, second));
  REQUIRE(identical(dropout(x, 0.5, same), first));
  Generator resumed(same.state());
  REQUIRE(identical(dropout(x, 0.5, resumed), second));
}

TEST_CASE("dropout: any number of threads gives the same mask", "[dropout]") {
  const auto x = wavy<float, 1>({50021}, 0.2);
  Generator random(5);
  const auto alone = dropout(x, 0.3, random);
  for (const index_t threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const ExecutorScope scope(&pool);
    Generator again(5);
    REQUIRE(identical(dropout(x, 0.3, again), alone));
  }
}

TEST_CASE("dropout: NaN stays NaN, dropped or not", "[dropout]") {
  Generator random(5);
  const auto y = dropout(Tensor<float, 1>({100}, NAN), 0.5, random);
  for (const float v : y.span()) REQUIRE(std::isnan(v));
}

TEST_CASE("dropout: a probability below 0, of 1 or above, or NaN is named", "[dropout]") {
  Generator random;
  const Tensor<float, 1> x({3});
  REQUIRE_THROWS_WITH(dropout(x, 1, random), "dropout: p is 1.000000, expected 0 <= p < 1");
  REQUIRE_THROWS_AS(dropout(x, -0.1, random), ConfigError);
  REQUIRE_THROWS_AS(dropout(x, std::nan(""), random), ConfigError);
  REQUIRE(dropout(Tensor<float, 2>({0, 4}), 0.5, random).size() == 0);
}

#include "sequin/ops/loss.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

using Targets = std::vector<std::int64_t>;

/// A loss and its gradient with respect to entries 0, 7 and 14 of the prediction.
struct Expected {
  double loss, g0, g7, g14;
};

/// Both compute in double; sums of 15 terms in other orders differ by some 1e-15.
template <class F>
void check(F f, const Expected& expected) {
  auto p = wavy<double, 2>({3, 5}, 0.2);
  p.set_requires_grad();
  Tape tape;
  const auto loss = f(p);
  const auto g = tape.gradients(loss).of(p);
  REQUIRE(loss.item() == Approx(expected.loss).epsilon(1e-14));
  REQUIRE(g.data()[0] == Approx(expected.g0).epsilon(1e-13));
  REQUIRE(g.data()[7] == Approx(expected.g7).epsilon(1e-13));
  REQUIRE(g.data()[14] == Approx(expected.g14).epsilon(1e-13));
  // In float: values of size 1, sums in double.
  const auto f_float = f(wavy<float, 2>({3, 5}, 0.2));
  REQUIRE(static_cast<double>(f_float.item()) == Approx(expected.loss).epsilon(1e-6));
}

template <class T>
Tensor<T, 2> target() {
  return wavy<T, 2>({3, 5}, 1.3, 2);
}

}  // namespace

// The numbers are PyTorch 1.13's:
//   import torch; torch.set_default_dtype(torch.float64); F = torch.nn.functional
//   p = torch.sin(0.7 * torch.arange(15.) + 0.2).reshape(3, 5).requires_grad_()
//   t = 2 * torch.sin(0.7 * torch.arange(15.) + 1.3).reshape(3, 5)
//   for l in (F.mse_loss(p, t), F.l1_loss(p, t), *(F.huber_loss(p, t, delta=d) for d in (.25, 1.,
//             1.5, 3.)), F.cross_entropy(3 * p, torch.tensor([4, 0, 2])),
//             F.cross_entropy(3 * p, torch.tensor([4, -100, 2])),
//             F.cross_entropy(3 * p, torch.tensor([4, 0, 2]), ignore_index=0)):
//     print(repr(l.item()), torch.autograd.grad(l, p)[0].flatten()[[0, 7, 14]].tolist())
TEST_CASE("loss: values and gradients are PyTorch's", "[loss]") {
  const auto with_target = [](auto loss) {
    return [loss](const auto& p) {
      return loss(p, target<typename std::decay_t<decltype(p)>::value_type>());
    };
  };
  check(with_target([](const auto& p, const auto& t) { return mse_loss(p, t); }),
        {1.6852776104784277, -0.23045960533857665, -0.10128478355903171, 0.19267787540248135});
  check(with_target([](const auto& p, const auto& t) { return mae_loss(p, t); }),
        {1.1770192680560867, -0.06666666666666667, -0.06666666666666667, 0.06666666666666667});
  const auto huber = [&](double delta) {
    return with_target([delta](const auto& p, const auto& t) { return huber_loss(p, t, delta); });
  };
  check(huber(0.25),
        {0.2635626023275862, -0.016666666666666666, -0.016666666666666666, 0.016666666666666666});
  check(huber(1),
        {0.7357657533472655, -0.06666666666666667, -0.050642391779515857, 0.06666666666666667});
  check(huber(1.5), {0.8335979385123167, -0.1, -0.050642391779515857, 0.09633893770124068});
  check(huber(3),
        {0.8426388052392139, -0.11522980266928833, -0.050642391779515857, 0.09633893770124068});
  const auto entropy = [](Targets t, std::int64_t ignore) {
    return [=](const auto& p) { return cross_entropy(scale(p, 3), t, ignore); };
  };
  check(entropy({4, 0, 2}, -100),
        {2.454790662331444, 0.04195872201644606, 0.025093790548481463, 0.00470697200420044});
  check(entropy({4, -100, 2}, -100),
        {2.433586379647676, 0.06293808302466908, 0.0, 0.00706045800630066});
  check(entropy({4, 0, 2}, 0), {2.433586379647676, 0.06293808302466908, 0.0, 0.00706045800630066});
}

TEST_CASE("loss: gradients equal finite differences, for the target, too", "[loss]") {
  const auto p = wavy<double, 2>({3, 5}, 0.2);
  const auto t = target<double>();
  const auto ok = [](const GradCheckResult& r) {
    INFO(r.where);
    REQUIRE(r.ok());
  };
  ok(grad_check([](const auto& a, const auto& b) { return mse_loss(a, b); }, p, t));
  ok(grad_check([](const auto& a, const auto& b) { return mae_loss(a, b); }, p, t));
  ok(grad_check([](const auto& a, const auto& b) { return huber_loss(a, b, 0.7); }, p, t));
  ok(grad_check([](const auto& a) { return cross_entropy(a, Targets{1, 0, -100}); }, p));
  ok(grad_check(
      [](const auto& a) {
        return cross_entropy(a, Targets{0, 0, 0, 0});
      },
      wavy<double, 3>({2, 2, 1}, 0.2)));
}

TEST_CASE("cross_entropy: logits of 1e4 neither overflow nor lose the loss", "[loss]") {
  const Tensor<float, 2> logits({2, 3}, {1e4f, 0, -1e4f, 1e4f, 0, -1e4f});
  REQUIRE(cross_entropy(logits, Targets{0, 0}).item() == 0);
  REQUIRE(cross_entropy(logits, Targets{2, 2}).item() == 2e4f);
}

TEST_CASE("cross_entropy: rows all ignored or no rows give NaN and a zero gradient", "[loss]") {
  auto logits = wavy<double, 2>({2, 3}, 0.2);
  REQUIRE(std::isnan(cross_entropy(Tensor<double, 2>({0, 3}), Targets{}).item()));
  logits.set_requires_grad();
  Tape tape;
  const auto loss = cross_entropy(logits, Targets{-100, -100});
  REQUIRE(std::isnan(loss.item()));
  const auto g = tape.gradients(loss).of(logits);
  for (const double v : g.span()) REQUIRE(v == 0);
}

TEST_CASE("loss: NaN in gives NaN out", "[loss]") {
  auto p = wavy<float, 2>({3, 5}, 0.2);
  p(2, 4) = NAN;
  REQUIRE(std::isnan(mse_loss(p, target<float>()).item()));
  REQUIRE(std::isnan(mae_loss(p, target<float>()).item()));
  REQUIRE(std::isnan(huber_loss(p, target<float>()).item()));
  REQUIRE(std::isnan(cross_entropy(p, Targets{0, 1, 2}).item()));
  // PyTorch's gradient of an ignored row is 0 whatever it holds.
  REQUIRE_FALSE(std::isnan(cross_entropy(p, Targets{0, 1, -100}).item()));
  REQUIRE(std::isnan(mse_loss(Tensor<float, 1>({0}), Tensor<float, 1>({0})).item()));
}

TEST_CASE("loss: wrong shapes, targets and options are named", "[loss]") {
  const Tensor<float, 2> p({3, 5}), t({3, 4});
  REQUIRE_THROWS_WITH(mse_loss(p, t),
                      "mse_loss: target is [3, 4], expected [3, 5] as the prediction");
  REQUIRE_THROWS_WITH(mae_loss(p, t),
                      "mae_loss: target is [3, 4], expected [3, 5] as the prediction");
  REQUIRE_THROWS_WITH(huber_loss(p, t),
                      "huber_loss: target is [3, 4], expected [3, 5] as the prediction");
  REQUIRE_THROWS_WITH(huber_loss(p, p, 0), "huber_loss: delta is 0.000000, expected > 0");
  REQUIRE_THROWS_AS(huber_loss(p, p, std::nan("")), ConfigError);
  REQUIRE_THROWS_WITH(cross_entropy(p, Targets{1, 2}),
                      "cross_entropy: 2 targets, expected 3 (rows of logits [3, 5])");
  REQUIRE_THROWS_WITH(cross_entropy(p, Targets{1, 5, 2}),
                      "cross_entropy: target 5 is out of range [0, V=5)");
  REQUIRE_THROWS_AS(cross_entropy(p, Targets{1, -1, 2}), ShapeError);
}

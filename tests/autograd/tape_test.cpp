#include "sequin/autograd/tape.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/reduce.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <optional>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

Tensor<double, 1> leaf(std::initializer_list<double> values) {
  Tensor<double, 1> t({static_cast<index_t>(values.size())}, values);
  t.set_requires_grad();
  return t;
}

Tensor<double, 1> vec(std::initializer_list<double> values) {
  return Tensor<double, 1>({static_cast<index_t>(values.size())}, values);
}

/// x, recorded with a backward that hands dy itself on: gradients then share memory.
Tensor<double, 1> same(const Tensor<double, 1>& x) { return add(x, Tensor<double, 1>({1}, 0.0)); }

}  // namespace

TEST_CASE("tape: nothing is recorded without a tape or without an input that asks", "[tape]") {
  auto x = leaf({1, 2});
  REQUIRE_FALSE(square(x).requires_grad());
  Tape tape;
  REQUIRE_FALSE(square(vec({1, 2})).requires_grad());
  REQUIRE_FALSE(square(x.detach()).requires_grad());
  REQUIRE_FALSE(square(x.clone()).requires_grad());
  REQUIRE(square(x).requires_grad());
  x.set_requires_grad(false);
  REQUIRE_FALSE(square(x).requires_grad());
}

TEST_CASE("tape: a value used twice collects both gradients", "[tape]") {
  const auto x = leaf({1, 2, 3});
  Tape tape;
  const auto y = square(x);
  const auto g = tape.gradients(sum(mul(y, add(y, x))));  // x^4 + x^3
  REQUIRE(identical(g.of(x), vec({7, 44, 135})));
}

TEST_CASE("tape: inputs that were given one gradient do not write into each other's", "[tape]") {
  // add passes the same dy to both inputs. Then one of them, or the other, collects more.
  for (const bool first : {true, false}) {
    const auto a = leaf({1, 2});
    const auto b = leaf({3, 4});
    Tape tape;
    const auto& more = first ? a : b;
    const auto extra = scale(more, 10);
    const auto again = scale(more, 100);
    const auto y = add(add(a, b), add(extra, again));
    const auto dy = vec({1, 1});
    const auto g = tape.gradients(y, dy);
    REQUIRE(identical(g.of(a), first ? vec({111, 111}) : vec({1, 1})));
    REQUIRE(identical(g.of(b), first ? vec({1, 1}) : vec({111, 111})));
    REQUIRE(identical(dy, vec({1, 1})));
  }
}

TEST_CASE("tape: a chain that hands its gradient on collects at every link", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  const auto a = same(x);
  const auto b = same(a);
  const auto c = same(b);
  const auto g = tape.gradients(sum(add(add(a, b), add(add(c, x), mul(a, c)))));
  REQUIRE(identical(g.of(x), vec({6, 8})));  // 4 + 2 x
}

TEST_CASE("tape: the caller's output gradient is not written", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  const auto dy = vec({1, 1});
  const auto y = add(x, x);
  const auto g = tape.gradients(add(y, y), dy);
  REQUIRE(identical(g.of(x), vec({4, 4})));
  REQUIRE(identical(dy, vec({1, 1})));
}

TEST_CASE("tape: NoGrad stops recording for its scope", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  Tensor<double, 1> constant;
  {
    const NoGrad off;
    REQUIRE_FALSE(recording_is_on());
    constant = square(x);
    const NoGrad nested;
    REQUIRE_FALSE(square(x).requires_grad());
  }
  REQUIRE(recording_is_on());
  REQUIRE_FALSE(constant.requires_grad());
  const auto g = tape.gradients(sum(mul(constant, x)));
  REQUIRE(identical(g.of(x), vec({1, 4})));
}

TEST_CASE("tape: of nested tapes the innermost records, the outer continues", "[tape]") {
  const auto x = leaf({1, 2});
  Tape outer;
  const auto y = square(x);
  {
    Tape inner;
    REQUIRE(Tape::active() == &inner);
    // To the inner tape a value of the outer one is a constant.
    REQUIRE_FALSE(square(y).requires_grad());
    const auto g = inner.gradients(sum(mul(y, x)));
    REQUIRE(identical(g.of(x), vec({1, 4})));
  }
  REQUIRE(Tape::active() == &outer);
  REQUIRE(identical(outer.gradients(sum(y)).of(x), vec({2, 4})));
}

TEST_CASE("tape: a value of a tape that is gone is a constant to the next", "[tape]") {
  const auto x = leaf({1, 2});
  Tensor<double, 1> stale;
  {
    Tape tape;
    stale = square(x);
  }
  REQUIRE_FALSE(square(stale).requires_grad());
  Tape tape;
  REQUIRE_FALSE(square(stale).requires_grad());
  const auto g = tape.gradients(sum(mul(stale, x)));
  REQUIRE(identical(g.of(x), vec({1, 4})));
  REQUIRE(identical(g.of(stale), vec({0, 0})));
}

TEST_CASE("tape: a leaf serves tape after tape, copies are the same leaf", "[tape]") {
  auto x = leaf({1, 2});
  for (int i = 0; i < 3; ++i) {
    Tape tape;
    const auto copy = x;
    const auto g = tape.gradients(sum(mul(copy, x)));
    REQUIRE(identical(g.of(x), vec({2 * x(0), 2 * x(1)})));
    REQUIRE(identical(g.of(copy), g.of(x)));
    x(0) += 1;
  }
}

TEST_CASE("tape: one tape serves again for what is recorded afterwards", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  REQUIRE(identical(tape.gradients(sum(square(x))).of(x), vec({2, 4})));
  REQUIRE(identical(tape.gradients(sum(scale(x, 5))).of(x), vec({5, 5})));
}

TEST_CASE("tape: what the loss does not depend on has no gradient, reported as zeros", "[tape]") {
  const auto x = leaf({1, 2});
  const auto unused = leaf({3, 4, 5});
  Tape tape;
  const auto y = square(x);
  const auto dead = exp(y);  // recorded, no gradient arrives
  const auto g = tape.gradients(sum(y));
  REQUIRE(g.has(x));
  REQUIRE_FALSE(g.has(unused));
  REQUIRE_FALSE(g.has(dead));
  REQUIRE(identical(g.of(unused), vec({0, 0, 0})));
  REQUIRE(identical(g.of(x), vec({2, 4})));
  Tape other;
  const auto none = other.gradients(sum(vec({1, 2})));
  REQUIRE_FALSE(none.has(x));
}

TEST_CASE("tape: the loss may be the leaf itself", "[tape]") {
  const auto x = leaf({3});
  Tape tape;
  REQUIRE(identical(tape.gradients(x).of(x), vec({1})));
}

TEST_CASE("tape: a gradient that arrived is taken once", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  Tensor<double, 1> y = vec({7, 8});
  bool first = false, second = true;
  tape.push([yv = tape.track(y), xv = x.var(), &first, &second](Gradients& g) {
    const auto dy = g.take(yv);
    first = dy.defined();
    second = g.take(yv).defined();
    g.add(xv, dy);
    g.add(Var<double, 1>{}, dy);  // a constant: ignored
    REQUIRE_FALSE(g.wants(Var<double, 1>{}));
  });
  const auto g = tape.gradients(sum(y));
  REQUIRE(first);
  REQUIRE_FALSE(second);
  REQUIRE(identical(g.of(x), vec({1, 1})));
}

TEST_CASE("tape: backward does not record, and recording resumes after an exception", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  Tensor<double, 1> y = vec({7, 8});
  tape.push([yv = tape.track(y), x](Gradients& g) {
    REQUIRE_FALSE(square(x).requires_grad());
    static_cast<void>(g.take(yv));
    throw ShapeError("from backward");
  });
  REQUIRE_THROWS_AS(tape.gradients(sum(y)), ShapeError);
  REQUIRE(Tape::active() == &tape);
}

TEST_CASE("tape: wrong shapes are named", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  const auto y = square(x);
  REQUIRE_THROWS_WITH(tape.gradients(y),
                      "gradients: the loss is [2], expected one element; give the output's "
                      "gradient for more");
  REQUIRE_THROWS_WITH(tape.gradients(y, vec({1, 2, 3})),
                      "gradients: output_gradient is [3], expected [2] as the output");
}

TEST_CASE("tape: asking twice about the same output is an error, not zeros", "[tape]") {
  const auto x = leaf({1, 2});
  Tape tape;
  const auto loss = sum(square(x));
  static_cast<void>(tape.gradients(loss));
  REQUIRE_THROWS_WITH(tape.gradients(loss),
                      "gradients: what led to this output was freed by an earlier call; record it "
                      "again");
}

TEST_CASE("grad_check: a wrong gradient, a missing one and NaN are not ok", "[tape]") {
  const auto x = wavy<double, 1>({5}, 0.3);
  const auto with = [](double factor) {
    return [factor](const Tensor<double, 1>& t) {
      auto y = t.clone();
      if (Recorder* tape = recording(t))
        tape->push([factor, tv = t.var(), yv = tape->track(y)](Gradients& g) {
          const auto dy = g.take(yv);
          if (factor != 0) g.add(tv, scale(dy, factor));
        });
      return y;
    };
  };
  REQUIRE(grad_check(with(1), x).ok());
  REQUIRE_FALSE(grad_check(with(1.001), x).ok());
  REQUIRE_FALSE(grad_check(with(0), x).ok());
  REQUIRE_FALSE(grad_check(with(std::nan("")), x).ok());
  REQUIRE(grad_check(with(std::nan("")), x).where.substr(0, 29) == "input 0, entry 0: analytic na");
  auto bad = x.clone();
  bad(2) = std::nan("");
  REQUIRE_FALSE(grad_check([](const auto& t) { return square(t); }, bad).ok());
}

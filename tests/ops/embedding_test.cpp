#include "sequin/ops/embedding.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

using Ids = Tensor<std::int64_t, 2>;

TEST_CASE("embedding: row i of the table stands where token i stood", "[embedding]") {
  for (const index_t width : {1, 3, 4, 9}) {
    const auto table = wavy<float, 2>({4, width}, 0.2);
    const Ids ids({2, 3}, {3, 0, 0, 1, 3, 2});
    const auto y = embedding(table, ids);
    REQUIRE(y.shape() == Shape<3>{2, 3, width});
    for (index_t b = 0; b < 2; ++b)
      for (index_t t = 0; t < 3; ++t)
        for (index_t d = 0; d < width; ++d) REQUIRE(y(b, t, d) == table(ids(b, t), d));
  }
}

TEST_CASE("embedding: the gradient sums over repeated tokens and is 0 for absent ones",
          "[embedding]") {
  const auto table = wavy<double, 2>({4, 5}, 0.2);
  const Ids ids({2, 3}, {3, 0, 0, 1, 3, 3});
  const auto r = grad_check([&](const auto& t) { return embedding(t, ids); }, table);
  INFO(r.where);
  REQUIRE(r.ok());
  auto leaf = table.clone();
  leaf.set_requires_grad();
  Tape tape;
  const auto y = embedding(leaf, ids);
  const auto g = tape.gradients(y, Tensor<double, 3>(y.shape(), 1.0)).of(leaf);
  for (index_t d = 0; d < 5; ++d) {
    REQUIRE(g(0, d) == 2);
    REQUIRE(g(1, d) == 1);
    REQUIRE(g(2, d) == 0);
    REQUIRE(g(3, d) == 3);
  }
}

TEST_CASE("embedding: the first token that is out of range is named", "[embedding]") {
  const Tensor<float, 2> table({4, 5});
  REQUIRE_THROWS_WITH(embedding(table, Ids({2, 3}, {0, 1, 2, 3, 4, -1})),
                      "embedding: token 4 at [1, 1] is out of range [0, V=4)");
  REQUIRE_THROWS_WITH(embedding(table, Ids({1, 2}, {0, -1})),
                      "embedding: token -1 at [0, 1] is out of range [0, V=4)");
  REQUIRE_THROWS_AS(embedding(table, Ids({1, 1}, {std::int64_t{1} << 40})), ShapeError);
  REQUIRE_THROWS_AS(embedding(Tensor<float, 2>({0, 5}), Ids({1, 1}, {0})), ShapeError);
}

TEST_CASE("embedding: no tokens and no width are legal", "[embedding]") {
  const Tensor<float, 2> table({4, 5});
  REQUIRE(embedding(table, Ids({0, 3})).shape() == Shape<3>{0, 3, 5});
  REQUIRE(embedding(table, Ids({2, 0})).shape() == Shape<3>{2, 0, 5});
  REQUIRE(embedding(Tensor<float, 2>({4, 0}), Ids({1, 2})).shape() == Shape<3>{1, 2, 0});
}

TEST_CASE("embedding: NaN in a row of the table reaches that token alone", "[embedding]") {
  auto table = wavy<float, 2>({4, 5}, 0.2);
  table(2, 1) = NAN;
  const auto y = embedding(table, Ids({1, 3}, {1, 2, 3}));
  for (index_t t = 0; t < 3; ++t)
    for (index_t d = 0; d < 5; ++d) REQUIRE(std::isnan(y(0, t, d)) == (t == 1 && d == 1));
}

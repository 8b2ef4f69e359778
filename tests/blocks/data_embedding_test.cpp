#include "sequin/blocks/data_embedding.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/blocks/distil_conv.hpp"
#include "sequin/io/weights.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

template <class T>
DataEmbedding<T> small_embedding(DataEmbeddingKind kind, TimeEmbedding embed, const char* freq) {
  DataEmbeddingConfig c;
  c.kind = kind;
  c.c_in = 3;
  c.d_model = 6;
  c.embed = embed;
  c.freq = freq;
  DataEmbedding<T> block(c);
  Generator generator(2);
  block.initialize(generator);
  return block;
}

/// Months, days, weekdays, hours and quarters that all tables have.
template <class T>
Tensor<T, 3> calendar(const Shape<3>& shape) {
  Tensor<T, 3> marks(shape);
  index_t i = 0;
  for (T& v : marks.span()) v = static_cast<T>(i++ * 7 % 4);
  return marks;
}

}  // namespace

TEST_CASE("DataEmbedding: fresh tables are the official ones", "[data_embedding]") {
  const std::string folder =
      std::string(SEQUIN_TEST_DATA) + "/golden/blocks/data_embedding/informer_fixed_t";
  const WeightsSource official = open_weights(folder);
  DataEmbeddingConfig c;
  c.c_in = 3;
  c.d_model = 8;
  c.embed = TimeEmbedding::fixed;
  c.freq = "t";
  DataEmbedding<float> block(c);
  Generator generator(2);
  block.initialize(generator);
  for (const auto& p : parameters(block).items) {
    if (p.trainable) continue;
    const auto expected = official.read<float>(p.name);
    REQUIRE(static_cast<index_t>(expected.size()) == p.values.size());
    // An ulp of the frequency, which is at most 1, times 5000 steps.
    const double tolerance = p.name.ends_with("pe") ? 5e-4 : 4e-6;
    for (index_t i = 0; i < p.values.size(); ++i)
      REQUIRE(std::abs(std::as_const(p.values)(i) - expected[static_cast<std::size_t>(i)]) <
              tolerance);
  }
}

TEST_CASE("DataEmbedding: every frequency has its number of marks", "[data_embedding]") {
  const std::pair<const char*, index_t> counts[] = {{"h", 4}, {"t", 5}, {"s", 6}, {"m", 1},
                                                    {"a", 1}, {"w", 2}, {"d", 3}, {"b", 3}};
  for (const auto& [freq, count] : counts) {
    const auto block =
        small_embedding<float>(DataEmbeddingKind::informer, TimeEmbedding::timeF, freq);
    const auto x = wavy<float, 3>({2, 5, 3}, 0.1);
    REQUIRE(block.forward(x, wavy<float, 3>({2, 5, count}, 0.2)).shape() == Shape<3>{2, 5, 6});
    REQUIRE_THROWS_AS(block.forward(x, wavy<float, 3>({2, 5, count + 1}, 0.2)), ShapeError);
  }
}

TEST_CASE("DataEmbedding: gradients equal finite differences", "[data_embedding]") {
  for (const auto kind : {DataEmbeddingKind::informer, DataEmbeddingKind::tslib,
                          DataEmbeddingKind::autoformer_wo_pos}) {
    const auto block = small_embedding<double>(kind, TimeEmbedding::timeF, "h");
    const auto r = grad_check([&](const auto& x, const auto& m) { return block.forward(x, m); },
                              wavy<double, 3>({2, 5, 3}, 0.1), wavy<double, 3>({2, 5, 4}, 0.2));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("DataEmbedding: marks look rows up, truncated to whole numbers", "[data_embedding]") {
  for (const auto embed : {TimeEmbedding::fixed, TimeEmbedding::learned})
    for (const char* freq : {"h", "t"}) {
      auto block = small_embedding<float>(DataEmbeddingKind::informer, embed, freq);
      const auto marks = calendar<float>({2, 5, 5});
      auto later = marks.clone();
      for (float& v : later.span()) v += 0.75f;
      const auto y = block.temporal_embedding.forward(marks);
      REQUIRE(identical(block.temporal_embedding.forward(later), y));
      const auto& t = block.temporal_embedding;
      const auto row = [&](const Embedding<float>& table, index_t column, index_t d) {
        return table.weight(static_cast<index_t>(marks(1, 3, column)), d);
      };
      for (index_t d = 0; d < 6; ++d) {
        float sum = row(t.hour_embed, 3, d) + row(t.weekday_embed, 2, d) + row(t.day_embed, 1, d) +
                    row(t.month_embed, 0, d);
        if (*freq == 't') sum += row(t.minute_embed, 4, d);
        REQUIRE(y(1, 3, d) == Approx(sum));
      }
      // Trained tables are parameters, the others buffers, under their official names.
      bool found = false;
      for (const auto& p : parameters(block).items) {
        const bool learned = embed == TimeEmbedding::learned;
        if (p.name != (learned ? "temporal_embedding.hour_embed.weight"
                               : "temporal_embedding.hour_embed.emb.weight"))
          continue;
        found = true;
        REQUIRE(p.trainable == learned);
      }
      REQUIRE(found);
    }
}

TEST_CASE("DataEmbedding: marks outside a table and NaN are refused", "[data_embedding]") {
  const auto block = small_embedding<float>(DataEmbeddingKind::informer, TimeEmbedding::fixed, "h");
  const auto x = wavy<float, 3>({1, 5, 3}, 0.1);
  for (const float wrong : {24.0f, -1.0f, 1e30f, NAN}) {
    auto marks = calendar<float>({1, 5, 4});
    marks(0, 2, 3) = wrong;
    REQUIRE_THROWS_AS(block.forward(x, marks), ShapeError);
  }
}

TEST_CASE("DataEmbedding: wrong sizes are named", "[data_embedding]") {
  const auto block = small_embedding<float>(DataEmbeddingKind::tslib, TimeEmbedding::timeF, "h");
  REQUIRE_THROWS_WITH(block.forward(Tensor<float, 3>({1, 5001, 3})),
                      "DataEmbedding: x is [1, 5001, 3], expected [B, T of 1 to 5000, C=3]");
  REQUIRE_THROWS_WITH(block.forward(Tensor<float, 3>({2, 5, 3}), Tensor<float, 3>({2, 6, 4})),
                      "DataEmbedding: marks are [2, 6, 4], expected [B, T, M] with x [2, 5, 3]");
  DataEmbeddingConfig odd;
  odd.d_model = 5;
  REQUIRE_THROWS_AS(DataEmbedding<float>(odd), ConfigError);
}

TEST_CASE("InvertedEmbedding: variates, then marks, each one token", "[data_embedding]") {
  InvertedEmbedding<float> block(7, 4);
  Generator generator(2);
  block.initialize(generator);
  const auto x = wavy<float, 3>({2, 7, 3}, 0.1);
  const auto marks = wavy<float, 3>({2, 7, 2}, 0.2);
  const auto y = block.forward(x, marks);
  REQUIRE(y.shape() == Shape<3>{2, 5, 4});
  REQUIRE(identical(slice(y, 1, 0, 3), block.forward(x)));
  REQUIRE(identical(slice(y, 1, 3, 5), block.forward(marks)));
}

TEST_CASE("DistilConv: halves the length as the two official forms do", "[distil_conv]") {
  for (const auto& [length, informer, tslib] :
       {std::array<index_t, 3>{24, 12, 13}, {37, 19, 20}, {2, 1, 2}, {1, 1, 2}}) {
    const Tensor<float, 3> x({2, length, 3});
    REQUIRE(DistilConv<float>(3, 1).forward(x).extent(1) == informer);
    REQUIRE(DistilConv<float>(3, 2).forward(x).extent(1) == tslib);
  }
}

TEST_CASE("DistilConv: gradients equal finite differences, in training too", "[distil_conv]") {
  DistilConv<double> block(3, 2);
  Generator generator(2);
  block.initialize(generator);
  for (const bool training : {false, true}) {
    ForwardContext<double> context;
    if (training) context.dropout_generator = &generator;
    const auto r = grad_check([&](const auto& x) { return block.forward(x, context); },
                              wavy<double, 3>({2, 7, 3}, 0.1));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

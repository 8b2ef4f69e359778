#include "sequin/ops/batch_norm.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/batch_norm.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/io/load_model.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <filesystem>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

struct Moments {
  std::vector<double> mean, variance;
};

template <class T>
Moments moments(const Tensor<T, 3>& x) {
  const index_t n = x.extent(2);
  const auto rows = static_cast<double>(x.rows());
  Moments m;
  for (index_t c = 0; c < n; ++c) {
    double sum = 0, squares = 0;
    for (index_t r = 0; r < x.rows(); ++r) sum += static_cast<double>(x.data()[r * n + c]);
    for (index_t r = 0; r < x.rows(); ++r)
      squares += std::pow(static_cast<double>(x.data()[r * n + c]) - sum / rows, 2);
    m.mean.push_back(sum / rows);
    m.variance.push_back(squares / rows);
  }
  return m;
}

}  // namespace

TEMPLATE_TEST_CASE("batch_norm: both modes equal the formula at every width", "[batch_norm]", float,
                   double) {
  const double tolerance = sizeof(TestType) == 4 ? 3e-6 : 1e-14;
  for (const index_t n : {1, 7, 8, 17, 300}) {
    const auto x = wavy<TestType, 3>({2, 5, n}, 0.1, 2, 3);
    const auto w = wavy<TestType, 1>({n}, 0.2);
    const auto b = wavy<TestType, 1>({n}, 0.3);
    const auto mean = wavy<TestType, 1>({n}, 0.4);
    const auto variance = wavy<TestType, 1>({n}, 0.5, 1, 2);
    BatchStatistics<TestType> s;
    const auto given = batch_norm(x, mean, variance, w, b, 1e-3);
    const auto own = batch_norm_train(x, w, b, 1e-3, s);
    const Moments m = moments(x);
    for (index_t r = 0; r < x.rows(); ++r)
      for (index_t c = 0; c < n; ++c) {
        const auto i = static_cast<std::size_t>(c);
        const auto v = static_cast<double>(x.data()[r * n + c]);
        const auto wc = static_cast<double>(w(c));
        const auto bc = static_cast<double>(b(c));
        const double with_given = (v - static_cast<double>(mean(c))) /
                                      std::sqrt(static_cast<double>(variance(c)) + 1e-3) * wc +
                                  bc;
        const double with_own = (v - m.mean[i]) / std::sqrt(m.variance[i] + 1e-3) * wc + bc;
        REQUIRE(std::abs(static_cast<double>(given.data()[r * n + c]) - with_given) < tolerance);
        REQUIRE(std::abs(static_cast<double>(own.data()[r * n + c]) - with_own) < tolerance);
      }
  }
}

TEST_CASE("batch_norm: gradients equal finite differences in both modes", "[batch_norm]") {
  const auto x = wavy<double, 3>({2, 4, 3}, 0.1);
  const auto w = wavy<double, 1>({3}, 0.2);
  const auto b = wavy<double, 1>({3}, 0.3);
  const auto mean = wavy<double, 1>({3}, 0.4);
  const auto variance = wavy<double, 1>({3}, 0.5, 1, 2);
  auto r = grad_check([&](const auto& t, const auto& u,
                          const auto& v) { return batch_norm(t, mean, variance, u, v); },
                      x, w, b);
  INFO(r.where);
  REQUIRE(r.ok());
  r = grad_check(
      [](const auto& t, const auto& u, const auto& v) {
        BatchStatistics<double> s;
        return batch_norm_train(t, u, v, 1e-5, s);
      },
      x, w, b);
  INFO(r.where);
  REQUIRE(r.ok());
}

TEST_CASE("batch_norm: any number of threads gives the same bits", "[batch_norm]") {
  const auto run = [] {
    auto x = wavy<float, 3>({7, 50, 600}, 0.1);
    x.set_requires_grad();
    BatchStatistics<float> s;
    Tape tape;
    const auto y =
        batch_norm_train(x, wavy<float, 1>({600}, 0.2), wavy<float, 1>({600}, 0.3), 1e-5, s);
    return std::pair(y, tape.gradients(y, wavy<float, 3>(y.shape(), 0.4)).of(x));
  };
  const auto alone = run();
  ThreadPool pool(3);
  const ExecutorScope scope(&pool);
  const auto together = run();
  REQUIRE(identical(alone.first, together.first));
  REQUIRE(identical(alone.second, together.second));
}

TEST_CASE("batch_norm: wrong shapes are named", "[batch_norm]") {
  const Tensor<float, 2> x({4, 3});
  const Tensor<float, 1> three({3}), two(Shape<1>{2});
  REQUIRE_THROWS_WITH(batch_norm(x, two, three, three, three),
                      "batch_norm: mean is [2], expected [C=3] (C from x [4, 3])");
  REQUIRE_THROWS_WITH(batch_norm(x, three, three, three, two),
                      "batch_norm: bias is [2], expected [C=3] (C from x [4, 3])");
  BatchStatistics<float> s;
  REQUIRE_THROWS_WITH(batch_norm_train(Tensor<float, 2>({1, 3}), three, three, 1e-5, s),
                      "batch_norm_train: x is [1, 3], expected at least 2 values for each of its C "
                      "channels");
}

TEST_CASE("BatchNorm1d: training moves the running statistics as PyTorch does, inference none",
          "[batch_norm]") {
  BatchNorm1d<double> block(4);
  block.running_mean = wavy<double, 1>({4}, 0.4);
  const auto x = wavy<double, 3>({2, 5, 4}, 0.1, 2, 3);
  const Moments m = moments(x);
  const auto before = block.running_mean.clone();
  block.forward(x);
  REQUIRE(identical(block.running_mean, before));
  REQUIRE(block.num_batches_tracked.item() == 0);
  Generator generator(1);
  ForwardContext<double> context;
  context.dropout_generator = &generator;
  const BatchNorm1d<double>& unchanged = block;
  unchanged.forward(x, context);
  REQUIRE(block.num_batches_tracked.item() == 1);
  for (index_t c = 0; c < 4; ++c) {
    const auto i = static_cast<std::size_t>(c);
    REQUIRE(block.running_mean(c) == Approx(0.9 * before(c) + 0.1 * m.mean[i]));
    REQUIRE(block.running_var(c) == Approx(0.9 + 0.1 * m.variance[i] * 10 / 9));
  }
}

TEST_CASE("BatchNorm1d: num_batches_tracked is int64 in the file and loads again", "[batch_norm]") {
  BatchNorm1d<float> block(3), other(3);
  block.num_batches_tracked.data()[0] = 12345;
  const auto file =
      std::filesystem::temp_directory_path() /
      ("sequin_batch_norm_" + std::to_string(reinterpret_cast<std::uintptr_t>(&block)));
  save_weights(block, file);
  {
    const WeightsSource source = open_weights(file);
    const TensorEntry* const entry = source.find("num_batches_tracked");
    REQUIRE(entry != nullptr);
    REQUIRE(entry->dtype == DType::I64);
    REQUIRE(entry->shape.empty());
    load_weights(other, source);
  }
  std::filesystem::remove(file);
  REQUIRE(other.num_batches_tracked.item() == 12345);
}

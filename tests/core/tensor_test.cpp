#include "sequin/core/tensor.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

using namespace sequin;
using sequin_test::identical;

TEMPLATE_TEST_CASE("tensor: elements lie in row-major order, aligned to a cache line", "", float,
                   double, std::int64_t) {
  for (const index_t n : {1, 3, 16, 17}) {
    Tensor<TestType, 3> t({2, 3, n});
    REQUIRE(reinterpret_cast<std::uintptr_t>(t.data()) % 64 == 0);
    for (const TestType v : t.span()) REQUIRE(v == 0);
    for (index_t i = 0; i < t.size(); ++i) t.data()[i] = static_cast<TestType>(i);
    index_t count = 0;
    for (index_t i = 0; i < 2; ++i)
      for (index_t j = 0; j < 3; ++j)
        for (index_t k = 0; k < n; ++k)
          REQUIRE(std::as_const(t)(i, j, k) == static_cast<TestType>(count++));
    REQUIRE(t.size() == count);
    REQUIRE(t.rows() == 6);
    REQUIRE(t.cols() == n);
    REQUIRE(t.view().contiguous());
    REQUIRE(t.view()(1, 2, 0) == t(1, 2, 0));
    REQUIRE(t.view()[1][2](0) == t(1, 2, 0));
  }
}

TEST_CASE("tensor: a scalar has one element, an extent of 0 none, undefined nothing", "") {
  const Tensor<double, 0> scalar({}, 2.5);
  REQUIRE(scalar.size() == 1);
  REQUIRE(scalar.rows() == 1);
  REQUIRE(scalar.cols() == 1);
  REQUIRE(scalar.item() == 2.5);
  REQUIRE(scalar() == 2.5);
  const Tensor<double, 3> none({2, 0, 3});
  REQUIRE(none.defined());
  REQUIRE(none.size() == 0);
  REQUIRE(none.rows() == 0);
  REQUIRE(none.cols() == 3);
  const Tensor<double, 2> undefined;
  REQUIRE_FALSE(undefined.defined());
  REQUIRE(undefined.size() == 0);
  REQUIRE(undefined.rows() == 0);
  REQUIRE(undefined.data() == nullptr);
  REQUIRE(undefined.span().empty());
  REQUIRE_FALSE(undefined.clone().defined());
  REQUIRE_FALSE(undefined.cast<float>().defined());
  const Tensor<double, 0> undefined_scalar;
  REQUIRE(undefined_scalar.size() == 0);
  REQUIRE_THROWS_AS(undefined_scalar.item(), ShapeError);
}

TEST_CASE("tensor: a copy shares the elements, a clone does not", "") {
  Tensor<float, 2> a({2, 2}, {1, 2, 3, 4});
  Tensor<float, 2> b = a;
  auto c = a.clone();
  REQUIRE(b.shares_storage_with(a));
  REQUIRE_FALSE(c.shares_storage_with(a));
  b(0, 1) = 9;
  REQUIRE(std::as_const(a)(0, 1) == 9);
  REQUIRE(std::as_const(c)(0, 1) == 2);
  const Tensor<float, 2> moved = std::move(b);
  REQUIRE(moved.shares_storage_with(a));
  b = a;  // a moved-from handle can be assigned again
  REQUIRE(b.shares_storage_with(a));
  auto& self = a;
  a = self;
  REQUIRE(std::as_const(a)(0, 1) == 9);
  a = {};
  REQUIRE(moved(1, 1) == 4);  // the other handles keep the elements
}

TEST_CASE("tensor: constness is deep", "") {
  using Const = const Tensor<float, 2>;
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Const&>().data()), const float*>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Const&>().span()), std::span<const float>>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Const&>().view()), View<const float, 2>>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Const&>()(0, 0)), const float&>);
}

TEST_CASE("tensor: reshaped shares the elements, detach forgets who asked for a gradient", "") {
  Tensor<float, 2> a({2, 3}, {1, 2, 3, 4, 5, 6});
  a.set_requires_grad();
  const auto r = a.reshaped(Shape<3>{3, 1, 2});
  REQUIRE(r(2, 0, 1) == 6);
  REQUIRE(r.data() == std::as_const(a).data());
  REQUIRE_FALSE(r.requires_grad());
  const Tensor<float, 2> copy = a;
  REQUIRE(copy.requires_grad());
  REQUIRE(copy.var().id == a.var().id);
  REQUIRE_FALSE(a.detach().requires_grad());
  REQUIRE(a.detach().shares_storage_with(a));
  REQUIRE_FALSE(a.clone().requires_grad());
  REQUIRE_FALSE(a.cast<double>().requires_grad());
  Tensor<float, 2> other = a;
  other.set_requires_grad();
  REQUIRE(other.var().id != a.var().id);  // each asking is an identity of its own
  a.set_requires_grad(false);
  REQUIRE_FALSE(a.requires_grad());
  REQUIRE(copy.requires_grad());
}

TEST_CASE("tensor: non-const access, and no other, changes the version", "") {
  Tensor<float, 2> a({2, 2});
  const Tensor<float, 2> b = a;
  auto version = b.version();
  const auto changed = [&] { return std::exchange(version, b.version()) != b.version(); };
  static_cast<void>(b.data());
  static_cast<void>(b(0, 1));
  static_cast<void>(b.span());
  static_cast<void>(std::as_const(a).view());
  static_cast<void>(a.clone());
  static_cast<void>(a.detach());
  REQUIRE_FALSE(changed());
  static_cast<void>(a.data());
  REQUIRE(changed());
  a(0, 1) = 1;
  REQUIRE(changed());
  static_cast<void>(a.span());
  REQUIRE(changed());
  static_cast<void>(a.view());
  REQUIRE(changed());
  a.fill(1);
  REQUIRE(changed());
  a.copy_from(std::vector<float>{1, 2, 3, 4});
  REQUIRE(changed());
}

TEST_CASE("tensor: elements can be given, copied in and cast", "") {
  const std::vector<double> values{1.5, -2.5, 1e300};
  const Tensor<double, 1> t({3}, std::span<const double>(values));
  REQUIRE(t(2) == 1e300);
  const auto f = t.cast<float>();
  REQUIRE(f(0) == 1.5f);
  REQUIRE(std::isinf(f(2)));
  const auto i = Tensor<std::int64_t, 1>({2}, {7, -7}).cast<double>();
  REQUIRE(identical(i, Tensor<double, 1>({2}, {7, -7})));
  Tensor<double, 1> u({3});
  u.copy_from(t.span());
  REQUIRE(identical(u, t));
  u.fill(3);
  REQUIRE(identical(u, Tensor<double, 1>({3}, 3.0)));
}

TEST_CASE("tensor: impossible extents and numbers of elements are named", "") {
  REQUIRE_THROWS_WITH((Tensor<float, 2>({3, -1})), "shape [3, -1] has a negative extent");
  REQUIRE_THROWS_WITH((Tensor<float, 2>({0, -1})), "shape [0, -1] has a negative extent");
  // Each extent is possible, the product overflows.
  const index_t half = index_t{1} << 32;
  REQUIRE_THROWS_WITH((Tensor<float, 2>({half, half})),
                      "shape [4294967296, 4294967296] has more elements than memory can hold");
  REQUIRE_THROWS_WITH((Tensor<float, 3>({half, half, 0})),
                      "shape [4294967296, 4294967296, 0] has more elements than memory can hold");
  REQUIRE_THROWS_WITH((Tensor<float, 2>({2, 2}, {1, 2, 3})),
                      "copy_from: 3 values for a tensor [2, 2]");
  REQUIRE_THROWS_WITH((Tensor<float, 2>({2, 3}).reshaped(Shape<1>{7})),
                      "reshape: [2, 3] has 6 elements, [7] another number");
  REQUIRE_THROWS_WITH((Tensor<float, 1>({2}).item()), "item: the tensor is [2], not a scalar");
}

TEST_CASE("view: strides select, and say whether the elements are contiguous", "") {
  Tensor<float, 2> t({3, 4});
  for (index_t i = 0; i < 12; ++i) t.data()[i] = static_cast<float>(i);
  const View<float, 2> columns(t.data() + 1, Shape<2>{3, 2}, Shape<2>{4, 2});
  REQUIRE(columns(2, 1) == 11);
  REQUIRE_FALSE(columns.contiguous());
  REQUIRE(columns[1].stride(0) == 2);
  REQUIRE(columns[1](1) == 7);
  REQUIRE(columns.size() == 6);
  const View<const float, 2> read_only = columns;
  REQUIRE(read_only.data() == columns.data());
  // A stride along an axis of extent 1 means nothing.
  REQUIRE(View<float, 2>(t.data(), Shape<2>{1, 4}, Shape<2>{99, 1}).contiguous());
  REQUIRE_FALSE(View<float, 2>(t.data(), Shape<2>{4, 3}, Shape<2>{1, 4}).contiguous());
}

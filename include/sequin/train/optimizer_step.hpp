/// The elementwise arithmetic of the optimisers.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI::detail {

/// What one Adam step multiplies with; everything is rounded to T where torch rounds it.
template <class T>
struct AdamCoefficients {
  T beta1{}, grad_share1{};  // exp_avg = beta1 exp_avg + grad_share1 g
  T beta2{}, grad_share2{};  // exp_avg_sq = beta2 exp_avg_sq + grad_share2 g g
  T l2{};                    // g += l2 p, Adam
  T keep{1};                 // p *= keep, AdamW
  T root_correction2{};      // sqrt(1 - beta2^step)
  T eps{};
  T negative_step_size{};  // -lr / (1 - beta1^step)
};

/// Elements [0, n) of one Adam or AdamW step. `max_sq` is nullptr without amsgrad.
template <class T>
void adam_step(index_t n, T* p, T* exp_avg, T* exp_avg_sq, T* max_sq, const T* grad,
               const AdamCoefficients<T>& c) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const V beta1 = simd::set1(c.beta1), share1 = simd::set1(c.grad_share1);
  const V beta2 = simd::set1(c.beta2), share2 = simd::set1(c.grad_share2);
  const V l2 = simd::set1(c.l2), keep = simd::set1(c.keep), eps = simd::set1(c.eps);
  const V root2 = simd::set1(c.root_correction2), rate = simd::set1(c.negative_step_size);
  // The order of operations of torch's single-tensor form: add_ with alpha is one fma there.
  const auto update = [&](V& x, V& m, V& v, V& top, V g) {
    if (c.keep != T{1}) x = x * keep;
    if (c.l2 != T{0}) g = simd::fma<T>(x, l2, g);
    m = simd::fma<T>(g, share1, m * beta1);
    v = simd::fma<T>(share2 * g, g, v * beta2);
    if (max_sq != nullptr) {
      // torch.maximum: NaN wins.
      top = simd::select<T>(top > v, top, simd::select<T>(top == top, v, top));
    }
    const V denominator = simd::div<T>(simd::sqrt<T>(max_sq != nullptr ? top : v), root2) + eps;
    x = x + simd::div<T>(rate * m, denominator);
  };
  index_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    V x = simd::load(p + i), m = simd::load(exp_avg + i), v = simd::load(exp_avg_sq + i);
    V top = max_sq != nullptr ? simd::load(max_sq + i) : v;
    update(x, m, v, top, simd::load(grad + i));
    simd::store(p + i, x);
    simd::store(exp_avg + i, m);
    simd::store(exp_avg_sq + i, v);
    if (max_sq != nullptr) simd::store(max_sq + i, top);
  }
  if (const index_t rest = n - i; rest > 0) {
    V x = simd::load_partial(p + i, rest), m = simd::load_partial(exp_avg + i, rest);
    V v = simd::load_partial(exp_avg_sq + i, rest);
    V top = max_sq != nullptr ? simd::load_partial(max_sq + i, rest) : v;
    update(x, m, v, top, simd::load_partial(grad + i, rest));
    simd::store_partial(p + i, x, rest);
    simd::store_partial(exp_avg + i, m, rest);
    simd::store_partial(exp_avg_sq + i, v, rest);
    if (max_sq != nullptr) simd::store_partial(max_sq + i, top, rest);
  }
}

/// What one SGD step multiplies with.
template <class T>
struct SgdCoefficients {
  T negative_rate{};
  T l2{};
  T momentum{};
  T grad_share{1};  // 1 - dampening; 1 in the first step
  bool nesterov = false;
};

/// Elements [0, n) of one SGD step. `buffer` is nullptr without momentum.
template <class T>
void sgd_step(index_t n, T* p, T* buffer, const T* grad, const SgdCoefficients<T>& c) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const V rate = simd::set1(c.negative_rate), l2 = simd::set1(c.l2);
  const V momentum = simd::set1(c.momentum), share = simd::set1(c.grad_share);
  for (index_t i = 0; i < n; i += lanes) {
    const index_t k = (std::min)(lanes, n - i);
    const bool whole = k == lanes;
    const auto read = [&](const T* at) {
      return whole ? simd::load(at + i) : simd::load_partial(at + i, k);
    };
    const auto write = [&](T* at, const V& v) {
      if (whole)
        simd::store(at + i, v);
      else
        simd::store_partial(at + i, v, k);
    };
    const V x = read(p);
    V g = read(grad);
    if (c.l2 != T{0}) g = simd::fma<T>(x, l2, g);
    if (buffer != nullptr) {
      const V b = simd::fma<T>(g, share, read(buffer) * momentum);
      write(buffer, b);
      g = c.nesterov ? simd::fma<T>(b, momentum, g) : b;
    }
    write(p, simd::fma<T>(g, rate, x));
  }
}

}  // namespace sequin::inline SEQUIN_ABI::detail

/// Norms whose statistics run over time: of a whole utterance, or of each of its channels.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/column_sum.hpp"

#include <cmath>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Mean and 1 / deviation of each utterance's channel, all equal within an utterance for a global
/// norm: (B, C) each.
template <Scalar T>
struct TimeMoments {
  Tensor<T, 2> mean, rstd;
};

template <Scalar T>
void check_time_norm(const Tensor<T, 3>& x, const Tensor<T, 1>& weight, const Tensor<T, 1>& bias,
                     const char* op) {
  for (const auto* t : {&weight, &bias})
    if (t->defined() && t->extent(0) != x.extent(2))
      throw ShapeError(std::string(op) + ": weight or bias is " + to_string(t->shape()) +
                       ", expected [C=" + std::to_string(x.extent(2)) + "] (C from x " +
                       to_string(x.shape()) + ")");
}

/// Fills `out` (B, C) with sums over the time of x: f(utterance, first channel, width, to) adds
/// those of a register's width of channels.
template <Scalar T, class F>
void sum_over_time(const Tensor<T, 3>& x, Tensor<double, 2>& out, F&& f) {
  const index_t c = x.extent(2);
  double* const to = out.data();
  parallel_for(x.extent(0) * c, index_t{64}, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end;) {
      const index_t b = i / c;
      const index_t last = (std::min)(end, (b + 1) * c);
      kernels::detail::for_columns<T>(i - b * c, last - b * c, [&](index_t j, index_t width) {
        f(b, j, width, to + b * c + j);
      });
      i = last;
    }
  });
}

/// Sums over the channels too, and gives every channel the total.
inline void share_total(Tensor<double, 2>& sums) {
  const index_t c = sums.extent(1);
  for (index_t b = 0; b < sums.extent(0); ++b) {
    double total = 0;
    for (index_t j = 0; j < c; ++j) total += sums.data()[b * c + j];
    for (index_t j = 0; j < c; ++j) sums.data()[b * c + j] = total;
  }
}

template <Scalar T>
TimeMoments<T> time_moments(const Tensor<T, 3>& x, bool global, double eps) {
  using V = simd::Vec<T>;
  const index_t steps = x.extent(1);
  const index_t c = x.extent(2);
  const double n = static_cast<double>(steps) * (global ? static_cast<double>(c) : 1.0);
  TimeMoments<T> m{Tensor<T, 2>::empty({x.extent(0), c}), Tensor<T, 2>::empty({x.extent(0), c})};
  Tensor<double, 2> sums({x.extent(0), c});
  sum_over_time(x, sums, [&](index_t b, index_t j, index_t width, double* to) {
    kernels::detail::column_sum<T>(
        steps, c, width, to, [](const V& v) { return v; }, x.data() + b * steps * c + j);
  });
  if (global) share_total(sums);
  for (index_t i = 0; i < sums.size(); ++i)
    m.mean.data()[i] = static_cast<T>(std::as_const(sums).data()[i] / n);
  Tensor<double, 2> squares({x.extent(0), c});
  sum_over_time(x, squares, [&](index_t b, index_t j, index_t width, double* to) {
    const V mean = simd::load_partial<T>(std::as_const(m.mean).data() + b * c + j, width);
    kernels::detail::column_sum<T>(
        steps, c, width, to, [&](const V& v) { return (v - mean) * (v - mean); },
        x.data() + b * steps * c + j);
  });
  if (global) share_total(squares);
  for (index_t i = 0; i < squares.size(); ++i)
    m.rstd.data()[i] = static_cast<T>(1 / std::sqrt(std::as_const(squares).data()[i] / n + eps));
  return m;
}

/// A tensor of x's extents, row by row: f(utterance, offset of the row in x, row to write).
template <Scalar T, class F>
Tensor<T, 3> map_channels(const Tensor<T, 3>& x, F&& f) {
  const index_t steps = x.extent(1);
  const index_t c = x.extent(2);
  auto y = Tensor<T, 3>::empty(x.shape());
  T* const to = y.data();
  parallel_for(x.extent(0) * steps, 16384 / (c + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) f(r / steps, r * c, to + r * c);
  });
  return y;
}

template <Scalar T>
Tensor<T, 3> time_norm(const Tensor<T, 3>& x, const Tensor<T, 1>& weight, const Tensor<T, 1>& bias,
                       double eps, bool global, const char* op) {
  using V = simd::Vec<T>;
  check_time_norm(x, weight, bias, op);
  const index_t batch = x.extent(0);
  const index_t steps = x.extent(1);
  const index_t c = x.extent(2);
  const TimeMoments<T> m = time_moments(x, global, eps);
  const T* const mean = m.mean.data();
  const T* const rstd = m.rstd.data();
  const Tensor<T, 1> w = weight.defined() ? weight.detach() : Tensor<T, 1>({c}, T{1});
  const Tensor<T, 1> shift = bias.defined() ? bias.detach() : Tensor<T, 1>(Shape<1>{c});
  auto y = map_channels(x, [&](index_t b, index_t at, T* to) {
    simd::transform<T>(
        c, to,
        [](const V& v, const V& mu, const V& s, const V& a, const V& d) {
          return simd::fma<T>((v - mu) * s, a, d);
        },
        x.data() + at, mean + b * c, rstd + b * c, w.data(), shift.data());
  });
  Recorder* const tape = recording(x, weight, bias);
  if (tape == nullptr) return y;
  tape->push([x, w, m, batch, steps, c, global, xv = x.var(), wv = weight.var(), bv = bias.var(),
              yv = tape->track(y)](auto& g) -> void {
    const auto dy = g.take(yv);
    if (!dy.defined()) return;
    const T* const means = m.mean.data();
    const T* const rstds = m.rstd.data();
    // Per utterance and channel: the sum of dy, and that of dy times the normalised x.
    Tensor<double, 2> sums({batch, c}), products({batch, c});
    sum_over_time(x, sums, [&](index_t b, index_t j, index_t width, double* to) {
      kernels::detail::column_sum<T>(
          steps, c, width, to, [](const V& d) { return d; }, dy.data() + b * steps * c + j);
    });
    sum_over_time(x, products, [&](index_t b, index_t j, index_t width, double* to) {
      const V mu = simd::load_partial<T>(means + b * c + j, width);
      const V s = simd::load_partial<T>(rstds + b * c + j, width);
      kernels::detail::column_sum<T>(
          steps, c, width, to, [&](const V& d, const V& v) { return d * ((v - mu) * s); },
          dy.data() + b * steps * c + j, x.data() + b * steps * c + j);
    });
    const auto over_batch = [&](const Tensor<double, 2>& parts) {
      Tensor<T, 1> total(Shape<1>{c});
      for (index_t j = 0; j < c; ++j) {
        double sum = 0;
        for (index_t b = 0; b < batch; ++b) sum += parts.data()[b * c + j];
        total(j) = static_cast<T>(sum);
      }
      return total;
    };
    if (g.wants(wv)) g.add(wv, over_batch(products));
    if (g.wants(bv)) g.add(bv, over_batch(sums));
    if (!g.wants(xv)) return;
    const double n = static_cast<double>(steps) * (global ? static_cast<double>(c) : 1.0);
    Tensor<T, 2> first({batch, c}), second({batch, c});
    for (index_t i = 0; i < sums.size(); ++i) {
      sums.data()[i] *= static_cast<double>(w.data()[i % c]) / n;
      products.data()[i] *= static_cast<double>(w.data()[i % c]) / n;
    }
    if (global) {
      share_total(sums);
      share_total(products);
    }
    for (index_t i = 0; i < sums.size(); ++i) {
      first.data()[i] = static_cast<T>(std::as_const(sums).data()[i]);
      second.data()[i] = static_cast<T>(std::as_const(products).data()[i]);
    }
    const T* const e = std::as_const(first).data();
    const T* const eh = std::as_const(second).data();
    g.add(xv, map_channels(x, [&](index_t b, index_t at, T* to) {
            simd::transform<T>(
                c, to,
                [](const V& v, const V& d, const V& mu, const V& s, const V& a, const V& se,
                   const V& seh) { return s * (d * a - se - (v - mu) * s * seh); },
                x.data() + at, dy.data() + at, means + b * c, rstds + b * c, w.data(), e + b * c,
                eh + b * c);
          }));
  });
  return y;
}

}  // namespace detail

/// (x - mean) / sqrt(var + eps) * weight + bias, mean and biased variance over all steps and
/// channels of each utterance: x (B, T, C), weight and bias (C) or undefined. torch's GroupNorm
/// with one group, the global layer norm of Luo and Mesgarani, arXiv 1809.07454, equation 9
/// (`gln`), time-major. The sums are kept in double. Throws ShapeError.
template <Scalar T>
Tensor<T, 3> global_norm(const Tensor<T, 3>& x, const Tensor<T, 1>& weight,
                         const Tensor<T, 1>& bias, double eps = 1e-8) {
  return detail::time_norm(x, weight, bias, eps, true, "global_norm");
}

/// The same with the mean and variance of each channel of each utterance over its steps: torch's
/// InstanceNorm1d without running statistics. One step gives the bias (torch refuses it). Throws
/// ShapeError.
template <Scalar T>
Tensor<T, 3> instance_norm(const Tensor<T, 3>& x, const Tensor<T, 1>& weight,
                           const Tensor<T, 1>& bias, double eps = 1e-5) {
  return detail::time_norm(x, weight, bias, eps, false, "instance_norm");
}

/// The mean and variance of all channels of all steps so far, this one included: causal. The
/// variance is E[x^2] - mean^2, as in the official code. x (B, T, C), weight and bias (C) or
/// undefined. The running sums are kept in double. Luo and Mesgarani, arXiv 1809.07454, equation
/// 10; `CumLN` of asteroid. Throws ShapeError.
template <Scalar T>
Tensor<T, 3> cumulative_norm(const Tensor<T, 3>& x, const Tensor<T, 1>& weight,
                             const Tensor<T, 1>& bias, double eps = 1e-8) {
  using V = simd::Vec<T>;
  detail::check_time_norm(x, weight, bias, "cumulative_norm");
  const index_t batch = x.extent(0);
  const index_t steps = x.extent(1);
  const index_t c = x.extent(2);
  const Tensor<T, 1> w = weight.defined() ? weight.detach() : Tensor<T, 1>({c}, T{1});
  const Tensor<T, 1> shift = bias.defined() ? bias.detach() : Tensor<T, 1>(Shape<1>{c});
  Tensor<T, 2> means({batch, steps}), rstds({batch, steps});
  for (index_t b = 0; b < batch; ++b) {
    double sum = 0, squares = 0;
    for (index_t t = 0; t < steps; ++t) {
      const T* const row = x.data() + (b * steps + t) * c;
      for (index_t j = 0; j < c; ++j) {
        sum += static_cast<double>(row[j]);
        squares += static_cast<double>(row[j]) * static_cast<double>(row[j]);
      }
      const double n = static_cast<double>((t + 1) * c);
      means(b, t) = static_cast<T>(sum / n);
      rstds(b, t) = static_cast<T>(1 / std::sqrt(squares / n - sum / n * (sum / n) + eps));
    }
  }
  auto y = Tensor<T, 3>::empty(x.shape());
  T* const to = y.data();
  const T* const mean = std::as_const(means).data();
  const T* const rstd = std::as_const(rstds).data();
  parallel_for(x.rows(), 16384 / (c + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const V m(mean[r]), s(rstd[r]);
      simd::transform<T>(
          c, to + r * c,
          [&](const V& v, const V& a, const V& d) { return simd::fma<T>((v - m) * s, a, d); },
          x.data() + r * c, w.data(), shift.data());
    }
  });
  Recorder* const tape = recording(x, weight, bias);
  if (tape == nullptr) return y;
  tape->push([x, w, means, rstds, batch, steps, c, xv = x.var(), wv = weight.var(), bv = bias.var(),
              yv = tape->track(y)](auto& g) -> void {
    const auto dy = g.take(yv);
    if (!dy.defined()) return;
    std::vector<double> dw(static_cast<std::size_t>(c)), db(static_cast<std::size_t>(c));
    auto dx = Tensor<T, 3>::empty(x.shape());
    for (index_t b = 0; b < batch; ++b) {
      // What later steps owe to the sums of x and of x^2 of this one and those before.
      double owed_sum = 0, owed_squares = 0;
      for (index_t t = steps - 1; t >= 0; --t) {
        const index_t at = (b * steps + t) * c;
        const double m = static_cast<double>(means(b, t));
        const double s = static_cast<double>(rstds(b, t));
        double by_mean = 0, by_rstd = 0;
        for (index_t j = 0; j < c; ++j) {
          const double d = static_cast<double>(dy.data()[at + j]);
          const double centred = static_cast<double>(x.data()[at + j]) - m;
          const double e = d * static_cast<double>(w.data()[j]);
          dw[static_cast<std::size_t>(j)] += d * centred * s;
          db[static_cast<std::size_t>(j)] += d;
          by_mean -= e * s;
          by_rstd += e * centred;
        }
        const double n = static_cast<double>((t + 1) * c);
        const double by_variance = by_rstd * -0.5 * s * s * s;
        owed_sum += (by_mean - 2 * m * by_variance) / n;
        owed_squares += by_variance / n;
        for (index_t j = 0; j < c; ++j)
          dx.data()[at + j] = static_cast<T>(
              static_cast<double>(dy.data()[at + j]) * static_cast<double>(w.data()[j]) * s +
              owed_sum + 2 * static_cast<double>(x.data()[at + j]) * owed_squares);
      }
    }
    g.add(xv, dx);
    const auto put = [&](const auto& var, const std::vector<double>& d) {
      Tensor<T, 1> out(Shape<1>{c});
      for (index_t j = 0; j < c; ++j) out(j) = static_cast<T>(d[static_cast<std::size_t>(j)]);
      g.add(var, out);
    };
    if (g.wants(wv)) put(wv, dw);
    if (g.wants(bv)) put(bv, db);
  });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(global_norm);
SEQUIN_INSTANTIATE(instance_norm);
SEQUIN_INSTANTIATE(cumulative_norm);

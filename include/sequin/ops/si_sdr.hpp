/// Scale-invariant signal-to-distortion ratio (SI-SDR, also called SI-SNR) with its gradient.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/si_sdr.hpp"
#include "sequin/ops/shape.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <class T>
void check_si_sdr(const Tensor<T, 3>& estimate, const Tensor<T, 3>& source,
                  std::span<const std::int64_t> lengths) {
  const index_t batch = estimate.extent(0), samples = estimate.extent(2);
  if (samples < 1 || source.extent(0) != batch || source.extent(2) != samples)
    throw ShapeError("si_sdr: source is " + to_string(source.shape()) + ", expected [B=" +
                     std::to_string(batch) + ", S, T=" + std::to_string(samples) +
                     "] with T >= 1 (from estimate " + to_string(estimate.shape()) + ")");
  if (lengths.empty()) return;
  if (static_cast<index_t>(lengths.size()) != batch)
    throw ShapeError("si_sdr: " + std::to_string(lengths.size()) +
                     " lengths, expected B=" + std::to_string(batch));
  for (const std::int64_t length : lengths)
    if (length < 1 || length > samples)
      throw ShapeError("si_sdr: length " + std::to_string(length) +
                       " is out of range [1, T=" + std::to_string(samples) + "]");
}

/// x [B, S, T] less each row's mean, 0 past its length.
template <class T>
Tensor<T, 3> centered(const Tensor<T, 3>& x, const std::vector<index_t>& lengths, bool sum_all) {
  const index_t rows = x.extent(1), n = x.extent(2);
  auto y = Tensor<T, 3>::empty(x.shape());
  T* const to = y.data();
  parallel_for(x.extent(0) * rows, 16384 / n + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t length = lengths[static_cast<std::size_t>(r / rows)];
      kernels::center_forward(x.data() + r * n, n, length, sum_all ? n : length, to + r * n);
    }
  });
  return y;
}

template <class T>
void uncenter(Tensor<T, 3>& d, const std::vector<index_t>& lengths, bool sum_all) {
  const index_t rows = d.extent(1), n = d.extent(2);
  T* const to = d.data();
  parallel_for(d.extent(0) * rows, 16384 / n + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t length = lengths[static_cast<std::size_t>(r / rows)];
      kernels::center_backward(to + r * n, n, length, sum_all ? n : length, to + r * n);
    }
  });
}

}  // namespace detail

/// SI-SDR in dB of each estimate against each source: estimate [B, C, T], source [B, S, T] ->
/// [B, C, S]. Both are taken about their means; with p = <e, s> s / (|s|^2 + eps) the value is
/// 10 log10(|p|^2 / (|e - p|^2 + eps) + eps), eps = 1e-8: -80 dB for a silent source, finite for a
/// perfect estimate, never clipped. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
///
/// `lengths`, one a batch item or none, is as in kaituoxu/Conv-TasNet's `cal_si_snr_with_pit`:
/// samples from there on are cut from both signals; the estimate's mean is that of the first
/// `length` samples, the source's is the sum of all T over `length`, so a source that is not 0 past
/// its length gets another mean there than one that is. (The official function also zeroes the
/// caller's estimate; here it stays.) Without lengths: ClearerVoice's `cal_si_snr` and asteroid's
/// `PairwiseNegSDR("sisdr")` with the sign turned.
///
/// Gradients with respect to both. Throws ShapeError. Cost B C S T; keeps two copies of the
/// signals.
template <Scalar T>
Tensor<T, 3> si_sdr_pairwise(const Tensor<T, 3>& estimate, const Tensor<T, 3>& source,
                             std::span<const std::int64_t> lengths = {}) {
  detail::check_si_sdr(estimate, source, lengths);
  const index_t batch = estimate.extent(0), E = estimate.extent(1), S = source.extent(1);
  const index_t n = estimate.extent(2);
  std::vector<index_t> counted(static_cast<std::size_t>(batch), n);
  for (std::size_t b = 0; b < lengths.size(); ++b) counted[b] = static_cast<index_t>(lengths[b]);
  const Tensor<T, 3> e = detail::centered(estimate, counted, false);
  const Tensor<T, 3> s = detail::centered(source, counted, true);

  auto y = Tensor<T, 3>::empty({batch, E, S});
  std::vector<kernels::SiSdrPair> pairs(static_cast<std::size_t>(y.size()));
  T* const to = y.data();
  parallel_for(batch * S, 1, [&](index_t begin, index_t end) {
    for (index_t bj = begin; bj < end; ++bj) {
      const index_t b = bj / S, length = counted[static_cast<std::size_t>(b)];
      const T* const row = s.data() + bj * n;
      const double energy = kernels::signal_energy(row, length);
      for (index_t i = 0; i < E; ++i) {
        const index_t at = (b * E + i) * S + bj % S;
        const auto p = kernels::si_sdr_forward(e.data() + (b * E + i) * n, row, energy, length);
        pairs[static_cast<std::size_t>(at)] = p;
        to[at] = static_cast<T>(p.value);
      }
    }
  });
  if (Recorder* tape = recording(estimate, source))
    tape->push([e, s, counted, pairs, ev = estimate.var(), sv = source.var(),
                yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const index_t rows = e.extent(1), columns = s.extent(1), samples = e.extent(2);
      Tensor<T, 3> de, ds;
      if (g.wants(ev)) de = Tensor<T, 3>(e.shape());
      if (g.wants(sv)) ds = Tensor<T, 3>(s.shape());
      T* const de_to = de.defined() ? de.data() : nullptr;
      T* const ds_to = ds.defined() ? ds.data() : nullptr;
      parallel_for(e.extent(0), 1, [&](index_t begin, index_t end) {
        for (index_t b = begin; b < end; ++b)
          for (index_t i = 0; i < rows; ++i)
            for (index_t j = 0; j < columns; ++j) {
              const index_t at = (b * rows + i) * columns + j;
              const T dvalue = dy.data()[at];
              if (dvalue == T{0}) continue;  // pairs that the assignment left out
              const index_t ei = (b * rows + i) * samples, sj = (b * columns + j) * samples;
              kernels::si_sdr_backward(
                  e.data() + ei, s.data() + sj, pairs[static_cast<std::size_t>(at)],
                  static_cast<double>(dvalue), counted[static_cast<std::size_t>(b)],
                  de_to == nullptr ? nullptr : de_to + ei, ds_to == nullptr ? nullptr : ds_to + sj);
            }
      });
      if (de.defined()) {
        detail::uncenter(de, counted, false);
        g.add(ev, de);
      }
      if (ds.defined()) {
        detail::uncenter(ds, counted, true);
        g.add(sv, ds);
      }
    });
  return y;
}

/// SI-SDR in dB of estimate b against source b: both [B, T] -> [B]. Otherwise as above.
template <Scalar T>
Tensor<T, 1> si_sdr(const Tensor<T, 2>& estimate, const Tensor<T, 2>& source,
                    std::span<const std::int64_t> lengths = {}) {
  const auto rows = [](const Tensor<T, 2>& x) {
    return reshape<3>(x, Shape<3>{x.extent(0), 1, x.extent(1)});
  };
  const Tensor<T, 3> y = si_sdr_pairwise(rows(estimate), rows(source), lengths);
  return reshape<1>(y, Shape<1>{y.extent(0)});
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(si_sdr_pairwise);
SEQUIN_INSTANTIATE(si_sdr);

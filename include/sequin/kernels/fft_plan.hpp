/// What Fourier transforms of one length have in common: factors, roots of unity, orders.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/kernels/fft_butterfly.hpp"

#include <cmath>
#include <complex>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// exp(-2 pi i k / n), as exact as sine and cosine are within an eighth of a turn.
inline std::complex<double> fft_root(index_t k, index_t n) {
  constexpr double kTwoPi = 6.28318530717958647693;
  k %= n;
  // Eighths of a turn: the angle is brought into [0, pi / 4], where both functions are accurate.
  index_t a = 8 * k;
  const bool below = a > 4 * n;
  if (below) a = 8 * n - a;
  const bool left = a > 2 * n;
  if (left) a = 4 * n - a;
  const bool steep = a > n;
  if (steep) a = 2 * n - a;
  const double angle = kTwoPi / 8 * static_cast<double>(a) / static_cast<double>(n);
  double c = std::cos(angle), s = std::sin(angle);
  if (steep) std::swap(c, s);
  if (left) c = -c;
  return {c, below ? s : -s};
}

/// The prime factors above 2 of n, largest first, then what is left: a power of 2.
inline std::vector<index_t> fft_odd_primes(index_t& n) {
  std::vector<index_t> primes;
  for (index_t p = 3; p * p <= n; p += 2)
    for (; n % p == 0; n /= p) primes.insert(primes.begin(), p);
  index_t odd = n;
  while (odd > 1 && odd % 2 == 0) odd /= 2;
  if (odd > 1) {
    primes.insert(primes.begin(), odd);
    n /= odd;
  }
  return primes;
}

/// Radices of a transform of n points, at least two, outermost first; none when a prime factor is
/// too large. The last one, whose butterflies come in pairs, is small where possible.
inline std::vector<index_t> fft_radices(index_t n) {
  std::vector<index_t> odd = fft_odd_primes(n);
  if (!odd.empty() && odd.front() > kFftMaxRadix) return {};
  std::vector<index_t> radices;
  index_t twos = 0;
  for (; n > 1; n /= 2) ++twos;
  // Eights and fours, a four at the end; a single two where nothing else is left.
  const bool ends_in_four = twos == 2 || twos == 4 || twos >= 5;
  const index_t before = ends_in_four ? twos - 2 : twos;
  const index_t fours = before % 3 == 0 ? 0 : before % 3 == 2 ? 1 : before >= 4 ? 2 : 0;
  radices.assign(static_cast<std::size_t>((before - 2 * fours) / 3), 8);
  radices.insert(radices.end(), static_cast<std::size_t>(fours), 4);
  if (before == 1) radices.push_back(2);
  radices.insert(radices.end(), odd.begin(), odd.end());
  if (ends_in_four) radices.push_back(4);
  if (radices.size() == 1 && radices[0] == 8) radices = {2, 4};
  if (radices.size() == 1 && radices[0] == 4) radices = {2, 2};
  while (radices.size() < 2) radices.insert(radices.begin(), 1);
  return radices;
}

/// The cheapest length >= n of a convolution by transforms.
inline index_t fft_good_length(index_t n) {
  index_t best = 0;
  for (const index_t odd : {1, 3, 5, 9, 15, 25}) {
    index_t length = 4 * odd;
    while (length < n) length *= 2;
    if (best == 0 || length < best) best = length;
  }
  return best;
}

/// One sweep: blocks of `length` rows are cut into `radix` parts that are transformed together.
struct FftPass {
  index_t radix;
  index_t length;
  std::size_t twiddles;  ///< where exp(-2 pi i j m / length), 0 < m < radix, j < part, begin
  std::size_t roots;     ///< where cos and sin of 2 pi k / radix begin, for the generic butterfly
};

/// A complex transform of n points, n without large prime factors, in place: outermost radix first,
/// decimating in frequency. Afterwards row `rows[q] + m` holds frequency q + m * (n / last radix).
template <class T>
struct FftCore {
  index_t n = 0;
  std::vector<FftPass> passes;
  std::vector<T> table;
  std::vector<std::int32_t> rows;

  explicit FftCore(index_t length) : n(length) {
    index_t sub = n;
    for (const index_t radix : fft_radices(n)) {
      FftPass pass{radix, sub, table.size(), 0};
      const index_t part = sub / radix;
      for (index_t j = 0; j < part; ++j)
        for (index_t m = 1; m < radix; ++m) push(fft_root(j * m, sub));
      pass.roots = table.size();
      for (index_t k = 0; k < radix; ++k)
        table.push_back(static_cast<T>(fft_root(k, radix).real()));
      for (index_t k = 0; k < radix; ++k)
        table.push_back(static_cast<T>(-fft_root(k, radix).imag()));
      passes.push_back(pass);
      sub = part;
    }
    if (passes.empty()) return;
    const index_t count = n / passes.back().radix;
    rows.resize(static_cast<std::size_t>(count));
    for (index_t q = 0; q < count; ++q) {
      index_t rest = q, row = 0;
      for (std::size_t i = 0; i + 1 < passes.size(); ++i) {
        row += rest % passes[i].radix * (passes[i].length / passes[i].radix);
        rest /= passes[i].radix;
      }
      rows[static_cast<std::size_t>(q)] = static_cast<std::int32_t>(row);
    }
  }

  void push(const std::complex<double>& w) {
    table.push_back(static_cast<T>(w.real()));
    table.push_back(static_cast<T>(w.imag()));
  }

  /// The passes in plain double, for constants: `x` [n] to the order that `rows` describes.
  void transform_plain(std::vector<std::complex<double>>& x) const {
    std::vector<std::complex<double>> y(static_cast<std::size_t>(kFftMaxRadix));
    for (const FftPass& pass : passes) {
      const index_t part = pass.length / pass.radix;
      for (index_t at = 0; at < n; at += pass.length)
        for (index_t j = 0; j < part; ++j) {
          const auto place = [&](index_t m) { return static_cast<std::size_t>(at + j + m * part); };
          for (index_t k = 0; k < pass.radix; ++k) {
            std::complex<double> sum = 0;
            for (index_t m = 0; m < pass.radix; ++m)
              sum += x[place(m)] * fft_root(k * m, pass.radix);
            y[static_cast<std::size_t>(k)] = sum * fft_root(j * k, pass.length);
          }
          for (index_t k = 0; k < pass.radix; ++k) x[place(k)] = y[static_cast<std::size_t>(k)];
        }
    }
  }
};

}  // namespace detail

/// How a transform is scaled, as torch.fft's `norm`: by 1 / n in the inverse (kBackward), in the
/// forward transform (kForward), or by 1 / sqrt(n) in both (kOrtho).
enum class FftNorm { kBackward, kOrtho, kForward };

/// What a real transform multiplies its results by: inner frequencies, and the first and (for an
/// even length) the last, which stand for themselves alone. Gradients need the two apart.
template <class T>
struct FftScale {
  T inner;
  T edge;
  FftScale(T all) noexcept : inner(all), edge(all) {}  // NOLINT(google-explicit-constructor)
  FftScale(T inner_scale, T edge_scale) noexcept : inner(inner_scale), edge(edge_scale) {}
};

/// Everything about transforms of `length` real or complex values that does not depend on the
/// values. Made once; constant afterwards, so threads may share it. Making it allocates and takes
/// the time of some transforms.
///
/// Even real lengths are complex transforms of half the length. Factors 2 (in eights and fours), 3,
/// 5, 7 and primes up to 61 have butterflies; a length with a larger prime factor is a convolution
/// with a chirp (Bluestein), about five times the work.
template <Scalar T>
class FftPlan {
 public:
  /// Throws ConfigError unless 0 < length < 2^28.
  explicit FftPlan(index_t length, bool complex = false)
      : length_(checked(length)),
        complex_(complex),
        half_(!complex && length % 2 == 0),
        points_(half_ ? length / 2 : length),
        core_(points_) {
    if (core_.passes.empty()) make_chirp();
    if (half_)
      for (index_t k = 0; k < points_; ++k) {
        const auto w = detail::fft_root(k, length_);
        split_.push_back(static_cast<T>(w.real()));
        split_.push_back(static_cast<T>(-w.imag()));
      }
  }

  /// Number of values in time.
  index_t length() const noexcept { return length_; }
  /// Number of frequencies: length / 2 + 1, or length for a complex transform.
  index_t bins() const noexcept { return complex_ ? length_ : length_ / 2 + 1; }
  bool is_complex() const noexcept { return complex_; }

  /// The factor of the forward or the inverse transform.
  T scale(FftNorm norm, bool inverse) const noexcept {
    const auto n = static_cast<double>(length_);
    if (norm == FftNorm::kOrtho) return static_cast<T>(1 / std::sqrt(n));
    return (norm == FftNorm::kForward) != inverse ? static_cast<T>(1 / n) : T{1};
  }

  // For the kernels.
  bool half() const noexcept { return half_; }
  index_t points() const noexcept { return points_; }
  const detail::FftCore<T>& core() const noexcept { return core_; }
  bool is_chirped() const noexcept { return !chirp_.empty(); }
  const T* chirp() const noexcept { return chirp_.data(); }
  const T* chirp_spectrum() const noexcept { return chirp_spectrum_.data(); }
  const T* split() const noexcept { return split_.data(); }
  /// The pass next to the frequencies: its radix (1 after a chirp, which leaves them in order), and
  /// the row where the butterfly of frequencies q, q + points / radix, ... lies.
  index_t last_radix() const noexcept { return is_chirped() ? 1 : core_.passes.back().radix; }
  index_t row(index_t q) const noexcept {
    return is_chirped() ? q : core_.rows[static_cast<std::size_t>(q)];
  }
  const T* last_roots() const noexcept { return core_.table.data() + core_.passes.back().roots; }

 private:
  static index_t checked(index_t length) {
    if (length < 1 || length >= (index_t{1} << 28))
      throw ConfigError("fft: length is " + std::to_string(length) + ", expected 1 to 2^28 - 1");
    return length;
  }

  /// exp(-i pi j^2 / n), and the scaled spectrum of its conjugate, wrapped round.
  void make_chirp() {
    core_ = detail::FftCore<T>(detail::fft_good_length(2 * points_ - 1));
    std::vector<std::complex<double>> b(static_cast<std::size_t>(core_.n));
    for (index_t j = 0; j < points_; ++j) {
      const auto w = detail::fft_root(j * j % (2 * points_), 2 * points_);
      chirp_.push_back(static_cast<T>(w.real()));
      chirp_.push_back(static_cast<T>(w.imag()));
      const auto value = std::conj(w) / static_cast<double>(core_.n);
      b[static_cast<std::size_t>(j)] = value;
      if (j > 0) b[static_cast<std::size_t>(core_.n - j)] = value;
    }
    core_.transform_plain(b);
    for (const auto& value : b) {
      chirp_spectrum_.push_back(static_cast<T>(value.real()));
      chirp_spectrum_.push_back(static_cast<T>(value.imag()));
    }
  }

  index_t length_;
  bool complex_;
  bool half_;
  index_t points_;
  detail::FftCore<T> core_;
  std::vector<T> chirp_, chirp_spectrum_;
  std::vector<T> split_;  // cos and sin of 2 pi k / length, k < points
};

}  // namespace sequin::inline SEQUIN_ABI::kernels

// No list: a class.

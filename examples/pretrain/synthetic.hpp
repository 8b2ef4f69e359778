/// Synthetic series: ten families, each series from a number of its own.
#pragma once

#include "named_series.hpp"

#include "sequin/core/random.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numbers>
#include <span>

namespace sequin_pretrain {

using sequin::Generator;

namespace detail {

using Values = std::vector<double>;

inline double between(Generator& g, double low, double high) {
  return low + (high - low) * g.uniform<double>();
}
/// Spread evenly over orders of magnitude.
inline double log_between(Generator& g, double low, double high) {
  return low * std::pow(high / low, g.uniform<double>());
}
inline bool chance(Generator& g, double p) { return g.uniform<double>() < p; }
template <class T>
const T& one_of(Generator& g, std::span<const T> items) {
  return items[g.below(static_cast<std::uint32_t>(items.size()))];
}

/// Hours, half hours and quarters of them a day, days a week, weeks, months, quarters a year.
inline constexpr std::array<index_t, 8> kPeriods{4, 5, 7, 12, 24, 48, 52, 96};

inline index_t some_period(Generator& g) { return one_of<index_t>(g, kPeriods); }

/// One season of `period` values with deviation about 1: a few harmonics, or free values a step.
inline Values season(Generator& g, index_t period) {
  Values profile(static_cast<std::size_t>(period), 0.0);
  if (period <= 12 && chance(g, 0.5)) {
    for (double& v : profile) v = g.normal<double>();
    return profile;
  }
  const auto harmonics = static_cast<int>(1 + g.below(5));
  for (int k = 1; k <= harmonics && k <= period / 2; ++k) {
    const double size = g.normal<double>() / k;
    const double phase = between(g, 0, 2 * std::numbers::pi);
    for (std::size_t t = 0; t < profile.size(); ++t)
      profile[t] += size * std::sin(2 * std::numbers::pi * k * static_cast<double>(t) /
                                        static_cast<double>(period) +
                                    phase);
  }
  return profile;
}

/// x += scale * a season that repeats, and with some luck a longer one as hours of a day and days
/// of a week have. Returns the shorter period.
inline index_t add_seasons(Generator& g, Values& x, double scale) {
  const index_t period = some_period(g);
  const auto add = [&](index_t length, double size) {
    const Values profile = season(g, length);
    const auto start = g.below(static_cast<std::uint32_t>(length));
    for (std::size_t t = 0; t < x.size(); ++t) x[t] += size * profile[(t + start) % profile.size()];
  };
  add(period, scale);
  if (period >= 24 && chance(g, 0.4)) {  // workdays and weekends: a level a day
    std::array<double, 7> days{};
    for (double& d : days) d = 0.7 * scale * g.normal<double>();
    const auto start = g.below(static_cast<std::uint32_t>(7 * period));
    for (std::size_t t = 0; t < x.size(); ++t)
      x[t] += days[(t + start) / static_cast<std::size_t>(period) % 7];
  } else if (period == 7 && chance(g, 0.3)) {
    add(365, scale);
  }
  return period;
}

/// x += a line, a bent line or one that flattens, of `scale` over the whole.
inline void add_trend(Generator& g, Values& x, double scale) {
  const auto n = static_cast<double>(x.size());
  const double slope = scale * g.normal<double>();
  const double bend = between(g, 0.2, 0.9) * n;
  const double after = chance(g, 0.4) ? scale * g.normal<double>() : slope;
  const double damping = chance(g, 0.3) ? between(g, 1, 5) : 0;
  for (std::size_t t = 0; t < x.size(); ++t) {
    const auto at = static_cast<double>(t);
    x[t] += damping > 0 ? slope * (1 - std::exp(-damping * at / n))
            : at < bend ? slope * at / n
                        : slope * bend / n + after * (at - bend) / n;
  }
}

/// x += noise of deviation `scale`, each value remembering `memory` of the last.
inline void add_noise(Generator& g, Values& x, double scale, double memory = 0) {
  double last = 0;
  for (double& v : x) {
    last = memory * last + std::sqrt(1 - memory * memory) * g.normal<double>();
    v += scale * last;
  }
}

inline index_t seasonal(Generator& g, Values& x) {
  if (chance(g, 0.6)) add_trend(g, x, log_between(g, 0.3, 5));
  const index_t period = add_seasons(g, x, 1);
  add_noise(g, x, log_between(g, 0.03, 0.7), chance(g, 0.5) ? between(g, 0, 0.95) : 0);
  return period;
}

inline index_t multiplicative(Generator& g, Values& x) {
  add_trend(g, x, log_between(g, 0.1, 1.5));
  Values factor(x.size(), 0.0);
  const index_t period = add_seasons(g, factor, log_between(g, 0.05, 0.4));
  add_noise(g, factor, log_between(g, 0.01, 0.15));
  for (std::size_t t = 0; t < x.size(); ++t) x[t] = std::exp(x[t] + factor[t]);
  return period;
}

/// ARMA(2, 1) with roots inside the unit circle, some of them nearly on it.
inline index_t autoregressive(Generator& g, Values& x) {
  const double radius = std::sqrt(between(g, 0.1, 0.998));
  double a, b;
  if (chance(g, 0.5)) {
    a = 2 * radius * std::cos(2 * std::numbers::pi / log_between(g, 3, 80));
    b = -radius * radius;
  } else {
    const double other = between(g, -0.5, 0.95);
    a = radius + other;
    b = -radius * other;
  }
  const double moving = between(g, -0.8, 0.8);
  double one = 0, two = 0, shock = 0;
  for (int t = -100; t < static_cast<int>(x.size()); ++t) {
    const double fresh = g.normal<double>();
    const double now = a * one + b * two + fresh + moving * shock;
    two = one, one = now, shock = fresh;
    if (t >= 0) x[static_cast<std::size_t>(t)] = now;
  }
  return 1;
}

inline index_t walk(Generator& g, Values& x) {
  const double drift = chance(g, 0.5) ? 0.2 * g.normal<double>() : 0;
  double level = 0;
  for (double& v : x) v = level += drift + g.normal<double>();
  if (chance(g, 0.5)) return add_seasons(g, x, log_between(g, 0.5, 8));
  if (chance(g, 0.3))  // a price
    for (double& v : x) v = std::exp(0.02 * v);
  return 1;
}

inline index_t shifts(Generator& g, Values& x) {
  const double rate = log_between(g, 0.003, 0.03);
  double level = 0;
  for (double& v : x) {
    if (chance(g, rate)) level += 3 * g.normal<double>();
    v = level;
  }
  const index_t period = chance(g, 0.5) ? add_seasons(g, x, 1) : 1;
  add_noise(g, x, log_between(g, 0.05, 0.8), between(g, 0, 0.8));
  return period;
}

/// Noise whose size follows itself (GARCH(1, 1)) or the season.
inline index_t unsteady(Generator& g, Values& x) {
  if (chance(g, 0.5)) {
    const double alpha = between(g, 0.05, 0.3), beta = between(g, 0.4, 0.97 - alpha);
    double variance = 1, last = 0;
    const double memory = between(g, -0.2, 0.6);
    double level = 0;
    for (double& v : x) {
      variance = 1 - alpha - beta + alpha * last * last + beta * variance;
      last = std::sqrt(variance) * g.normal<double>();
      v = level = memory * level + last;
    }
    return 1;
  }
  Values size(x.size(), 0.0);
  const index_t period = add_seasons(g, size, 0.7);
  const double scale = log_between(g, 0.1, 0.6);
  for (std::size_t t = 0; t < x.size(); ++t)
    x[t] = size[t] + scale * std::exp(size[t]) * g.normal<double>();
  return period;
}

/// Poisson draw by the exponential race; the mean is kept below 60.
inline double poisson(Generator& g, double mean) {
  const double limit = std::exp(-(std::clamp)(mean, 0.0, 60.0));
  double product = g.uniform<double>();
  int n = 0;
  for (; product > limit; ++n) product *= g.uniform<double>();
  return n;
}

/// Counts: rare demand, or events with a season.
inline index_t counts(Generator& g, Values& x) {
  Values rate(x.size(), 0.0);
  const index_t period = add_seasons(g, rate, between(g, 0.1, 0.8));
  const double mean = log_between(g, 0.2, 30), zeros = chance(g, 0.5) ? between(g, 0.2, 0.8) : 0;
  for (std::size_t t = 0; t < x.size(); ++t)
    x[t] = chance(g, zeros) ? 0 : poisson(g, mean * std::exp(rate[t]));
  return period;
}

/// Logistic map, Henon map, Mackey and Glass's equation, Lorenz's; a little noise on top.
inline index_t chaotic(Generator& g, Values& x) {
  switch (g.below(4)) {
    case 0: {
      const double r = between(g, 3.6, 3.99);
      double v = between(g, 0.1, 0.9);
      for (double& out : x) out = v = r * v * (1 - v);
      break;
    }
    case 1: {
      const double a = between(g, 1.1, 1.4);
      double u = between(g, -0.1, 0.1), w = between(g, -0.1, 0.1);
      for (double& out : x) {
        const double next = 1 - a * u * u + w;
        w = 0.3 * u;
        out = u = (std::clamp)(next, -3.0, 3.0);
      }
      break;
    }
    case 2: {
      const auto delay = static_cast<std::size_t>(12 + g.below(20));
      const auto every = static_cast<std::size_t>(1 + g.below(4));
      Values v(delay + 1, between(g, 0.5, 1.3));
      for (std::size_t t = 0; t < 300 + every * x.size(); ++t) {
        const double late = v[v.size() - 1 - delay];
        v.push_back(v.back() + 0.2 * late / (1 + std::pow(late, 10)) - 0.1 * v.back());
        if (t >= 300 && (t - 300) % every == 0) x[(t - 300) / every] = v.back();
      }
      break;
    }
    default: {
      double a = between(g, -10, 10), b = between(g, -10, 10), c = between(g, 15, 30);
      const int every = static_cast<int>(5 + g.below(15));
      for (double& out : x) {
        for (int i = 0; i < every; ++i) {
          const double h = 0.005, da = 10 * (b - a), db = a * (28 - c) - b, dc = a * b - 8 * c / 3;
          a += h * da, b += h * db, c += h * dc;
        }
        out = a;
      }
    }
  }
  if (chance(g, 0.5)) add_noise(g, x, log_between(g, 0.01, 0.2));
  return 1;
}

/// A draw of a Gaussian process, by its spectrum: smooth (RBF), rough (rational quadratic),
/// periodic or linear.
inline Values kernel_draw(Generator& g, std::size_t length, index_t& period) {
  Values x(length, 0.0);
  const auto n = static_cast<double>(length);
  const std::uint32_t kind = g.below(4);
  if (kind == 0) {
    add_trend(g, x, 2);
  } else if (kind == 1) {
    period = some_period(g);
    const Values profile = season(g, period);
    for (std::size_t t = 0; t < length; ++t) x[t] = profile[t % profile.size()];
  } else {
    constexpr int kWaves = 48;
    const double scale = n * log_between(g, 0.01, 0.5);
    const double shape = log_between(g, 0.3, 3);
    for (int i = 0; i < kWaves; ++i) {
      // Rational quadratic: length scales that are drawn, too.
      const double own = kind == 2 ? scale : scale * std::exp(shape * g.normal<double>());
      const double speed = g.normal<double>() / own, phase = between(g, 0, 2 * std::numbers::pi);
      const double size = std::sqrt(2.0 / kWaves);
      for (std::size_t t = 0; t < length; ++t)
        x[t] += size * std::cos(speed * static_cast<double>(t) + phase);
    }
  }
  return x;
}

/// Sums and products of such draws, as the KernelSynth of Chronos, arXiv 2403.07815, composes
/// kernels.
inline index_t kernels(Generator& g, Values& x) {
  index_t period = 1;
  x = kernel_draw(g, x.size(), period);
  for (std::uint32_t more = g.below(4); more > 0; --more) {
    const Values other = kernel_draw(g, x.size(), period);
    const bool times = chance(g, 0.4);
    for (std::size_t t = 0; t < x.size(); ++t) x[t] = times ? x[t] * other[t] : x[t] + other[t];
  }
  add_noise(g, x, log_between(g, 0.01, 0.3));
  return period;
}

/// Pulses, saw teeth, steps that repeat, and heartbeats whose beat is not quite regular.
inline index_t pulses(Generator& g, Values& x) {
  const index_t period = some_period(g);
  const std::uint32_t kind = g.below(3);
  const double jitter = chance(g, 0.4) ? between(g, 0, 0.08) : 0;
  const double duty = between(g, 0.1, 0.7), width = between(g, 0.02, 0.15);
  double phase = g.uniform<double>();
  for (double& v : x) {
    phase += (1 + jitter * g.normal<double>()) / static_cast<double>(period);
    const double p = phase - std::floor(phase);
    v = kind == 0   ? 2 * p - 1
        : kind == 1 ? (p < duty ? 1.0 : -1.0)
                    : 3 * std::exp(-0.5 * (p - 0.5) * (p - 0.5) / (width * width));
  }
  if (chance(g, 0.4)) add_trend(g, x, 2);
  add_noise(g, x, log_between(g, 0.01, 0.4));
  return jitter > 0 ? 1 : period;
}

struct Family {
  const char* name;
  index_t (*make)(Generator&, Values&);
};

inline constexpr std::array<Family, 10> kFamilies{{{"seasonal", seasonal},
                                                   {"multiplicative", multiplicative},
                                                   {"autoregressive", autoregressive},
                                                   {"walk", walk},
                                                   {"shifts", shifts},
                                                   {"unsteady", unsteady},
                                                   {"counts", counts},
                                                   {"chaotic", chaotic},
                                                   {"kernels", kernels},
                                                   {"pulses", pulses}}};

}  // namespace detail

/// Series `number` of those that `seed` makes: family number mod 10, all else drawn; `domain` is
/// "synthetic". The same on every machine up to the rounding of the C library's functions.
inline NamedSeries synthetic_series(std::uint64_t seed, std::uint64_t number, index_t length) {
  Generator g(Generator(seed + 0x9E3779B97F4A7C15u * (number + 1)).fork());
  const auto& family = detail::kFamilies[number % detail::kFamilies.size()];
  detail::Values x(static_cast<std::size_t>(length), 0.0);
  NamedSeries s;
  s.period = family.make(g, x);
  s.name = std::string("synthetic/") + family.name + "/" + std::to_string(number);
  s.domain = "synthetic";
  const double scale = detail::log_between(g, 0.1, 1000), shift = scale * g.normal<double>();
  s.values.reserve(x.size());
  for (const double v : x) s.values.push_back(static_cast<float>(v * scale + shift));
  return s;
}

/// The first `count` series of `seed`.
inline std::vector<NamedSeries> synthetic_series_of(std::uint64_t seed, index_t count,
                                                    index_t length) {
  std::vector<NamedSeries> all;
  all.reserve(static_cast<std::size_t>(count));
  for (index_t i = 0; i < count; ++i)
    all.push_back(synthetic_series(seed, static_cast<std::uint64_t>(i), length));
  return all;
}

}  // namespace sequin_pretrain

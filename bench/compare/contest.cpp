#include "contest.hpp"

#include "memory.hpp"

#include "sequin/core/parallel.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

namespace sequin_compare {

namespace {

struct Contender {
  std::string name;
  std::function<double(index_t calls)> seconds;
  std::function<std::vector<float>()> output;
  std::function<double()> peak_bytes;
  index_t calls = 1;
  std::vector<double> times{};  // a round
  double error = std::numeric_limits<double>::quiet_NaN();
};

double clocked(const std::function<void()>& run, index_t calls) {
  const auto start = std::chrono::steady_clock::now();
  for (index_t i = 0; i < calls; ++i) run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<float> copied(std::span<const float> values) { return {values.begin(), values.end()}; }

/// max |a - b| / max |b|; NaN when the sizes differ.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::quiet_NaN();
  double far = 0, top = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    far = (std::max)(far, std::abs(static_cast<double>(a[i]) - b[i]));
    top = (std::max)(top, std::abs(static_cast<double>(b[i])));
  }
  return top > 0 ? far / top : far;
}

/// Calls whose time is about `batch` seconds, after a warm-up.
void calibrate(Contender& c, double batch) {
  double once = c.seconds(1);
  c.calls = 1;
  while (once * static_cast<double>(c.calls) < batch && c.calls < (index_t{1} << 24)) {
    const double per_call = c.seconds(c.calls) / static_cast<double>(c.calls);
    if (per_call * static_cast<double>(c.calls) >= batch / 2) {
      c.calls = (std::max)(index_t{1}, static_cast<index_t>(batch / per_call));
      return;
    }
    c.calls *= 4;
    once = per_call;
  }
}

/// The value below which a `share` of the sorted values lies.
double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto above = (std::min)(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

/// Round by round, since what else the machine's owner runs on the core's other half changes from
/// second to second and meets all contenders of a round alike.
double ratio(const Contender& ours, const Contender& peer) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.times.size(); ++i)
    ratios.push_back(ours.times[i] / peer.times[i]);
  return quantile(ratios, 0.5);
}

Timing summary(const Contender& ours, const Contender& c, double tolerance) {
  Timing t;
  t.name = c.name;
  t.seconds = quantile(c.times, 0.5);
  t.spread = 0.5 * (quantile(c.times, 0.75) - quantile(c.times, 0.25)) / t.seconds;
  t.ratio = ratio(ours, c);
  t.error = c.error;
  t.agrees = std::isnan(c.error) || c.error <= tolerance;
  return t;
}

/// Those of other processes that can do the line; what they cannot goes to `absent`.
void add_processes(const Line& line, const std::vector<std::unique_ptr<PeerProcess>>& processes,
                   const ContestOptions& options, std::vector<Contender>& contenders,
                   std::vector<std::string>& absent) {
  if (line.request.is_null()) return;
  const std::string inputs = options.scratch + "/inputs.safetensors";
  const std::string output = options.scratch + "/output.safetensors";
  write_inputs(line, inputs);
  for (const auto& process : processes) {
    if (!process->alive()) continue;
    try {
      std::string why_not;
      const auto names = process->prepare(line, inputs, options.threads, why_not);
      if (!why_not.empty()) absent.push_back(process->name() + ": " + why_not);
      for (std::size_t i = 0; i < names.size(); ++i) {
        contenders.push_back({names[i],
                              [p = process.get(), i](index_t calls) { return p->run(i, calls); },
                              [p = process.get(), i, output] { return p->output(i, output); },
                              [p = process.get()] { return p->peak_bytes(); }});
      }
    } catch (const std::exception& e) {
      absent.push_back(process->name() + ": " + e.what());
    }
  }
}

}  // namespace

const Timing* Result::best() const {
  const Timing* fastest = nullptr;
  for (const Timing& t : peers)
    if (t.agrees && (fastest == nullptr || t.ratio > fastest->ratio)) fastest = &t;
  return fastest;
}

Result contest(const LineMaker& maker, const std::vector<std::unique_ptr<PeerProcess>>& processes,
               const Limits& limits, const ContestOptions& options) {
  const double resident_before = resident_bytes();
  Line line = maker.make(options.threads);
  const bool trains = line.request.is_object() && line.request.value("trains", false);
  std::vector<Contender> contenders;
  contenders.push_back({"Sequin", [&line](index_t calls) { return clocked(line.run, calls); },
                        [&line] { return copied(line.output()); },
                        [resident_before] { return peak_bytes() - resident_before; }});
  for (const LocalPeer& peer : line.local)
    contenders.push_back({peer.name,
                          [&peer](index_t calls) { return clocked(peer.run, calls); },
                          [&peer] { return copied(peer.output()); },
                          {}});
  Result result;
  add_processes(line, processes, options, contenders, result.absent);
  line.inputs.clear();  // the peers' copy
  line.inputs.shrink_to_fit();
  resident_bytes();
  reset_peak();

  const double batch = line.floor_seconds > 0 ? line.floor_seconds : options.batch_seconds;
  std::vector<float> expected;
  for (Contender& c : contenders) {
    calibrate(c, batch);
    if (!line.output) continue;
    const std::vector<float> output = c.output();
    if (&c == &contenders.front()) expected = output;
    c.error = distance(output, expected);
    if (std::isnan(c.error))
      throw std::runtime_error(maker.name + ": " + c.name + " gives " +
                               std::to_string(output.size()) + " numbers, expected " +
                               std::to_string(expected.size()));
  }
  const std::size_t count = contenders.size();
  const bool slow = line.most_rounds > 0;
  std::vector<double> shares;
  const int rounds = slow ? (std::min)(options.rounds, line.most_rounds) : options.rounds;
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < count; ++i) {
      Contender& c = contenders[(i + static_cast<std::size_t>(round)) % count];
      // Threads of the one before may still spin.
      if (options.threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (!slow) c.seconds(1);  // what it takes to warm up is nothing beside seconds
      const bool own = &c == &contenders.front();
      const double before = own ? multiply_add_rate_now() : 0;
      c.times.push_back(c.seconds(c.calls) / static_cast<double>(c.calls));
      if (!own) continue;
      const double speed = 0.5 * (before + multiply_add_rate_now()) / limits.flops;
      shares.push_back(limits.seconds(line.work, options.threads, (std::min)(speed, 1.0)) /
                       c.times.back());
    }

  result.group = maker.group;
  result.name = maker.name;
  result.threads = options.threads;
  result.limit_seconds = limits.seconds(line.work, options.threads);
  result.of_limit = quantile(shares, 0.5);
  const Contender& ours = contenders.front();
  result.ours = summary(ours, ours, line.tolerance);
  for (std::size_t i = 1; i < count; ++i)
    result.peers.push_back(summary(ours, contenders[i], line.tolerance));
  if (trains) {
    result.ours.peak_bytes = ours.peak_bytes();
    for (std::size_t i = 1; i < count; ++i)
      if (contenders[i].peak_bytes) result.peers[i - 1].peak_bytes = contenders[i].peak_bytes();
  }
  return result;
}

}  // namespace sequin_compare

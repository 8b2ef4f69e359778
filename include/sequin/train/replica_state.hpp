/// What the ranks of a training have in common, and what each has of its own.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/replicas.hpp"
#include "sequin/train/checkpoint.hpp"
#include "sequin/train/state_list.hpp"
#include "sequin/train/train_options.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sequin::inline SEQUIN_ABI::detail {

/// Gives all ranks rank 0's number, or lack of one.
inline std::optional<double> agree(Replicas& replicas, std::optional<double> value) {
  std::array<double, 2> said{value ? 1.0 : 0.0, value.value_or(0)};
  replicas.broadcast(std::as_writable_bytes(std::span<double>(said)));
  return said[0] != 0 ? std::optional<double>(said[1]) : std::nullopt;
}

/// Throws ConfigError on the ranks whose fingerprint is not rank 0's, naming the first difference.
inline void check_same(Replicas& replicas, const CheckpointFingerprint& fingerprint) {
  std::string text;
  for (const auto& [key, value] : fingerprint) text += key + '\0' + value + '\0';
  auto length = static_cast<std::uint64_t>(text.size());
  replicas.broadcast(std::as_writable_bytes(std::span<std::uint64_t>(&length, 1)));
  std::string first(length, '\0');
  if (replicas.rank() == 0) first = text;
  replicas.broadcast(std::as_writable_bytes(std::span<char>(first)));
  if (text == first) return;
  std::size_t at = 0;
  const auto next = [&] {
    const std::size_t begin = at;
    at = (std::min)(first.find('\0', begin), first.size()) + 1;
    return begin < first.size() ? first.substr(begin, at - begin - 1) : std::string();
  };
  for (const auto& [key, value] : fingerprint) {
    const std::string its_key = next(), its_value = next();
    if (key == its_key && value == its_value) continue;
    throw ConfigError("train: rank " + std::to_string(replicas.rank()) + " has " + printable(key) +
                      " \"" + printable(value) + "\", expected " + printable(its_key) + " \"" +
                      printable(its_value) + "\" as rank 0");
  }
  throw ConfigError("train: rank " + std::to_string(replicas.rank()) + " has " +
                    std::to_string(fingerprint.size()) + " options, expected more, as rank 0");
}

/// Whether parts of the model lie on several ranks. Throws ConfigError where those that should be
/// here are not, or the other way round.
template <Scalar T>
bool lies_on_several(const ParameterList<T>& list, const Replicas* replicas) {
  const index_t rank = replicas == nullptr ? 0 : replicas->rank();
  const index_t ranks = replicas == nullptr ? 1 : replicas->size();
  bool several = false;
  for (const auto& p : list.items) {
    if (p.rank < 0) continue;
    if (p.here() != (p.rank == rank) || p.rank >= ranks)
      throw ConfigError("train: parameter '" + p.name + "' lies on rank " + std::to_string(p.rank) +
                        ", found rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                        "; expected options.replicas to be those of the model");
    several = several || ranks > 1;
  }
  return several;
}

/// Adds what has to be alike on all ranks besides the options: the model's parameters and, where
/// all of them save together, when they do.
template <Scalar T>
CheckpointFingerprint with_layout(CheckpointFingerprint f, const ParameterList<T>& list,
                                  const TrainOptions& options, bool together) {
  for (const auto& p : list.items)
    f.emplace_back("parameter " + p.name,
                   to_string(p.shape) + (p.rank < 0 ? "" : " on rank " + std::to_string(p.rank)));
  if (!together) return f;
  f.emplace_back("checkpoint_dir", options.checkpoint_dir.empty() ? "none" : "one");
  f.emplace_back("checkpoint_every", std::to_string(options.checkpoint_every));
  return f;
}

/// Gives all ranks everything that rank 0's `state` names, and each what it alone has: from
/// `resumed`, rank 0's checkpoint; without one that stays as it is.
template <Scalar T>
void share_state(Replicas& replicas, const StateList<T>& state, const Checkpoint* resumed) {
  const auto send = [&](auto values) { replicas.broadcast(std::as_writable_bytes(values)); };
  const bool resumes = replicas.any(resumed != nullptr);
  for (const auto& e : state.entries()) {
    if (e.rank >= 0) {
      if (!resumes || e.rank == 0) continue;
      Tensor<T, 1> values = std::get<Tensor<T, 1>>(e.value);
      index_t bytes = static_cast<index_t>(sizeof(T));
      for (const index_t extent : e.shape) bytes *= extent;
      pass_bytes(replicas, bytes, 0, resumed != nullptr ? resumed->bytes(e.name).data() : nullptr,
                 e.rank, std::as_writable_bytes(values.span()).data());
    } else if (const auto* tensor = std::get_if<Tensor<T, 1>>(&e.value)) {
      Tensor<T, 1> values = *tensor;
      send(values.span());
    } else if (const auto* whole = std::get_if<std::span<std::int64_t>>(&e.value)) {
      send(*whole);
    } else if (const auto* real = std::get_if<std::span<double>>(&e.value)) {
      send(*real);
    } else if (const auto* list = std::get_if<std::vector<double>*>(&e.value)) {
      auto length = static_cast<std::uint64_t>((*list)->size());
      send(std::span<std::uint64_t>(&length, 1));
      (*list)->resize(length);
      send(std::span<double>(**list));
    } else {
      Generator& generator = *std::get<Generator*>(e.value);
      std::array<std::uint64_t, 2> words{generator.state().seed, generator.state().position};
      send(std::span<std::uint64_t>(words));
      generator = Generator(Generator::State{words[0], words[1]});
    }
  }
}

/// Running statistics, which each rank moved by its own examples, become rank 0's.
template <Scalar T>
void broadcast_buffers(Replicas& replicas, ParameterList<T>& list) {
  for (auto& p : list.items)
    if (!p.trainable && p.rank < 0) replicas.broadcast(std::as_writable_bytes(p.values.span()));
}

/// While it lives, each generator draws a sequence of this rank's own, which follows from a draw of
/// the sequence that all ranks have in common; afterwards that one goes on, alike on all of them
/// (or is as it was before). So rank 0's checkpoint holds everybody's. Nothing happens without
/// replicas.
class RankDraws {
 public:
  using Named = std::vector<std::pair<std::string, Generator*>>;

  RankDraws(const Replicas* replicas, const Named& generators, bool goes_on = true)
      : generators_(generators) {
    if (replicas == nullptr) return;
    common_.reserve(generators.size());
    for (const auto& [name, generator] : generators) {
      common_.push_back(*generator);
      const std::uint64_t key = generator->fork();
      if (goes_on) common_.back() = *generator;
      const auto words = philox(key, static_cast<std::uint64_t>(replicas->rank()), 1);
      *generator = Generator((std::uint64_t{words[0]} << 32) | words[1]);
    }
  }
  RankDraws(const RankDraws&) = delete;
  RankDraws& operator=(const RankDraws&) = delete;
  ~RankDraws() {
    for (std::size_t i = 0; i < common_.size(); ++i) *generators_[i].second = common_[i];
  }

 private:
  const Named& generators_;
  std::vector<Generator> common_;
};

}  // namespace sequin::inline SEQUIN_ABI::detail

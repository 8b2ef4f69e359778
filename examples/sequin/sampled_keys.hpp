/// The sampled keys that a case brings for ProbSparse attention.
#pragma once

#include "case_io.hpp"

#include "sequin/blocks/key_sampler.hpp"

#include <optional>

namespace sequin_cli {

/// `input.index_sample.0`, `.1`, ... of a case, where it has them.
class SampledKeys {
 public:
  template <class T>
  explicit SampledKeys(const CaseIo<T>& io) {
    std::vector<sequin::Tensor<std::int32_t, 2>> given;
    for (std::size_t k = 0; io.has(name(k)); ++k)
      given.push_back(io.template integers<std::int32_t, 2>(name(k)));
    if (!given.empty()) sampler_.emplace(std::move(given));
  }

  /// For a forward pass, from its first call on; nullptr: the case has none.
  sequin::KeySampler* start() {
    if (!sampler_) return nullptr;
    sampler_->rewind();
    return &*sampler_;
  }

 private:
  static std::string name(std::size_t k) { return "index_sample." + std::to_string(k); }

  std::optional<sequin::KeySampler> sampler_;
};

}  // namespace sequin_cli

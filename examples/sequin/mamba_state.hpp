/// What a Mamba remembers, in a file.
#pragma once

#include "sequin/io/safetensors.hpp"
#include "sequin/models/mamba.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace sequin_cli {

namespace state_file {

/// Calls f(name, tensor) for every part: conv_state.0, ssm_state.0, conv_state.1, ...
template <class State, class F>
void each_part(State& state, F&& f) {
  for (std::size_t i = 0; i < state.layers.size(); ++i) {
    f("conv_state." + std::to_string(i), state.layers[i].conv_state);
    f("ssm_state." + std::to_string(i), state.layers[i].ssm_state);
  }
}

}  // namespace state_file

/// Writes the state of B sequences as safetensors. Throws LoadError.
inline void save_state(const std::filesystem::path& path, const sequin::MambaState<float>& state) {
  std::vector<sequin::TensorEntry> entries;
  state_file::each_part(state, [&](const std::string& name, const auto& t) {
    entries.push_back(
        {name, sequin::DType::F32, {t.shape().begin(), t.shape().end()}, std::as_bytes(t.span())});
  });
  sequin::save_safetensors(path, entries, {{"format", "sequin mamba state"}});
}

/// Reads what save_state wrote into a state of the same model and batch.
/// Throws LoadError naming the file, the tensor, what was expected and what was found.
inline void load_state(const std::filesystem::path& path, sequin::MambaState<float>& state) {
  const auto file = sequin::SafetensorsFile::open(path);
  std::size_t parts = 0;
  state_file::each_part(state, [&](const std::string& name, auto& t) {
    ++parts;
    const sequin::TensorEntry* const e = file.find(name);
    const std::vector<std::int64_t> shape(t.shape().begin(), t.shape().end());
    const auto fail = [&](const std::string& found) {
      throw sequin::LoadError(file.label() + ": '" + name + "': expected F32 " +
                              sequin::to_string(t.shape()) + " of this model and batch, found " +
                              found);
    };
    if (e == nullptr) fail("none");
    if (e->dtype != sequin::DType::F32) fail(std::string(sequin::dtype_name(e->dtype)));
    if (e->shape != shape) {
      const std::vector<sequin::index_t> found(e->shape.begin(), e->shape.end());
      fail(sequin::to_string(std::span<const sequin::index_t>(found)));
    }
    sequin::convert_elements<float>(e->dtype, e->bytes, t.span());
  });
  if (file.tensors().size() != parts)
    throw sequin::LoadError(file.label() + ": expected the " + std::to_string(parts) +
                            " tensors of this model's state, found " +
                            std::to_string(file.tensors().size()));
}

}  // namespace sequin_cli

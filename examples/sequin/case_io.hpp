/// Inputs and outputs of a case: tensors by name, from one file and to another.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/module_trace.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/io/safetensors.hpp"

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sequin_cli {

using sequin::index_t;

/// A tensor that owns its bytes.
struct OwnedTensor {
  std::string name;
  sequin::DType dtype = sequin::DType::F32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

/// What `run` and `check` were asked for.
struct RunOptions {
  bool grad = false;
  bool stream = false;
  bool trace = false;           ///< keep what the modules recorded in the file put out
  index_t generate_length = 0;  ///< tokens in all, 0: as the config says
};

/// The `input.*` of a file, and a list of what a model makes of them.
template <class T>
class CaseIo {
 public:
  CaseIo(const sequin::SafetensorsFile& file, std::vector<OwnedTensor>& outputs)
      : file_(&file), outputs_(&outputs) {}

  bool has(const std::string& name) const { return file_->find("input." + name) != nullptr; }

  /// Number of axes of an input. Throws LoadError when it is missing.
  std::size_t rank(const std::string& name) const { return entry(name).shape.size(); }

  /// A floating input. Throws LoadError when it is missing or of another rank or type.
  template <std::size_t Rank>
  sequin::Tensor<T, Rank> get(const std::string& name) const {
    return read<T, Rank>(name, true);
  }
  /// A floating input, or an undefined tensor where there is none.
  template <std::size_t Rank>
  sequin::Tensor<T, Rank> maybe(const std::string& name) const {
    return has(name) ? get<Rank>(name) : sequin::Tensor<T, Rank>{};
  }
  /// An input that may be floating or integer.
  template <std::size_t Rank>
  sequin::Tensor<T, Rank> numbers(const std::string& name) const {
    const sequin::DType dtype = entry(name).dtype;
    return read<T, Rank>(name, is_floating(dtype));
  }
  /// An integer input.
  template <class Integer, std::size_t Rank>
  sequin::Tensor<Integer, Rank> integers(const std::string& name) const {
    return read<Integer, Rank>(name, false);
  }

  /// Adds `output.<name>`.
  template <class U, std::size_t Rank>
  void put(const std::string& name, const sequin::Tensor<U, Rank>& t) {
    add("output." + name, t);
  }
  /// Adds `grad.<name>` when the loss depends on x.
  template <std::size_t Rank>
  void put_gradient(const std::string& name, const sequin::Gradients& g,
                    const sequin::Tensor<T, Rank>& x) {
    if (x.defined() && g.has(x)) add("grad." + name, g.of(x));
  }
  /// Adds the gradient of every parameter of a block.
  template <class Block>
  void put_gradients(const sequin::Gradients& g, Block& block) {
    for (const auto& p : sequin::parameters(block).items) {
      if (!g.has(p.values)) continue;
      add("grad." + p.name, g.of(p.values));
      outputs_->back().shape.assign(p.shape.begin(), p.shape.end());
    }
  }

  /// Adds `output.buffer.<name>` of what a block's BatchNorms remember.
  template <class Block>
  void put_running_buffers(Block& block) {
    for (const auto& p : sequin::parameters(block).items) {
      if (p.whole)
        add("output.buffer." + p.name, p.values.template cast<std::int64_t>());
      else if (p.name.ends_with("running_mean") || p.name.ends_with("running_var"))
        add("output.buffer." + p.name, p.values);
      else
        continue;
      outputs_->back().shape.assign(p.shape.begin(), p.shape.end());
    }
  }

  /// From here on keeps what those blocks of `model` put out that the file has as `mid.<path>`, if
  /// the options ask for it. The model must stay where it is.
  template <class Model>
  void trace(Model& model, const RunOptions& options) {
    if (!options.trace) return;
    trace_.emplace(model, [this](std::string_view path) {
      return file_->find("mid." + std::string(path)) != nullptr;
    });
  }

  /// What was kept, named by module path, in the order of execution; ends the trace.
  std::vector<OwnedTensor> take_modules() {
    std::vector<OwnedTensor> modules;
    if (!trace_) return modules;
    for (const auto& m : trace_->outputs()) {
      const auto bytes = std::as_bytes(std::span<const T>(m.values));
      modules.push_back({m.path,
                         sequin::dtype_of<T>,
                         {m.shape.begin(), m.shape.end()},
                         {bytes.begin(), bytes.end()}});
    }
    trace_.reset();
    return modules;
  }

  const std::string& label() const { return file_->label(); }

 private:
  static bool is_floating(sequin::DType d) noexcept {
    using sequin::DType;
    return d == DType::F32 || d == DType::F64 || d == DType::F16 || d == DType::BF16;
  }

  const sequin::TensorEntry& entry(const std::string& name) const {
    const sequin::TensorEntry* const e = file_->find("input." + name);
    if (e == nullptr)
      throw sequin::LoadError(label() + ": 'input." + name + "': expected the tensor, found none");
    return *e;
  }

  template <class U, std::size_t Rank>
  sequin::Tensor<U, Rank> read(const std::string& name, bool floating) const {
    const sequin::TensorEntry& e = entry(name);
    sequin::Shape<Rank> shape{};
    if (e.shape.size() != Rank)
      throw sequin::LoadError(label() + ": 'input." + name + "': expected " + std::to_string(Rank) +
                              " axes, found " + std::to_string(e.shape.size()));
    if (floating != is_floating(e.dtype))
      throw sequin::LoadError(label() + ": 'input." + name + "': expected " +
                              (floating ? "a floating type" : "integers") + ", found " +
                              std::string(sequin::dtype_name(e.dtype)));
    for (std::size_t i = 0; i < Rank; ++i) shape[i] = static_cast<index_t>(e.shape[i]);
    auto t = sequin::Tensor<U, Rank>::empty(shape);
    sequin::convert_elements<U>(e.dtype, e.bytes, t.span());
    return t;
  }

  template <class U, std::size_t Rank>
  void add(std::string name, const sequin::Tensor<U, Rank>& t) {
    OwnedTensor out;
    out.name = std::move(name);
    out.dtype = sequin::dtype_of<U>;
    out.shape.assign(t.shape().begin(), t.shape().end());
    const auto bytes = std::as_bytes(t.span());
    out.bytes.assign(bytes.begin(), bytes.end());
    outputs_->push_back(std::move(out));
  }

  const sequin::SafetensorsFile* file_;
  std::vector<OwnedTensor>* outputs_;
  std::optional<sequin::ModuleTrace<T>> trace_;
};

}  // namespace sequin_cli

/// What the cases of blocks have in common: loading, the loss, its gradients.
#pragma once

#include "case_io.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/ops/loss.hpp"

#include <filesystem>
#include <optional>
#include <string>

namespace sequin_cli {

/// Throws ConfigError when streaming was asked for of a block that cannot.
inline void refuse_stream(const sequin::Config& config, const RunOptions& options) {
  if (options.stream)
    throw sequin::ConfigError(config.label() +
                              ": --stream: expected a block with a streaming form, found " +
                              sequin::detail::printable(config.get_string("model", "")));
}

/// What `make` makes, filled from the weights of the folder, if these can hold `size` parameters.
template <class Make>
auto load_block(double size, const std::filesystem::path& dir, Make&& make) {
  const sequin::WeightsSource weights = sequin::open_weights(dir);
  sequin::check_size(size, weights);
  auto block = make();
  sequin::load_weights(block, weights);
  sequin::prepare(block);
  return block;
}

/// An input of a case under its name.
template <class T, std::size_t Rank>
struct NamedInput {
  const char* name;
  const sequin::Tensor<T, Rank>& value;
};
template <class T, std::size_t Rank>
NamedInput(const char*, const sequin::Tensor<T, Rank>&) -> NamedInput<T, Rank>;

/// When the file has input.target: adds the mean squared error of y and, with --grad, its gradients
/// with respect to the inputs. Gives these gradients for those of the parameters.
template <class T, std::size_t Rank, class... Inputs>
std::optional<sequin::Gradients> put_loss(CaseIo<T>& io, const RunOptions& options,
                                          sequin::Tape& tape, const sequin::Tensor<T, Rank>& y,
                                          const Inputs&... inputs) {
  if (!io.has("target")) return {};
  const sequin::Tensor<T, 0> loss = sequin::mse_loss(y, io.template get<Rank>("target"));
  io.put("loss", loss);
  if (!options.grad) return {};
  sequin::Gradients g = tape.gradients(loss);
  (io.put_gradient(std::string("input.") + inputs.name, g, inputs.value), ...);
  return g;
}

/// A block with one input and one output of equal rank: y = forward(x), loss and gradients.
template <class T, std::size_t Rank, class Block, class Forward>
void run_block(CaseIo<T>& io, Block& block, const char* input, const char* output,
               const RunOptions& options, Forward&& forward) {
  auto x = io.template get<Rank>(input);
  if (options.grad) {
    x.set_requires_grad();
    sequin::set_requires_grad(block);
  }
  sequin::Tape tape;
  const sequin::Tensor<T, Rank> y = forward(x);
  io.put(output, y);
  if (const auto g = put_loss(io, options, tape, y, NamedInput{input, x}))
    io.put_gradients(*g, block);
}

/// The same for a block that takes any number of axes.
template <class T, class Block>
void run_rowwise(CaseIo<T>& io, Block& block, const char* input, const char* output,
                 const RunOptions& options) {
  const auto forward = [&](const auto& x) { return block.forward(x); };
  switch (io.rank(input)) {
    case 1:
      return run_block<T, 1>(io, block, input, output, options, forward);
    case 2:
      return run_block<T, 2>(io, block, input, output, options, forward);
    case 4:
      return run_block<T, 4>(io, block, input, output, options, forward);
    default:
      return run_block<T, 3>(io, block, input, output, options, forward);
  }
}

}  // namespace sequin_cli

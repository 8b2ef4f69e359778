/// Reverse-mode differentiation as a scope: operations are recorded while a Tape lives.
#pragma once

#include "sequin/autograd/recorder.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Records what this thread computes from tensors that ask for a gradient, from construction to
/// destruction; of nested tapes the innermost records. Not copied, not moved, used by its thread.
/// Operations are recorded in files that include this header; in others they throw Error, unless
/// one that does has the same operation.
///
///     Tape tape;
///     auto loss = mse_loss(model.forward(x), target);
///     Gradients g = tape.gradients(loss);
///     g.of(weight);
class Tape : public Recorder {
 public:
  Tape() : Recorder(Mode::kRecord) {}

  /// Gradients of the scalar `loss` (any rank, one element). Frees what was recorded as it goes;
  /// the tape then records anew. Throws ShapeError when loss has not one element, Error when an
  /// earlier call has freed what led to it.
  template <class T, std::size_t Rank>
  Gradients gradients(const Tensor<T, Rank>& loss) {
    if (loss.size() != 1)
      detail::fail<ShapeError>({"gradients: the loss is ", loss.shape(),
                                ", expected one element; give the output's gradient for more"});
    return gradients(loss, Tensor<T, Rank>(loss.shape(), T{1}));
  }

  /// Gradients of sum(output * output_gradient).
  /// Throws ShapeError when the two differ in extents, Error as above.
  template <class T, std::size_t Rank>
  Gradients gradients(const Tensor<T, Rank>& output, const Tensor<T, Rank>& output_gradient) {
    if (output.shape() != output_gradient.shape())
      detail::fail<ShapeError>({"gradients: output_gradient is ", output_gradient.shape(),
                                ", expected ", output.shape(), " as the output"});
    if (has_freed(output.var().id))
      throw Error(
          "gradients: what led to this output was freed by an earlier call; record it again");
    Gradients g;
    run(g, [&] {
      if (g.wants(output.var())) g.add(output.var(), output_gradient);
    });
    return g;
  }
};

#if SEQUIN_GRADIENTS_ON_DEMAND
template <class F>
void Recorder::NodeOf<F>::run(Node* node, Gradients* g) {
  run_here(node, g);
}
#endif

}  // namespace sequin::inline SEQUIN_ABI

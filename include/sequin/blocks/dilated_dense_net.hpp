/// Depthwise convolutions of growing dilation, each over all that came before.
#pragma once

#include "sequin/blocks/initialize.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/ops/depthwise_conv1d.hpp"
#include "sequin/ops/prelu.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/ops/time_norm.hpp"

#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// `DilatedDenseNet` of MossFormer2: for j = 0 .. depth - 1 a convolution of dilation 2^j and
/// 2 lorder - 1 taps in C groups over the j + 1 stacked results so far (newest first; output
/// channel c reads channels c (j + 1) .. c (j + 1) + j of the stack), instance norm over time,
/// PReLU with a slope a channel. The result is that of the last.
template <Scalar T>
class DilatedDenseNet {
 public:
  using value_type = T;

  struct Stage {
    Tensor<T, 4> conv;  ///< (C, j + 1, K, 1)
    Tensor<T, 1> norm_weight, norm_bias, slope;
  };
  std::vector<Stage> stages;

  DilatedDenseNet() = default;
  DilatedDenseNet(index_t channels, index_t depth, index_t lorder) : lorder_(lorder) {
    if (depth < 1 || lorder < 1)
      throw ConfigError("DilatedDenseNet: depth is " + std::to_string(depth) + " and lorder " +
                        std::to_string(lorder) + ", expected >= 1");
    for (index_t j = 0; j < depth; ++j)
      stages.push_back({Tensor<T, 4>({channels, j + 1, 2 * lorder - 1, 1}),
                        Tensor<T, 1>({channels}, T{1}), Tensor<T, 1>(Shape<1>{channels}),
                        Tensor<T, 1>({channels}, T(0.25))});
  }

  /// x (B, T, C) -> (B, T, C). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x) const {
    Tensor<T, 3> stack = x;
    Tensor<T, 3> out;
    for (std::size_t j = 0; j < stages.size(); ++j) {
      const Stage& s = stages[j];
      const index_t dilation = index_t{1} << j;
      out = depthwise_conv1d(stack, s.conv, {(lorder_ - 1) * dilation, dilation});
      out = prelu(instance_norm(out, s.norm_weight, s.norm_bias), s.slope);
      if (j + 1 < stages.size()) stack = concat(out, stack, 2);
    }
    return probe(*this, std::move(out));
  }

  void initialize(Generator& generator) {
    Tensor<T, 1> none;
    for (Stage& s : stages) init::torch_default(s.conv, none, generator);
  }

  void visit(Visitor<T>& v) {
    std::size_t j = 0;
    for (Stage& s : stages) {
      const std::string number = std::to_string(++j);
      v.parameter("conv" + number + ".weight", s.conv);
      v.parameter("norm" + number + ".weight", s.norm_weight);
      v.parameter("norm" + number + ".bias", s.norm_bias);
      v.parameter("prelu" + number + ".weight", s.slope);
    }
  }

 private:
  index_t lorder_ = 1;
};

}  // namespace sequin::inline SEQUIN_ABI

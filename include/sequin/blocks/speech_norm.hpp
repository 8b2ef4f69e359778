/// The norms between the layers of speech separators, by their names in configs.
#pragma once

#include "sequin/blocks/batch_norm.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/ops/time_norm.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// `select_norm` of SpeechBrain and MossFormer2.
enum class SpeechNormKind {
  ln,     ///< GroupNorm with one group: over all steps and channels of an utterance
  gln,    ///< the same, its weights stored as (C, 1) or (C, 1, 1)
  cln,    ///< LayerNorm of each frame over its channels ("cumulative" in name only)
  batch,  ///< BatchNorm1d
};

/// A norm over (B, T, C), time-major. eps as the official code has it: 1e-8, BatchNorm 1e-5.
template <Scalar T>
class SpeechNorm {
 public:
  using value_type = T;

  Tensor<T, 1> weight, bias;    ///< ln and cln: (C)
  Tensor<T, 2> weight2, bias2;  ///< gln of sequences: (C, 1)
  Tensor<T, 3> weight3, bias3;  ///< gln of images: (C, 1, 1)
  BatchNorm1d<T> batch;

  SpeechNorm() = default;
  /// `axes` is the number of axes of the official input, 3 or 4: it decides the stored shape.
  SpeechNorm(SpeechNormKind kind, index_t channels, int axes = 3, double eps = 1e-8)
      : kind_(kind), eps_(eps) {
    if (kind == SpeechNormKind::batch) {
      batch = BatchNorm1d<T>(channels);
    } else if (kind != SpeechNormKind::gln) {
      weight = Tensor<T, 1>({channels}, T{1});
      bias = Tensor<T, 1>(Shape<1>{channels});
    } else if (axes == 4) {
      weight3 = Tensor<T, 3>({channels, 1, 1}, T{1});
      bias3 = Tensor<T, 3>({channels, 1, 1});
    } else {
      weight2 = Tensor<T, 2>({channels, 1}, T{1});
      bias2 = Tensor<T, 2>({channels, 1});
    }
  }

  /// x (B, T, C) -> (B, T, C). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {}) const {
    return probe(*this, normalised(x, context));
  }

  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
    v.parameter("weight", weight2);
    v.parameter("bias", bias2);
    v.parameter("weight", weight3);
    v.parameter("bias", bias3);
    if (kind_ == SpeechNormKind::batch) batch.visit(v);
  }

 private:
  Tensor<T, 3> normalised(const Tensor<T, 3>& x, const ForwardContext<T>& context) const {
    switch (kind_) {
      case SpeechNormKind::batch:
        return batch.forward(x, context);
      case SpeechNormKind::cln:
        return layer_norm(x, weight, bias, eps_);
      case SpeechNormKind::ln:
        return global_norm(x, weight, bias, eps_);
      case SpeechNormKind::gln:
        break;
    }
    return weight3.defined() ? global_norm(x, flat(weight3), flat(bias3), eps_)
                             : global_norm(x, flat(weight2), flat(bias2), eps_);
  }

  template <std::size_t Rank>
  static Tensor<T, 1> flat(const Tensor<T, Rank>& t) {
    return reshape<1>(t, {t.extent(0)});
  }

  SpeechNormKind kind_ = SpeechNormKind::ln;
  double eps_ = 1e-8;
};

}  // namespace sequin::inline SEQUIN_ABI

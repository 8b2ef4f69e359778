/// The feed-forward sequential memory network: a recurrence-free memory by convolution over time.
#pragma once

#include "sequin/blocks/dilated_dense_net.hpp"
#include "sequin/blocks/ff_conv.hpp"

namespace sequin::inline SEQUIN_ABI {

/// How the memory of an FSMN is made of p = project(relu(linear(x))).
enum class FsmnKind {
  plain,    ///< `UniDeepFsmn`: p + DW(p)
  dual,     ///< `UniDeepFsmn_dual`: o = p + DW(p), then o + conv2(o) in C / 4 groups
  dilated,  ///< `UniDeepFsmn_dilated`: a DilatedDenseNet of p
};

/// Sizes of an Fsmn.
struct FsmnConfig {
  FsmnKind kind = FsmnKind::plain;
  index_t dim = 0;     ///< in and out
  index_t hidden = 0;  ///< of the map between
  index_t lorder = 20;
  index_t depth = 2;  ///< of the dilated net
};

/// x + memory(x), the memory seeing lorder - 1 steps (times the dilation) to either side. Zhang et
/// al., "Deep-FSMN for Large Vocabulary Continuous Speech Recognition", arXiv 1803.05030, in the
/// forms of MossFormer2.
template <Scalar T>
class Fsmn {
 public:
  using value_type = T;

  Linear<T> linear, project;
  Tensor<T, 4> conv1;  ///< (C, 1, 2 lorder - 1, 1)
  Tensor<T, 4> conv2;  ///< (C, C / groups, 2 lorder - 1, 1), dual only
  DilatedDenseNet<T> conv;

  Fsmn() = default;
  /// Throws ConfigError.
  explicit Fsmn(const FsmnConfig& c)
      : linear(c.dim, c.hidden), project(c.hidden, c.dim, false), config_(c) {
    if (c.dim < 1 || c.hidden < 1 || c.lorder < 1)
      throw ConfigError("Fsmn: dim is " + std::to_string(c.dim) + ", hidden " +
                        std::to_string(c.hidden) + " and lorder " + std::to_string(c.lorder) +
                        ", expected >= 1");
    if (c.kind == FsmnKind::dilated) {
      conv = DilatedDenseNet<T>(c.dim, c.depth, c.lorder);
      return;
    }
    conv1 = Tensor<T, 4>({c.dim, 1, 2 * c.lorder - 1, 1});
    if (c.kind != FsmnKind::dual) return;
    // As the official code divides: of 10 channels two groups of 5.
    const index_t groups = c.dim / 4;
    if (groups == 0 || c.dim % groups != 0)
      throw ConfigError("Fsmn: dim is " + std::to_string(c.dim) +
                        ", expected a multiple of dim / " +
                        "4 rounded down, such as a multiple of 4");
    conv2 = Tensor<T, 4>({c.dim, c.dim / groups, 2 * c.lorder - 1, 1});
  }

  /// x (B, T, C) -> (B, T, C). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x) const {
    const Tensor<T, 3> p = project.forward(linear.forward(x, Activation::relu));
    if (config_.kind == FsmnKind::dilated) return probe(*this, x + conv.forward(p));
    const DepthwiseConv1dOptions same{config_.lorder - 1};
    Tensor<T, 3> memory = depthwise_conv1d(p, conv1, {config_.lorder - 1, 1, true});
    if (config_.kind == FsmnKind::dual)
      memory = memory + depthwise_conv1d(repeat_groups(memory, conv2.extent(1)), conv2, same);
    return probe(*this, x + memory);
  }

  void initialize(Generator& generator) {
    linear.initialize(generator);
    project.initialize(generator);
    Tensor<T, 1> none;
    if (conv1.defined()) init::torch_default(conv1, none, generator);
    if (conv2.defined()) init::torch_default(conv2, none, generator);
    conv.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("linear", linear);
    v.child("project", project);
    v.parameter("conv1.weight", conv1);
    v.parameter("conv2.weight", conv2);
    v.child("conv", conv);
  }

 private:
  /// Each group of channels as often as it has members: what each of the group's outputs reads.
  static Tensor<T, 3> repeat_groups(const Tensor<T, 3>& x, index_t size) {
    const Tensor<T, 4> one = reshape<4>(x, {x.rows(), x.cols() / size, 1, size});
    Tensor<T, 4> all = one;
    for (index_t i = 1; i < size; ++i) all = concat(all, one, 2);
    return reshape<3>(all, {x.extent(0), x.extent(1), size * x.cols()});
  }

  FsmnConfig config_;
};

/// What GatedFsmnBlock and its causal form have in common, around a memory and a gate.
template <Scalar T>
class GatedFsmnParts {
 public:
  using value_type = T;

  PointwiseConv1d<T> conv1, conv2;
  Tensor<T, 1> slope{{1}, T(0.25)};
  LayerNorm<T> norm1, norm2;

 protected:
  GatedFsmnParts() = default;
  GatedFsmnParts(index_t dim, index_t inner)
      : conv1(dim, inner), conv2(inner, dim), norm1(inner), norm2(inner) {}

  /// x + conv2(norm2(gate(r) * memory(r) + r)), r = norm1(prelu(conv1 x)).
  template <class Memory, class Gate>
  Tensor<T, 3> around(const Tensor<T, 3>& x, const Memory& memory, const Gate& gate) const {
    const Tensor<T, 3> r = norm1.forward(prelu(conv1.forward(x), slope));
    const Tensor<T, 3> a = memory(r);
    const Tensor<T, 3> gated = gate(r) * a + r;
    return conv2.forward(norm2.forward(gated)) + x;
  }
};

/// Sizes of a GatedFsmnBlock.
struct GatedFsmnConfig {
  index_t dim = 0;
  index_t inner_channels = 256;
  index_t lorder = 20;
  bool dilated = false;  ///< separation; enhancement has the plain memory
};

/// `Gated_FSMN_Block` and `Gated_FSMN_Block_Dilated` of MossFormer2: x + conv2(norm2(b * a + r)),
/// r = norm1(prelu(conv1 x)), a = fsmn(to_u r), b = to_v r.
template <Scalar T>
class GatedFsmnBlock : public GatedFsmnParts<T> {
 public:
  FFConvM<T> to_u, to_v;
  Fsmn<T> fsmn;

  GatedFsmnBlock() = default;
  explicit GatedFsmnBlock(const GatedFsmnConfig& c)
      : GatedFsmnParts<T>(c.dim, c.inner_channels),
        to_u(c.inner_channels, c.inner_channels, FFConvNorm::layer_norm),
        to_v(c.inner_channels, c.inner_channels, FFConvNorm::layer_norm),
        fsmn(FsmnConfig{c.dilated ? FsmnKind::dilated : FsmnKind::plain, c.inner_channels,
                        c.inner_channels, c.lorder, 2}) {}

  /// x (B, T, D) -> (B, T, D). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {}) const {
    return probe(*this,
                 this->around(
                     x, [&](const auto& r) { return fsmn.forward(to_u.forward(r, context)); },
                     [&](const auto& r) { return to_v.forward(r, context); }));
  }

  void initialize(Generator& generator) {
    this->conv1.initialize(generator);
    this->conv2.initialize(generator);
    to_u.initialize(generator);
    to_v.initialize(generator);
    fsmn.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("conv1.0", this->conv1);
    v.parameter("conv1.1.weight", this->slope);
    v.child("norm1", this->norm1);
    v.child("gated_fsmn.to_u", to_u);
    v.child("gated_fsmn.to_v", to_v);
    v.child("gated_fsmn.fsmn", fsmn);
    v.child("norm2", this->norm2);
    v.child("conv2", this->conv2);
  }
};

}  // namespace sequin::inline SEQUIN_ABI

// oneDNN, in its 2.x interface (Debian 12 has 2.6).
#include "local_peers.hpp"

#ifdef SEQUIN_COMPARE_ONEDNN

#include <oneapi/dnnl/dnnl.hpp>

#include <omp.h>

#include <unordered_map>

namespace sequin_compare {

namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;
using Tag = memory::format_tag;
constexpr auto kFloat = memory::data_type::f32;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}
dnnl::stream& stream() {
  static dnnl::stream s(engine());
  return s;
}

/// A primitive with its memories and its output.
struct Job {
  dnnl::primitive primitive;
  std::unordered_map<int, memory> arguments;
  std::vector<float> output;
  int threads = 1;

  void run() {
    omp_set_num_threads(threads);
    primitive.execute(stream(), arguments);
    stream().wait();
  }
};

memory wrap(const memory::desc& desc, const float* data) {
  return {desc, engine(), const_cast<float*>(data)};
}

/// `plain` in the layout that a primitive asks for.
memory reordered(const memory& plain, const memory::desc& wanted) {
  if (plain.get_desc() == wanted) return plain;
  memory other(wanted, engine());
  dnnl::reorder(plain, other).execute(stream(), const_cast<memory&>(plain), other);
  stream().wait();
  return other;
}

void add(Line& line, const std::string& name, const std::shared_ptr<Job>& job, index_t threads) {
  job->threads = static_cast<int>(threads);
  line.local.push_back(
      {name, [job] { job->run(); }, [job] { return std::span<const float>(job->output); }});
}

memory output(Job& job, const memory::desc& desc) {
  job.output.resize(desc.get_size() / sizeof(float));
  return {desc, engine(), job.output.data()};
}

bool algorithm_of(sequin::Activation activation, algorithm& a, float& alpha) {
  alpha = 0;
  switch (activation) {
    case sequin::Activation::relu:
      a = algorithm::eltwise_relu;
      return true;
    case sequin::Activation::gelu:
      a = algorithm::eltwise_gelu_erf;
      return true;
    case sequin::Activation::gelu_tanh:
      a = algorithm::eltwise_gelu_tanh;
      return true;
    case sequin::Activation::silu:
      a = algorithm::eltwise_swish;
      alpha = 1;
      return true;
    case sequin::Activation::sigmoid:
      a = algorithm::eltwise_logistic;
      return true;
    case sequin::Activation::tanh:
      a = algorithm::eltwise_tanh;
      return true;
    case sequin::Activation::softplus:
      a = algorithm::eltwise_soft_relu;
      return true;
    default:
      return false;
  }
}

}  // namespace

void add_onednn_linear(Line& line, const LinearProblem& p) {
  const auto job = std::make_shared<Job>();
  omp_set_num_threads(static_cast<int>(p.threads));
  const memory::desc x({p.rows, p.in}, kFloat, Tag::ab), y({p.rows, p.out}, kFloat, Tag::ab);
  const memory::desc any({p.in, p.out}, kFloat, Tag::any), w({p.in, p.out}, kFloat, Tag::ba);
  const memory::desc bias({1, p.out}, kFloat, Tag::ab);
  dnnl::post_ops fused;
  algorithm a{};
  float alpha = 0;
  if (algorithm_of(p.activation, a, alpha)) fused.append_eltwise(1.0f, a, alpha, 0);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(fused);
  const auto desc =
      p.bias != nullptr ? dnnl::matmul::desc(x, any, bias, y) : dnnl::matmul::desc(x, any, y);
  const dnnl::matmul::primitive_desc chosen(desc, attributes, engine());
  job->primitive = dnnl::matmul(chosen);
  job->arguments = {{DNNL_ARG_SRC, wrap(x, p.x)},
                    {DNNL_ARG_WEIGHTS, reordered(wrap(w, p.w), chosen.weights_desc())},
                    {DNNL_ARG_DST, output(*job, y)}};
  if (p.bias != nullptr) job->arguments.emplace(DNNL_ARG_BIAS, wrap(bias, p.bias));
  add(line, "oneDNN", job, p.threads);
}

void add_onednn_softmax(Line& line, const float* x, index_t rows, index_t columns,
                        index_t threads) {
  const auto job = std::make_shared<Job>();
  omp_set_num_threads(static_cast<int>(threads));
  const memory::desc d({rows, columns}, kFloat, Tag::ab);
  job->primitive = dnnl::softmax_forward(dnnl::softmax_forward::primitive_desc(
      dnnl::softmax_forward::desc(prop_kind::forward_inference, d, 1), engine()));
  job->arguments = {{DNNL_ARG_SRC, wrap(d, x)}, {DNNL_ARG_DST, output(*job, d)}};
  add(line, "oneDNN", job, threads);
}

void add_onednn_layer_norm(Line& line, const float* x, const float* weight, const float* bias,
                           index_t rows, index_t columns, index_t threads) {
  const auto job = std::make_shared<Job>();
  omp_set_num_threads(static_cast<int>(threads));
  const memory::desc d({rows, columns}, kFloat, Tag::ab), one({columns}, kFloat, Tag::a);
  const auto flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  job->primitive =
      dnnl::layer_normalization_forward(dnnl::layer_normalization_forward::primitive_desc(
          dnnl::layer_normalization_forward::desc(prop_kind::forward_inference, d, 1e-5f, flags),
          engine()));
  job->arguments = {{DNNL_ARG_SRC, wrap(d, x)},
                    {DNNL_ARG_SCALE, wrap(one, weight)},
                    {DNNL_ARG_SHIFT, wrap(one, bias)},
                    {DNNL_ARG_DST, output(*job, d)}};
  add(line, "oneDNN", job, threads);
}

void add_onednn_activation(Line& line, const float* x, index_t count, sequin::Activation activation,
                           index_t threads) {
  algorithm a{};
  float alpha = 0;
  if (!algorithm_of(activation, a, alpha)) return;
  const auto job = std::make_shared<Job>();
  omp_set_num_threads(static_cast<int>(threads));
  const memory::desc d({count}, kFloat, Tag::a);
  job->primitive = dnnl::eltwise_forward(dnnl::eltwise_forward::primitive_desc(
      dnnl::eltwise_forward::desc(prop_kind::forward_inference, a, d, alpha, 0), engine()));
  job->arguments = {{DNNL_ARG_SRC, wrap(d, x)}, {DNNL_ARG_DST, output(*job, d)}};
  add(line, "oneDNN", job, threads);
}

void add_onednn_convolution(Line& line, const ConvolutionProblem& p) {
  const auto job = std::make_shared<Job>();
  omp_set_num_threads(static_cast<int>(p.threads));
  const index_t steps = p.steps + p.before + p.after - p.dilation * (p.taps - 1);
  const memory::desc x({1, p.in, p.steps}, kFloat, Tag::nwc),
      y({1, p.out, steps}, kFloat, Tag::nwc);
  const memory::dims sizes = p.groups > 1
                                 ? memory::dims{p.groups, p.out / p.groups, p.in / p.groups, p.taps}
                                 : memory::dims{p.out, p.in, p.taps};
  const memory::desc any(sizes, kFloat, Tag::any);
  const memory::desc w(sizes, kFloat, p.groups > 1 ? Tag::goiw : Tag::oiw);
  const memory::desc bias({p.out}, kFloat, Tag::a);
  const dnnl::convolution_forward::primitive_desc chosen(
      dnnl::convolution_forward::desc(prop_kind::forward_inference, algorithm::convolution_auto, x,
                                      any, bias, y, {1}, {p.dilation - 1}, {p.before}, {p.after}),
      engine());
  job->primitive = dnnl::convolution_forward(chosen);
  job->arguments = {{DNNL_ARG_SRC, wrap(x, p.x)},
                    {DNNL_ARG_WEIGHTS, reordered(wrap(w, p.w), chosen.weights_desc())},
                    {DNNL_ARG_BIAS, wrap(bias, p.bias)},
                    {DNNL_ARG_DST, output(*job, y)}};
  add(line, "oneDNN", job, p.threads);
}

}  // namespace sequin_compare

#else  // not found

namespace sequin_compare {
void add_onednn_linear(Line&, const LinearProblem&) {}
void add_onednn_softmax(Line&, const float*, index_t, index_t, index_t) {}
void add_onednn_layer_norm(Line&, const float*, const float*, const float*, index_t, index_t,
                           index_t) {}
void add_onednn_activation(Line&, const float*, index_t, sequin::Activation, index_t) {}
void add_onednn_convolution(Line&, const ConvolutionProblem&) {}
}  // namespace sequin_compare

#endif

// Activations, softmax and norms: bound by memory or by the exponential function.
#include "local_peers.hpp"
#include "run_in_arena.hpp"

#include "sequin/ops/activation.hpp"
#include "sequin/ops/norm.hpp"
#include "sequin/ops/softmax.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct RowKeep {
  Input x, weight, bias;
  Tensor<float, 2> input;
  Tensor<float, 1> scale, shift;
};

std::shared_ptr<RowKeep> row_keep(index_t rows, index_t columns) {
  const auto keep = std::make_shared<RowKeep>();
  keep->x = drawn("x", {rows, columns}, 1, 4);
  keep->weight = drawn("weight", {columns}, 2);
  keep->bias = drawn("bias", {columns}, 3);
  keep->input = tensor<2>(keep->x);
  keep->scale = tensor<1>(keep->weight);
  keep->shift = tensor<1>(keep->bias);
  return keep;
}

Line base_line(const std::shared_ptr<RowKeep>& keep) {
  Line line;
  line.keep = keep;
  line.work.bytes = 8.0 * static_cast<double>(keep->input.size());
  line.inputs = {keep->x};
  return line;
}

Line softmax_line(index_t rows, index_t columns, index_t threads) {
  const auto keep = row_keep(rows, columns);
  Line line = base_line(keep);
  line.work.exps = static_cast<double>(rows * columns);
  set_own(line, [k = keep.get()] { return softmax(k->input); });
  add_onednn_softmax(line, keep->x.values.data(), rows, columns, threads);
  line.request = {{"op", "softmax"}};
  return line;
}

Line layer_norm_line(index_t rows, index_t columns, index_t threads) {
  const auto keep = row_keep(rows, columns);
  Line line = base_line(keep);
  set_own(line, [k = keep.get()] { return layer_norm(k->input, k->scale, k->shift); });
  add_onednn_layer_norm(line, keep->x.values.data(), keep->weight.values.data(),
                        keep->bias.values.data(), rows, columns, threads);
  line.request = {{"op", "layer_norm"}};
  line.inputs.push_back(keep->weight);
  line.inputs.push_back(keep->bias);
  return line;
}

Line rms_norm_line(index_t rows, index_t columns) {
  const auto keep = row_keep(rows, columns);
  Line line = base_line(keep);
  set_own(line, [k = keep.get()] { return rms_norm(k->input, k->scale); });
  add_eigen_rms_norm(line, keep->x.values.data(), keep->weight.values.data(), rows, columns);
  line.request = {{"op", "rms_norm"}};
  line.inputs.push_back(keep->weight);
  return line;
}

Line activation_line(Activation activation, const char* name, double exps, index_t rows,
                     index_t threads) {
  const auto keep = row_keep(rows, 1024);
  Line line = base_line(keep);
  line.work.exps = exps * static_cast<double>(keep->input.size());
  set_own(line, [k = keep.get(), activation] { return activate(k->input, activation); });
  add_eigen_activation(line, keep->x.values.data(), keep->input.size(), activation);
  add_onednn_activation(line, keep->x.values.data(), keep->input.size(), activation, threads);
  line.request = {{"op", "activation"}, {"activation", name}};
  return line;
}

}  // namespace

void add_elementwise_lines(std::vector<LineMaker>& lines) {
  const auto sizes = {std::pair<index_t, index_t>{64, 64}, {96, 512}, {512, 512}, {1000, 2048}};
  const auto text = [](index_t rows, index_t columns) {
    return ", " + std::to_string(rows) + " x " + std::to_string(columns);
  };
  for (const auto& [rows, columns] : sizes)
    lines.push_back({"rows", "softmax" + text(rows, columns),
                     [rows = rows, columns = columns](index_t threads) {
                       return softmax_line(rows, columns, threads);
                     }});
  for (const auto& [rows, columns] : sizes)
    lines.push_back({"rows", "layer_norm" + text(rows, columns),
                     [rows = rows, columns = columns](index_t threads) {
                       return layer_norm_line(rows, columns, threads);
                     }});
  for (const auto& [rows, columns] : sizes)
    lines.push_back(
        {"rows", "rms_norm" + text(rows, columns),
         [rows = rows, columns = columns](index_t) { return rms_norm_line(rows, columns); }});
  struct Kind {
    Activation activation;
    const char* name;
    double exps;
  };
  for (const Kind& kind :
       {Kind{Activation::gelu, "gelu", 1}, Kind{Activation::silu, "silu", 1},
        Kind{Activation::sigmoid, "sigmoid", 1}, Kind{Activation::tanh, "tanh", 1},
        Kind{Activation::softplus, "softplus", 1}, Kind{Activation::relu, "relu", 0}})
    for (const index_t rows : {8, 512})
      lines.push_back({"activations", kind.name + text(rows, 1024), [=](index_t threads) {
                         return activation_line(kind.activation, kind.name, kind.exps, rows,
                                                threads);
                       }});
}

}  // namespace sequin_compare

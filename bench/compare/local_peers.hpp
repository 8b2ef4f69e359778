/// Peers that are linked into this process, as far as they were found.
#pragma once

#include "line.hpp"

#include "sequin/kernels/activation.hpp"

namespace sequin_compare {

/// y (rows, out) = act(x (rows, in) w^T + bias): Eigen, OpenBLAS and oneDNN with the weight w
/// (out, in) in the layout that each of them likes best. `x`, `w` and `bias` outlive the line.
struct LinearProblem {
  index_t rows, in, out;
  const float *x, *w, *bias;  ///< bias: nullptr for none
  sequin::Activation activation = sequin::Activation::identity;
  index_t threads = 1;
};

void add_eigen_linear(Line& line, const LinearProblem& p);
void add_openblas_linear(Line& line, const LinearProblem& p);
void add_onednn_linear(Line& line, const LinearProblem& p);

/// Row-wise and element-wise operations of oneDNN on x (rows, columns).
void add_onednn_softmax(Line& line, const float* x, index_t rows, index_t columns, index_t threads);
void add_onednn_layer_norm(Line& line, const float* x, const float* weight, const float* bias,
                           index_t rows, index_t columns, index_t threads);
void add_onednn_activation(Line& line, const float* x, index_t count, sequin::Activation activation,
                           index_t threads);

/// A convolution over time of x (1, T, in), time-major, `groups` of them side by side; weight (out,
/// in / groups, K), `before` zeros in front and `after` behind.
struct ConvolutionProblem {
  index_t steps, in, out, taps, groups, dilation, before, after;
  const float *x, *w, *bias;
  index_t threads;
};
void add_onednn_convolution(Line& line, const ConvolutionProblem& p);

/// The same element-wise and row-wise work written with Eigen's arrays.
void add_eigen_activation(Line& line, const float* x, index_t count, sequin::Activation activation);
void add_eigen_rms_norm(Line& line, const float* x, const float* weight, index_t rows,
                        index_t columns);

/// Real transforms over time by FFTW, planned with FFTW_MEASURE.
void add_fftw_rfft(Line& line, const float* x, index_t length, index_t channels, bool time_major);

}  // namespace sequin_compare

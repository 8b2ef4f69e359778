// Eigen, a BLAS with the CBLAS interface, and FFTW.
#include "local_peers.hpp"

#include <Eigen/Core>

#include <cmath>

#ifdef SEQUIN_COMPARE_OPENBLAS
#include <cblas.h>
extern "C" void openblas_set_num_threads(int);
#endif
#ifdef SEQUIN_COMPARE_FFTW
#include <fftw3.h>
#endif

namespace sequin_compare {

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::RowVectorXf;
using sequin::Activation;

/// Adds a peer that fills `output`.
template <class Run>
void add(Line& line, const std::string& name, index_t count, Run run) {
  const auto output = std::make_shared<std::vector<float>>(static_cast<std::size_t>(count));
  line.local.push_back({name, [output, run] { run(output->data()); },
                        [output] { return std::span<const float>(*output); }});
}

/// The activation by Eigen's vectorised functions; false where Eigen has none.
template <class Array>
bool apply(Activation activation, Array&& a) {
  switch (activation) {
    case Activation::identity:
      return true;
    case Activation::relu:
      a = a.max(0.0f);
      return true;
    case Activation::silu:
      a = a / (1.0f + (-a).exp());
      return true;
    case Activation::sigmoid:
      a = a.logistic();
      return true;
    case Activation::tanh:
      a = a.tanh();
      return true;
    case Activation::softplus:
      a = a.max(0.0f) + (-a.abs()).exp().log1p();
      return true;
    default:
      return false;
  }
}

bool has(Activation activation) {
  Eigen::ArrayXf one(1);
  one << 0.0f;
  return apply(activation, one);
}

}  // namespace

void add_eigen_linear(Line& line, const LinearProblem& p) {
  if (!has(p.activation)) return;
  // Transposed once: Eigen reads a column-major right-hand side of a row-major product slower.
  const auto w = std::make_shared<Matrix>(Eigen::Map<const Matrix>(p.w, p.out, p.in).transpose());
  add(line, "Eigen", p.rows * p.out, [p, w](float* out) {
    const Eigen::Map<const Matrix> x(p.x, p.rows, p.in);
    Eigen::Map<Matrix> y(out, p.rows, p.out);
    if (p.rows == 1) {
      y.row(0).noalias() = x.row(0) * *w;
    } else {
      y.noalias() = x * *w;
    }
    if (p.bias != nullptr) y.rowwise() += Eigen::Map<const Row>(p.bias, p.out);
    apply(p.activation, y.array());
  });
}

#ifdef SEQUIN_COMPARE_OPENBLAS
void add_openblas_linear(Line& line, const LinearProblem& p) {
  if (p.activation != Activation::identity) return;
  add(line, "OpenBLAS", p.rows * p.out, [p](float* out) {
    openblas_set_num_threads(static_cast<int>(p.threads));
    const auto m = static_cast<int>(p.rows), n = static_cast<int>(p.out),
               k = static_cast<int>(p.in);
    if (p.rows == 1) {
      cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1, p.w, k, p.x, 1, 0, out, 1);
    } else {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, p.x, k, p.w, k, 0, out, n);
    }
    if (p.bias != nullptr)
      Eigen::Map<Matrix>(out, p.rows, p.out).rowwise() += Eigen::Map<const Row>(p.bias, p.out);
  });
}
#else
void add_openblas_linear(Line&, const LinearProblem&) {}
#endif

void add_eigen_activation(Line& line, const float* x, index_t count, Activation activation) {
  if (!has(activation)) return;
  add(line, "Eigen", count, [x, count, activation](float* out) {
    Eigen::Map<Eigen::ArrayXf> y(out, count);
    y = Eigen::Map<const Eigen::ArrayXf>(x, count);
    apply(activation, y);
  });
}

void add_eigen_rms_norm(Line& line, const float* x, const float* weight, index_t rows,
                        index_t columns) {
  add(line, "Eigen", rows * columns, [=](float* out) {
    const Eigen::Map<const Matrix> in(x, rows, columns);
    const Eigen::Map<const Row> w(weight, columns);
    Eigen::Map<Matrix> y(out, rows, columns);
    for (index_t r = 0; r < rows; ++r) {
      const float square = in.row(r).squaredNorm() / static_cast<float>(columns);
      y.row(r).array() = in.row(r).array() * w.array() * (1 / std::sqrt(square + 1e-5f));
    }
  });
}

#ifdef SEQUIN_COMPARE_FFTW
void add_fftw_rfft(Line& line, const float* x, index_t length, index_t channels, bool time_major) {
  struct Plan {
    fftwf_plan plan = nullptr;
    float* in = nullptr;
    fftwf_complex* out = nullptr;
    ~Plan() {
      fftwf_destroy_plan(plan);
      fftwf_free(in);
      fftwf_free(out);
    }
  };
  const auto p = std::make_shared<Plan>();
  const auto total = static_cast<std::size_t>(length * channels);
  const auto half = static_cast<std::size_t>((length / 2 + 1) * channels);
  p->in = static_cast<float*>(fftwf_malloc(total * sizeof(float)));
  p->out = static_cast<fftwf_complex*>(fftwf_malloc(half * sizeof(fftwf_complex)));
  const int n = static_cast<int>(length), many = static_cast<int>(channels);
  const int frequencies = n / 2 + 1;
  p->plan = time_major
                ? fftwf_plan_many_dft_r2c(1, &n, many, p->in, nullptr, many, 1, p->out, nullptr,
                                          many, 1, FFTW_MEASURE | FFTW_PRESERVE_INPUT)
                : fftwf_plan_many_dft_r2c(1, &n, many, p->in, nullptr, 1, n, p->out, nullptr, 1,
                                          frequencies, FFTW_MEASURE | FFTW_PRESERVE_INPUT);
  std::copy_n(x, total, p->in);
  const auto split = std::make_shared<std::vector<float>>(2 * half);
  line.local.push_back({"FFTW", [p] { fftwf_execute(p->plan); },
                        [p, split, half] {
                          for (std::size_t i = 0; i < half; ++i) {
                            (*split)[i] = p->out[i][0];
                            (*split)[half + i] = p->out[i][1];
                          }
                          return std::span<const float>(*split);
                        }});
}
#else
void add_fftw_rfft(Line&, const float*, index_t, index_t, bool) {}
#endif

}  // namespace sequin_compare

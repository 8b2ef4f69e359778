/// Matrix products of tensors.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/activation.hpp"
#include "sequin/kernels/gemm.hpp"

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// B (K x N), B(k, n) = b[k * k_stride + n * n_stride], in panels.
template <class T>
Tensor<T, 1> pack_b_parallel(const T* b, index_t k_stride, index_t n_stride, index_t k, index_t n) {
  auto panels = Tensor<T, 1>::empty({kernels::packed_size<T>(k, n)});
  T* const to = panels.data();
  constexpr index_t columns = kernels::kPanelColumns<T>;
  parallel_for(n, columns * 16, [&](index_t begin, index_t end) {
    kernels::pack_b(b, k_stride, n_stride, k, n, to, begin, end);
  });
  return panels;
}

/// The whole product of `m` rows, cut by rows, or by columns when there are few rows. Each element
/// is one chain over k, so that the cut does not show in the result.
template <class T>
void parallel_gemm(const kernels::GemmProblem<T>& p, index_t m) {
  constexpr index_t kRows = 24;
  constexpr index_t columns = kernels::kPanelColumns<T>;
  // What is not worth waking a thread for is one piece.
  const index_t work = m * p.n * p.k;
  if (work < 131072) return kernels::gemm(p, index_t{0}, m, index_t{0}, p.n);
  if (m >= 2 * kRows) {
    constexpr index_t scratch = kernels::kGemmScratch<T>;
    auto rows = Tensor<T, 1>::empty({scratch * concurrency()});
    T* const memory = rows.data();
    parallel_tasks(m, kRows, [&](index_t task, index_t begin, index_t end) {
      kernels::GemmProblem<T> own = p;
      own.scratch = memory + task * scratch;
      kernels::gemm(own, begin, end, index_t{0}, p.n);
    });
  } else {
    parallel_for(p.n, 4 * columns,
                 [&](index_t begin, index_t end) { kernels::gemm(p, index_t{0}, m, begin, end); });
  }
}

/// C (m x n) = A (m x k) B (k x n), A with any strides, B row-major with rows `b_row` apart, C
/// contiguous.
template <class T>
void product(const T* a, index_t a_row, index_t a_k, const T* b, index_t b_row, T* c, index_t m,
             index_t n, index_t k) {
  kernels::GemmProblem<T> p;
  p.a = a;
  p.a_row = a_row;
  p.a_k = a_k;
  p.c = c;
  p.c_row = n;
  p.n = n;
  p.k = k;
  // Packing B costs one pass over it; with few rows it is read where it lies.
  Tensor<T, 1> panels;
  if (m >= 16) {
    panels = pack_b_parallel(b, b_row, index_t{1}, k, n);
    p.b = panels.data();
  } else {
    p.b = b;
    p.b_row = b_row;
  }
  parallel_gemm(p, m);
}

/// A matrix within other memory: element (i, j) is at data[i * row + j * col].
template <class T>
struct MatrixView {
  const T* data = nullptr;
  index_t row = 0, col = 1;

  MatrixView transposed() const noexcept { return {data, col, row}; }
};

/// C (m x n, rows `c_row` apart) = A (m x k) B (k x n) with B in panels, or added to C.
template <class T>
void multiply_panels(const MatrixView<T>& a, const Tensor<T, 1>& panels, T* c, index_t c_row,
                     index_t m, index_t n, index_t k, bool accumulate = false) {
  kernels::GemmProblem<T> p;
  p.a = a.data;
  p.a_row = a.row;
  p.a_k = a.col;
  p.b = panels.data();
  p.c = c;
  p.c_row = c_row;
  p.n = n;
  p.k = k;
  p.accumulate = accumulate;
  parallel_gemm(p, m);
}

/// The same with B of any strides, packed here.
template <class T>
void multiply(const MatrixView<T>& a, const MatrixView<T>& b, T* c, index_t c_row, index_t m,
              index_t n, index_t k, bool accumulate = false) {
  multiply_panels(a, pack_b_parallel(b.data, b.row, b.col, k, n), c, c_row, m, n, k, accumulate);
}

/// Column sums of x (m x n), in row order and in double: rows may be many.
template <class T>
Tensor<T, 1> column_sums(const T* x, index_t m, index_t n) {
  auto sums = Tensor<T, 1>::empty(Shape<1>{n});
  T* const out = sums.data();
  constexpr index_t block = 256;
  parallel_for(n, block, [&](index_t begin, index_t end) {
    for (index_t first = begin; first < end; first += block) {
      const index_t width = (std::min)(block, end - first);
      double total[block] = {};
      for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < width; ++j) total[j] += static_cast<double>(x[i * n + first + j]);
      for (index_t j = 0; j < width; ++j) out[first + j] = static_cast<T>(total[j]);
    }
  });
  return sums;
}

}  // namespace detail

/// a (..., M, K) times b (..., K, N), batch by batch -> (..., M, N). The leading extents are equal.
/// Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> matmul(const Tensor<T, Rank>& a, const Tensor<T, Rank>& b) {
  static_assert(Rank >= 2);
  const index_t m = a.extent(Rank - 2);
  const index_t k = a.extent(Rank - 1);
  const index_t n = b.extent(Rank - 1);
  Shape<Rank> expected = b.shape();
  for (std::size_t i = 0; i + 2 < Rank; ++i) expected[i] = a.extent(i);
  expected[Rank - 2] = k;
  if (b.shape() != expected)
    detail::fail<ShapeError>({"matmul: b is ", b.shape(), ", expected [..., K=", k,
                              ", N] with the leading extents of a ", a.shape()});
  Shape<Rank> shape = a.shape();
  shape[Rank - 1] = n;
  auto c = Tensor<T, Rank>::empty(shape);
  index_t batches = 1;
  for (std::size_t i = 0; i + 2 < Rank; ++i) batches *= a.extent(i);
  T* const out = c.data();
  for (index_t i = 0; i < batches; ++i)
    detail::product(a.data() + i * m * k, k, index_t{1}, b.data() + i * k * n, n, out + i * m * n,
                    m, n, k);
  if (Recorder* tape = recording(a, b)) {
    tape->push([a = kept_if(tape->tracks(b), a), b = kept_if(tape->tracks(a), b), m, n, k, batches,
                av = a.var(), bv = b.var(), cv = tape->track(c)](auto& g) -> void {
      const auto dc = g.take(cv);
      if (!dc.defined()) return;
      if (g.wants(av)) {
        auto da = Tensor<T, Rank>::empty(av.shape);
        T* const to = da.data();
        for (index_t i = 0; i < batches; ++i) {
          detail::multiply<T>({dc.data() + i * m * n, n, 1}, {b.data() + i * k * n, 1, n},
                              to + i * m * k, k, m, k, n);
        }
        g.add(av, da);
      }
      if (g.wants(bv)) {
        auto db = Tensor<T, Rank>::empty(bv.shape);
        T* const to = db.data();
        for (index_t i = 0; i < batches; ++i)
          detail::product(a.data() + i * m * k, index_t{1}, k, dc.data() + i * m * n, n,
                          to + i * k * n, k, n, m);
        g.add(bv, db);
      }
    });
  }
  return c;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(detail::pack_b_parallel);
SEQUIN_INSTANTIATE(detail::parallel_gemm);
SEQUIN_INSTANTIATE(detail::product);
SEQUIN_INSTANTIATE(detail::multiply_panels);
SEQUIN_INSTANTIATE(detail::multiply);
SEQUIN_INSTANTIATE(detail::column_sums);
SEQUIN_INSTANTIATE_RANKS(matmul);

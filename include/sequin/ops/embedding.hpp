/// Looking up rows of a table.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/ops/packed_weight.hpp"

#include <algorithm>
#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

/// table (V, D), ids (B, T) -> (B, T, D). The gradient of the table sums over equal ids in their
/// order. `packed` may hold the packed table (that of a tied head) and is read when the table
/// itself was given up. Throws ShapeError naming the first id that is not in [0, V).
template <Scalar T>
Tensor<T, 3> embedding(const Tensor<T, 2>& table, const Tensor<std::int64_t, 2>& ids,
                       const PackedWeight<T>* packed = nullptr) {
  const index_t width = table.extent(1);
  const std::int64_t* const id = ids.data();
  for (index_t i = 0; i < ids.size(); ++i)
    if (id[i] < 0 || id[i] >= table.extent(0))
      detail::fail<ShapeError>({"embedding: token ", id[i], " at [", i / ids.extent(1), ", ",
                                i % ids.extent(1), "] is out of range [0, V=", table.extent(0),
                                ")"});
  auto y = Tensor<T, 3>::empty({ids.extent(0), ids.extent(1), width});
  T* const to = y.data();
  if (table.released()) {
    if (packed == nullptr || !packed->fresh(table))
      detail::fail<ConfigError>(
          {"embedding: the table ", table.shape(), " was given up by prepare_for_inference"});
    for (index_t i = 0; i < ids.size(); ++i)
      packed->copy_row(static_cast<index_t>(id[i]), width, to + i * width);
    return y;
  }
  for (index_t i = 0; i < ids.size(); ++i)
    std::copy_n(table.data() + id[i] * width, width, to + i * width);
  if (Recorder* tape = recording(table))
    tape->push([ids, width, tv = table.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      Tensor<T, 2> dtable(tv.shape);
      T* const sums = dtable.data();
      for (index_t i = 0; i < ids.size(); ++i) {
        T* const row = sums + ids.data()[i] * width;
        const T* const d = dy.data() + i * width;
        for (index_t j = 0; j < width; ++j) row[j] += d[j];
      }
      g.add(tv, dtable);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(embedding);

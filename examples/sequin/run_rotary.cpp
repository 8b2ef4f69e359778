// Cases of rotary-embedding-torch.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/ops/rotary.hpp"
#include "sequin/ops/shape.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

/// The stored frequencies and the constructor's arguments.
template <class T>
struct Rotary {
  using value_type = T;
  Tensor<T, 1> freqs;
  index_t dim = 0;
  bool seq_before_head_dim = false, xpos = false, pixel = false;
  double interpolate = 1, scale_base = 512;

  void visit(Visitor<T>& v) { v.buffer("freqs", freqs); }

  Tensor<T, 1> positions(index_t first, index_t count) const {
    auto p = Tensor<T, 1>::empty({count});
    for (index_t t = 0; t < count; ++t)
      p(t) = static_cast<T>(static_cast<double>(first + t) / interpolate);
    return p;
  }

  /// The table of an axis; with xpos each pair is scaled by s^power, `sign` 1 for queries and -1
  /// for keys.
  RotaryTable<T> table(const Tensor<T, 1>& at, int sign) const {
    RotaryTable<T> r = rotary_table_of(freqs, at);
    if (!xpos || sign == 0) return r;
    const index_t pairs = freqs.extent(0);
    const index_t steps = at.extent(0);
    for (index_t t = 0; t < steps; ++t)
      for (index_t i = 0; i < pairs; ++i) {
        const double s = (2.0 * static_cast<double>(i) + 0.4 * static_cast<double>(dim)) /
                         (1.4 * static_cast<double>(dim));
        const double power =
            (static_cast<double>(at.data()[t]) - static_cast<double>(steps / 2)) / scale_base;
        const T factor = static_cast<T>(std::pow(s, sign * power));
        r.cos(0, t, i) *= factor;
        r.sin(0, t, i) *= factor;
      }
    return r;
  }
};

/// x (B, T, P), (B, H, T, P) or, with the sequence before the heads, (B, T, H, P).
template <class T, std::size_t Rank>
Tensor<T, Rank> turn(const Tensor<T, Rank>& x, const RotaryTable<T>& table, bool seq_first) {
  if constexpr (Rank == 3) {
    const Tensor<T, 4> one = reshape<4>(x, {x.extent(0), x.extent(1), 1, x.extent(2)});
    return reshape<3>(rotate(one, table, RotaryLayout::interleaved), x.shape());
  } else {
    if (seq_first) return rotate(x, table, RotaryLayout::interleaved);
    return transpose(rotate(transpose(x, 1, 2), table, RotaryLayout::interleaved), 1, 2);
  }
}

index_t offset_in(const std::string& call) {
  const auto at = call.find("offset=");
  return at == std::string::npos ? 0 : std::atoll(call.c_str() + at + 7);
}

template <class T, std::size_t Rank>
void run_one(CaseIo<T>& io, const Rotary<T>& rotary, const std::string& call,
             const RunOptions& options) {
  auto x = io.template get<Rank>("t");
  if (options.grad) x.set_requires_grad();
  const index_t steps = x.extent(Rank == 3 || rotary.seq_before_head_dim ? 1 : 2);
  Tape tape;
  Tensor<T, Rank> y;
  if (call.find("axial") != std::string::npos) {
    if constexpr (Rank == 4) {
      const index_t rows = x.extent(1);
      const index_t columns = x.extent(2);
      const index_t pairs = rotary.freqs.extent(0);
      const auto axis = [&](index_t count) {
        auto p = rotary.positions(0, count);
        if (rotary.pixel)
          for (index_t i = 0; i < count; ++i)
            p(i) = count == 1 ? T{-1}
                              : static_cast<T>(-1 + 2 * static_cast<double>(i) /
                                                        static_cast<double>(count - 1));
        return rotary_table_of(rotary.freqs, p);
      };
      const RotaryTable<T> by_row = axis(rows);
      const RotaryTable<T> by_column = axis(columns);
      RotaryTable<T> both{Tensor<T, 3>({1, rows * columns, 2 * pairs}),
                          Tensor<T, 3>({1, rows * columns, 2 * pairs})};
      for (index_t r = 0; r < rows; ++r)
        for (index_t c = 0; c < columns; ++c)
          for (index_t i = 0; i < pairs; ++i) {
            both.cos(0, r * columns + c, i) = std::as_const(by_row.cos)(0, r, i);
            both.sin(0, r * columns + c, i) = std::as_const(by_row.sin)(0, r, i);
            both.cos(0, r * columns + c, pairs + i) = std::as_const(by_column.cos)(0, c, i);
            both.sin(0, r * columns + c, pairs + i) = std::as_const(by_column.sin)(0, c, i);
          }
      const Tensor<T, 4> flat = reshape<4>(x, {x.extent(0), rows * columns, 1, x.extent(3)});
      y = reshape<4>(rotate(flat, both, RotaryLayout::interleaved), x.shape());
    } else {
      throw LoadError(io.label() + ": 'input.t': expected 4 axes for axial frequencies");
    }
  } else {
    y = turn(x, rotary.table(rotary.positions(offset_in(call), steps), 0),
             rotary.seq_before_head_dim);
  }
  io.put("y", y);
  put_loss(io, options, tape, y, NamedInput{"t", x});
}

template <class T, std::size_t Rank>
void run_two(CaseIo<T>& io, const Rotary<T>& rotary, const std::string& call) {
  const auto q = io.template get<Rank>("q");
  const auto k = io.template get<Rank>("k");
  const std::size_t axis = Rank == 3 || rotary.seq_before_head_dim ? 1 : 2;
  const index_t first =
      call.find("cached") == std::string::npos ? 0 : k.extent(axis) - q.extent(axis);
  const index_t offset = offset_in(call);
  const bool seq_first = rotary.seq_before_head_dim;
  io.put("q_rot",
         turn(q, rotary.table(rotary.positions(first + offset, q.extent(axis)), 1), seq_first));
  io.put("k_rot", turn(k, rotary.table(rotary.positions(offset, k.extent(axis)), -1), seq_first));
}

}  // namespace

template <class T>
void run_rotary(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                const RunOptions& options) {
  constexpr index_t kMax = index_t{1} << 16;
  refuse_stream(config, options);
  Rotary<T> rotary;
  rotary.dim = config.get_int("dim", 2, kMax);
  rotary.pixel = config.get_string("freqs_for", "lang") == "pixel";
  rotary.seq_before_head_dim = config.get_bool("seq_before_head_dim", false);
  rotary.xpos = config.get_bool("use_xpos", false);
  rotary.scale_base = config.get_double("xpos_scale_base", 512.0, 1e-9, 1e12);
  rotary.interpolate = config.get_double("interpolate_factor", 1.0, 1e-9, 1e12);
  const WeightsSource weights = open_weights(dir);
  const TensorEntry* const stored = weights.find("freqs");
  const index_t pairs = stored == nullptr || stored->shape.size() != 1
                            ? rotary.dim / 2
                            : static_cast<index_t>(stored->shape[0]);
  rotary.freqs = Tensor<T, 1>(Shape<1>{pairs});
  load_weights(rotary, weights);
  const std::string call = config.get_string("call", "rotate_queries_or_keys(t)");
  if (io.has("q")) {
    if (io.rank("q") == 3)
      run_two<T, 3>(io, rotary, call);
    else
      run_two<T, 4>(io, rotary, call);
    return;
  }
  if (io.rank("t") == 3)
    run_one<T, 3>(io, rotary, call, options);
  else
    run_one<T, 4>(io, rotary, call, options);
}

namespace {

const RegisterModel registered[] = {{"blocks/rotary", "arXiv 2104.09864",
                                     "rotary positions, all options", false, true,
                                     SEQUIN_CLI_RUN(run_rotary)}};

}  // namespace

}  // namespace sequin_cli

// Cases of rotary-embedding-torch.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/ops/rotary.hpp"
#include "sequin/ops/shape.hpp"

#include <cstdlib>
#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

/// The numbers that follow `key` in a recorded call, up to the bracket or name after them.
std::vector<double> numbers_after(const std::string& call, const std::string& key) {
  std::vector<double> numbers;
  std::size_t at = call.find(key);
  if (at == std::string::npos) return numbers;
  const char* text = call.c_str() + at + key.size();
  for (;;) {
    while (*text == ' ' || *text == ',' || *text == '(' || *text == '[') ++text;
    char* end = nullptr;
    const double number = std::strtod(text, &end);
    if (end == text) return numbers;
    numbers.push_back(number);
    text = end;
  }
}

double number_after(const std::string& call, const std::string& key, double otherwise) {
  const std::vector<double> numbers = numbers_after(call, key);
  return numbers.empty() ? otherwise : numbers[0];
}

/// The axes of a tensor that positions run over: those of one sequence, or of a grid.
struct Axes {
  std::size_t first = 0;
  std::size_t count = 1;
};

/// The stored frequencies and the constructor's arguments.
template <class T>
struct Rotary {
  using value_type = T;
  Tensor<T, 1> freqs;
  index_t dim = 0;
  bool seq_before_head_dim = false, xpos = false, pixel = false, learned = false;
  double interpolate = 1, scale_base = 512;

  void visit(Visitor<T>& v) {
    if (learned)
      v.parameter("freqs", freqs);
    else
      v.buffer("freqs", freqs);
  }

  Tensor<T, 1> positions(double first, index_t count) const {
    auto p = Tensor<T, 1>::empty({count});
    for (index_t t = 0; t < count; ++t)
      p(t) = static_cast<T>((first + static_cast<double>(t)) / interpolate);
    return p;
  }

  /// Of an axis of a grid: pixels lie between -1 and 1; `interpolate` is not looked at.
  Tensor<T, 1> grid_positions(index_t count, double offset) const {
    auto p = Tensor<T, 1>::empty({count});
    for (index_t i = 0; i < count; ++i) {
      const auto t = static_cast<double>(i);
      const double at =
          !pixel ? t : (count == 1 ? -1.0 : -1 + 2 * t / static_cast<double>(count - 1));
      p(i) = static_cast<T>(at + offset);
    }
    return p;
  }

  /// Scales each pair of the table by s^power, the power growing with the position `at`; `sign` is
  /// 1 for queries and -1 for keys.
  void scale_by_xpos(RotaryTable<T>& table, const Tensor<T, 1>& at, int sign) const {
    const index_t pairs = freqs.extent(0);
    const index_t steps = at.extent(0);
    for (index_t t = 0; t < steps; ++t)
      for (index_t i = 0; i < pairs; ++i) {
        const double s = (2.0 * static_cast<double>(i) + 0.4 * static_cast<double>(dim)) /
                         (1.4 * static_cast<double>(dim));
        const double power =
            (static_cast<double>(at.data()[t]) - static_cast<double>(steps / 2)) / scale_base;
        const T factor = static_cast<T>(std::pow(s, sign * power));
        table.cos(0, t, i) *= factor;
        table.sin(0, t, i) *= factor;
      }
  }
};

/// x itself; backwards the frequencies get their part: turning the pair (a, b) by an angle has the
/// gradient a db - b da, and the angle grows by the position when the frequency does.
template <class T>
Tensor<T, 4> watch_frequencies(const Tensor<T, 4>& x, const Tensor<T, 1>& freqs,
                               const Tensor<T, 1>& positions) {
  if (!freqs.requires_grad()) return x;
  Recorder* const tape = recording(x, freqs);
  if (tape == nullptr) return x;
  Tensor<T, 4> y = x.clone();
  tape->push([x, positions, pairs = freqs.extent(0), xv = x.var(), fv = freqs.var(),
              yv = tape->track(y)](Gradients& g) {
    const auto dy = g.take(yv);
    if (!dy.defined()) return;
    g.add(xv, dy);
    Tensor<double, 1> sums({pairs});
    const index_t inner = x.extent(2);
    const index_t steps = x.extent(1);
    for (index_t r = 0; r < x.rows(); ++r) {
      const T* const v = x.data() + r * x.cols();
      const T* const d = dy.data() + r * x.cols();
      const double at = static_cast<double>(positions.data()[r / inner % steps]);
      for (index_t i = 0; i < pairs; ++i)
        sums(i) += at * (static_cast<double>(v[2 * i]) * static_cast<double>(d[2 * i + 1]) -
                         static_cast<double>(v[2 * i + 1]) * static_cast<double>(d[2 * i]));
    }
    g.add(fv, sums.template cast<T>());
  });
  return y;
}

/// x (..., axes, ..., P) as (B, T, H, P).
template <class T, std::size_t Rank>
Tensor<T, 4> as_sequence(const Tensor<T, Rank>& x, const Axes& axes) {
  index_t outer = 1, steps = 1, inner = 1;
  for (std::size_t i = 0; i + 1 < Rank; ++i)
    (i < axes.first ? outer : (i < axes.first + axes.count ? steps : inner)) *= x.extent(i);
  return reshape<4>(x, Shape<4>{outer, steps, inner, x.extent(Rank - 1)});
}

template <class T, std::size_t Rank>
Tensor<T, Rank> turn(const Tensor<T, Rank>& x, const RotaryTable<T>& table, const Axes& axes) {
  return reshape<Rank>(rotate(as_sequence(x, axes), table, RotaryLayout::interleaved), x.shape());
}

/// The axis that the call's sequence runs over. Throws LoadError.
template <class T>
Axes sequence_axis(const CaseIo<T>& io, const Rotary<T>& rotary, const std::string& call,
                   std::size_t rank) {
  const double otherwise = rotary.seq_before_head_dim ? -3 : -2;
  const double given = number_after(call, "seq_dim=", otherwise);
  const double at = given < 0 ? given + static_cast<double>(rank) : given;
  if (at < 0 || at > static_cast<double>(rank) - 2)
    throw LoadError(io.label() + ": expected more axes before the features, found " +
                    std::to_string(rank) + " in all");
  return {static_cast<std::size_t>(at), 1};
}

/// The tables of a grid's axes side by side, the first axis' features first.
template <class T>
RotaryTable<T> grid_table(const Rotary<T>& rotary, const std::vector<index_t>& sizes,
                          const std::vector<double>& offsets) {
  const index_t pairs = rotary.freqs.extent(0);
  const auto axes = static_cast<index_t>(sizes.size());
  index_t cells = 1;
  for (const index_t n : sizes) cells *= n;
  RotaryTable<T> all{Tensor<T, 3>({1, cells, axes * pairs}),
                     Tensor<T, 3>({1, cells, axes * pairs})};
  index_t stride = cells;
  for (index_t a = 0; a < axes; ++a) {
    const auto i = static_cast<std::size_t>(a);
    const double offset = i < offsets.size() ? offsets[i] : 0;
    const RotaryTable<T> one =
        rotary_table_of(rotary.freqs, rotary.grid_positions(sizes[i], offset));
    stride /= sizes[i];
    for (index_t c = 0; c < cells; ++c)
      for (index_t p = 0; p < pairs; ++p) {
        all.cos(0, c, a * pairs + p) = std::as_const(one.cos)(0, c / stride % sizes[i], p);
        all.sin(0, c, a * pairs + p) = std::as_const(one.sin)(0, c / stride % sizes[i], p);
      }
  }
  return all;
}

template <class T, std::size_t Rank>
void run_one(CaseIo<T>& io, Rotary<T>& rotary, const std::string& call, const RunOptions& options) {
  auto x = io.template get<Rank>("t");
  if (options.grad) {
    x.set_requires_grad();
    set_requires_grad(rotary);
  }
  Tape tape;
  Tensor<T, Rank> y;
  if (call.find("axial") != std::string::npos) {
    const std::size_t named = numbers_after(call, "get_axial_freqs(").size();
    const Axes axes{Rank - 1 - (named == 0 ? 2 : named), named == 0 ? 2 : named};
    if (axes.count > Rank - 1)
      throw LoadError(io.label() + ": 'input.t': expected an axis for each of the call, found " +
                      std::to_string(Rank) + " in all");
    std::vector<index_t> sizes;
    for (std::size_t i = 0; i < axes.count; ++i) sizes.push_back(x.extent(axes.first + i));
    y = turn(x, grid_table(rotary, sizes, numbers_after(call, "offsets=")), axes);
  } else {
    const Axes axes = sequence_axis(io, rotary, call, Rank);
    const Tensor<T, 4> flat = as_sequence(x, axes);
    const Tensor<T, 1> at = rotary.positions(number_after(call, " offset=", 0), flat.extent(1));
    y = reshape<Rank>(rotate(watch_frequencies(flat, rotary.freqs, at),
                             rotary_table_of(rotary.freqs, at), RotaryLayout::interleaved),
                      x.shape());
  }
  io.put("y", y);
  if (const auto g = put_loss(io, options, tape, y, NamedInput{"t", x}))
    io.put_gradients(*g, rotary);
}

/// Queries and keys together. With cached keys the queries are the last ones: their angles start
/// at what the keys have more, and an offset moves the queries' angles alone.
template <class T, std::size_t Rank>
void run_two(CaseIo<T>& io, const Rotary<T>& rotary, const std::string& call) {
  const auto q = io.template get<Rank>("q");
  const auto k = io.template get<Rank>("k");
  const Axes axes = sequence_axis(io, rotary, call, Rank);
  const index_t queries = q.extent(axes.first);
  const index_t keys = k.extent(axes.first);
  const bool cached = call.find("cached") != std::string::npos;
  const double ahead = cached ? static_cast<double>(keys - queries) : 0;
  const double offset = cached ? number_after(call, " offset=", 0) : 0;
  const auto table = [&](double start, double angle_offset, index_t count, int sign) {
    auto made = rotary_table_of(rotary.freqs, rotary.positions(start + angle_offset, count));
    if (rotary.xpos) rotary.scale_by_xpos(made, rotary.positions(start, count), sign);
    return made;
  };
  io.put("q_rot", turn(q, table(ahead, offset, queries, 1), axes));
  io.put("k_rot", turn(k, table(0, 0, keys, -1), axes));
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
  rotary.learned = config.get_bool("learned_freq", false);
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
  switch (io.rank("t")) {
    case 2:
      return run_one<T, 2>(io, rotary, call, options);
    case 3:
      return run_one<T, 3>(io, rotary, call, options);
    case 5:
      return run_one<T, 5>(io, rotary, call, options);
    default:
      return run_one<T, 4>(io, rotary, call, options);
  }
}

namespace {

const RegisterModel registered[] = {{"blocks/rotary", "arXiv 2104.09864",
                                     "rotary positions, all options", false, true,
                                     SEQUIN_CLI_RUN(run_rotary)}};

}  // namespace

}  // namespace sequin_cli

// Cases of the recurrent layers: torch.nn.GRU and torch.nn.LSTM with batch_first.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/lstm.hpp"

#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

template <class T>
using States = std::vector<StateTensor<T, 2>>;

/// h_0 (cells, B, H) as one tensor for each cell, gradients included; zeros where there is none.
template <class T>
States<T> split(const CaseIo<T>& io, const char* name, const Tensor<T, 3>& all,
                const RecurrentConfig& c, index_t batch) {
  States<T> states;
  const Shape<3> expected{c.cells(), batch, c.hidden_size};
  if (all.defined() && all.shape() != expected)
    throw LoadError(io.label() + ": 'input." + name + "': expected " + to_string(expected) +
                    ", found " + to_string(all.shape()));
  for (index_t i = 0; i < c.cells(); ++i)
    states.push_back(all.defined() ? reshape<2>(slice(all, 0, i, i + 1), {batch, c.hidden_size})
                                   : Tensor<T, 2>({batch, c.hidden_size}));
  return states;
}

template <class T>
Tensor<T, 3> joined(const States<T>& states) {
  const index_t batch = states.front().extent(0);
  const index_t hidden = states.front().extent(1);
  Tensor<T, 3> all({static_cast<index_t>(states.size()), batch, hidden});
  for (std::size_t i = 0; i < states.size(); ++i)
    std::copy_n(states[i].data(), batch * hidden,
                all.data() + static_cast<index_t>(i) * batch * hidden);
  return all;
}

/// The sequence through single steps.
template <class Block, class T>
Tensor<T, 3> through_steps(const Block& block, const Tensor<T, 3>& x,
                           typename Block::State& state) {
  const index_t hidden = block.config().hidden_size;
  Tensor<T, 3> y({x.extent(0), x.extent(1), hidden});
  auto out = Tensor<T, 2>::empty({x.extent(0), hidden});
  for (index_t t = 0; t < x.extent(1); ++t) {
    if (!block.step(slice(x, 1, t, t + 1).span(), state, out.span()))
      throw Error("a step of a prepared block was refused");
    detail::copy_chunks(std::as_const(out).data(), hidden, y.data() + t * hidden,
                        x.extent(1) * hidden, hidden, x.extent(0));
  }
  return y;
}

template <template <class> class Block, class T>
void run_recurrent(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                   const RunOptions& options, index_t gates) {
  constexpr bool has_cell = requires(typename Block<T>::State & s) { s.c; };
  const auto c = RecurrentConfig::read(config);
  if (c.bidirectional) refuse_stream(config, options);
  auto block = load_block(c.parameter_count(gates), dir, [&] { return Block<T>(c); });
  auto x = io.template get<3>("x");
  auto h_0 = io.template maybe<3>("h_0");
  auto c_0 = io.template maybe<3>("c_0");
  if (options.grad) {
    x.set_requires_grad();
    if (h_0.defined()) h_0.set_requires_grad();
    if (c_0.defined()) c_0.set_requires_grad();
    set_requires_grad(block);
  }
  const auto initial = [&] {
    auto state = block.initial_state(x.extent(0));
    // Copies: where nothing is recorded, the block writes to them.
    state.h = split(io, "h_0", h_0.defined() && !options.grad ? h_0.clone() : h_0, c, x.extent(0));
    if constexpr (has_cell)
      state.c =
          split(io, "c_0", c_0.defined() && !options.grad ? c_0.clone() : c_0, c, x.extent(0));
    return state;
  };
  Tape tape;
  auto state = initial();
  const Tensor<T, 3> y = block.forward(x, &state);
  if (options.stream) {
    const NoGrad no_grad;
    auto stepped = typename Block<T>::State(initial());
    io.put("y", through_steps(block, x, stepped));
    state = stepped;
  } else {
    io.put("y", y);
  }
  io.put("h_n", joined(state.h));
  if constexpr (has_cell) io.put("c_n", joined(state.c));
  if (const auto g = put_loss(io, options, tape, y, NamedInput{"x", x})) {
    io.put_gradients(*g, block);
    io.put_gradient("input.h_0", *g, h_0);
    io.put_gradient("input.c_0", *g, c_0);
  }
}

}  // namespace

template <class T>
void run_gru(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
             const RunOptions& options) {
  run_recurrent<Gru>(io, config, dir, options, kernels::kGruGates);
}

template <class T>
void run_lstm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
              const RunOptions& options) {
  run_recurrent<Lstm>(io, config, dir, options, kernels::kLstmGates);
}

namespace {

const RegisterModel registered[] = {
    {"blocks/gru", "arXiv 1406.1078", "gated recurrent units in layers", true, true,
     SEQUIN_CLI_RUN(run_gru)},
    {"blocks/lstm", "Neural Computation 9 (1997)", "long short-term memory in layers", true, true,
     SEQUIN_CLI_RUN(run_lstm)}};

}  // namespace

}  // namespace sequin_cli

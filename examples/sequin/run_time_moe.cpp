// Time-MoE's cases: forward, training loss, generation.
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/time_moe_forecast.hpp"
#include "sequin/models/time_moe_loss.hpp"

#include <limits>
#include <optional>
#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

/// What a forward pass gives besides the heads.
template <class T>
struct Pass {
  Tensor<T, 3> hidden;
  std::vector<Routing<T>> routings;
};

template <class T>
Pass<T> whole(const TimeMoe<T>& model, const Tensor<T, 3>& x, TimeMoeCall<T> call) {
  Pass<T> pass;
  call.routings = &pass.routings;
  pass.hidden = model.hidden_states(x, call);
  return pass;
}

/// labels or loss_masks, (B, L, C) or (B, L): then C is 1; weights may be integers.
template <class T>
Tensor<T, 3> per_step(const CaseIo<T>& io, const char* name) {
  if (!io.has(name)) return {};
  if (io.rank(name) != 2) return io.template numbers<3>(name);
  const auto flat = io.template numbers<2>(name);
  return flat.template reshaped<3>({flat.extent(0), flat.extent(1), 1});
}

/// Copies row `from` of a to row `to` of b.
template <class T>
void copy_row(const Tensor<T, 2>& a, index_t from, Tensor<T, 2>& b, index_t to) {
  std::copy_n(a.data() + from * a.cols(), a.cols(), b.data() + to * b.cols());
}

/// The same one time point at a time through the cache. Padded points are left as they are in
/// `pass`: they weigh all keys alike, later ones too, and so have no streaming form.
template <class T>
void stream_into(Pass<T>& pass, const TimeMoe<T>& model, const Tensor<T, 3>& x,
                 const TimeMoeCall<T>& call) {
  const index_t batch = x.extent(0);
  const index_t length = x.extent(1);
  auto state = model.initial_state(batch, 1);
  Tensor<T, 2> hidden = pass.hidden.template reshaped<2>({batch * length, pass.hidden.cols()});
  for (index_t t = 0; t < length; ++t) {
    TimeMoeCall<T> now;
    std::vector<Routing<T>> routings;
    now.state = &state;
    now.routings = &routings;
    if (call.attention_mask.defined()) now.attention_mask = slice(call.attention_mask, 1, t, t + 1);
    if (call.position_ids.defined()) now.position_ids = slice(call.position_ids, 1, t, t + 1);
    const Tensor<T, 3> h = model.hidden_states(slice(x, 1, t, t + 1), now);
    const Tensor<T, 2> rows = h.template reshaped<2>({batch, h.cols()});
    for (index_t b = 0; b < batch; ++b) {
      if (call.attention_mask.defined() && call.attention_mask(b, t) == 0) continue;
      const index_t at = b * length + t;
      copy_row(rows, b, hidden, at);
      for (std::size_t i = 0; i < routings.size(); ++i) {
        copy_row(routings[i].router_logits, b, pass.routings[i].router_logits, at);
        copy_row(routings[i].routing_weights, b, pass.routings[i].routing_weights, at);
        copy_row(routings[i].selected_experts, b, pass.routings[i].selected_experts, at);
      }
    }
  }
}

/// input.series, normalised, continued by input.max_new_tokens and brought back.
template <class T>
void run_generation(CaseIo<T>& io, const TimeMoe<T>& model) {
  Tensor<T, 2> series = io.template get<2>("series");
  const auto steps = io.template integers<std::int64_t, 1>("max_new_tokens");
  if (steps.size() != 1)
    throw LoadError(io.label() + ": 'input.max_new_tokens': expected one number, found " +
                    std::to_string(steps.size()));
  Tensor<std::int64_t, 2> mask;
  if (io.has("series_mask")) {
    mask = io.template integers<std::int64_t, 2>("series_mask");
    if (mask.shape() != series.shape())
      throw LoadError(io.label() + ": 'input.series_mask': expected " + to_string(series.shape()) +
                      ", found " + to_string(mask.shape()));
    for (index_t i = 0; i < series.size(); ++i)
      if (mask.data()[i] == 0) series.data()[i] = std::numeric_limits<T>::quiet_NaN();
  }
  const index_t length = series.extent(1);
  Tensor<T, 2> z(series.shape());
  for (index_t b = 0; b < series.extent(0); ++b) {
    const NormedSeries s = norm_series(std::as_const(series).span().subspan(
        static_cast<std::size_t>(b * length), static_cast<std::size_t>(length)));
    for (index_t t = 0; t < length; ++t)
      z(b, t) = static_cast<T>(s.value[static_cast<std::size_t>(t)]);
  }
  io.put("generated", generate(model, z, steps(0), mask));
  io.put("predictions", forecast(model, series, steps(0)));
}

}  // namespace

template <class T>
void run_time_moe(CaseIo<T>& io, const Config&, const std::filesystem::path& dir,
                  const RunOptions& options) {
  auto model = load_model<TimeMoe<T>>(dir);
  io.trace(model, options);
  const TimeMoeConfig& c = model.config();
  if (!io.has("input_ids") && !io.has("series"))
    throw LoadError(io.label() + ": expected 'input.input_ids' or 'input.series', found neither");
  if (io.has("input_ids")) {
    Tensor<T, 3> x;
    if (io.rank("input_ids") == 2) {
      const auto flat = io.template get<2>("input_ids");
      x = flat.template reshaped<3>({flat.extent(0), flat.extent(1), 1});
    } else {
      x = io.template get<3>("input_ids");
    }
    TimeMoeCall<T> call;
    if (io.has("attention_mask"))
      call.attention_mask = io.template integers<std::int64_t, 2>("attention_mask");
    if (io.has("position_ids"))
      call.position_ids = io.template integers<std::int64_t, 2>("position_ids");
    if (options.grad) {
      x.set_requires_grad();
      set_requires_grad(model);
    }
    std::optional<Tape> tape;
    if (options.grad) tape.emplace();
    Pass<T> pass = whole(model, x, call);
    Pass<T> shown = pass;
    if (options.stream) {
      const NoGrad no_grad;
      shown = whole(model, x, call);
      stream_into(shown, model, x, call);
    }
    io.put("last_hidden_state", shown.hidden);
    for (std::size_t j = 0; j < c.horizon_lengths.size(); ++j)
      io.put("logits.h" + std::to_string(c.horizon_lengths[j]), model.head(j, shown.hidden));
    for (std::size_t i = 0; i < shown.routings.size(); ++i) {
      const std::string layer = std::to_string(i);
      io.put("router_logits." + layer, shown.routings[i].router_logits);
      io.put("routing_weights." + layer, shown.routings[i].routing_weights);
      io.put("selected_experts." + layer, shown.routings[i].selected_experts);
    }
    if (io.has("labels")) {
      const auto loss_of = [&](const Pass<T>& p) {
        return time_moe_loss(model, p.hidden, p.routings, per_step(io, "labels"),
                             per_step(io, "loss_masks"), call.attention_mask);
      };
      const TimeMoeLoss<T> loss = loss_of(shown);
      io.put("loss", loss.loss);
      for (std::size_t j = 0; j < c.horizon_lengths.size(); ++j)
        io.put("ar_loss.h" + std::to_string(c.horizon_lengths[j]), loss.ar_losses[j]);
      if (loss.aux_loss.defined()) io.put("aux_loss", loss.aux_loss);
      if (options.grad) {
        const Gradients g = tape->gradients(loss_of(pass).loss);
        io.put_gradients(g, model);
        io.put_gradient("input.input_ids", g, x);
      }
    }
  }
  if (io.has("series")) {
    const NoGrad no_grad;
    run_generation(io, model);
  }
}

namespace {

const RegisterModel registered[] = {{"time_moe", "arXiv 2409.16040 (ICLR 2025)",
                                     "forecasting any series to any horizon", true, true,
                                     SEQUIN_CLI_RUN(run_time_moe)}};

}  // namespace

}  // namespace sequin_cli

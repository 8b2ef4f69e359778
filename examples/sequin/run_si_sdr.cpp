// Cases of the separation loss: "which" names the official code base.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/ops/permutation_loss.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

/// Whole numbers in the cases' own type.
template <class T>
Tensor<T, 2> as_floats(const Tensor<std::int64_t, 2>& t) {
  return t.template cast<T>();
}

/// The estimate with zeros past each length, as kaituoxu's function leaves it behind.
template <class T>
Tensor<T, 3> cut(const Tensor<T, 3>& x, std::span<const std::int64_t> lengths) {
  Tensor<T, 3> y = x.clone();
  const index_t rows = x.extent(1), n = x.extent(2);
  for (std::size_t b = 0; b < lengths.size(); ++b)
    for (index_t c = 0; c < rows; ++c)
      for (index_t t = static_cast<index_t>(lengths[b]); t < n; ++t)
        y(static_cast<index_t>(b), c, t) = T{0};
  return y;
}

}  // namespace

template <class T>
void run_si_sdr(CaseIo<T>& io, const Config& config, const std::filesystem::path&,
                const RunOptions& options) {
  const std::string which = config.get_string("which", "clearervoice");
  if (which != "clearervoice" && which != "asteroid" && which != "kaituoxu")
    throw ConfigError(config.label() + ": which: expected clearervoice, asteroid or kaituoxu, " +
                      "found '" + detail::printable(which) + "'");
  refuse_stream(config, options);
  auto estimate = io.template get<3>("estimate");
  auto source = io.template get<3>("source");
  const index_t sources = config.get_int("sources", source.extent(1), 1, 1024);
  if (source.extent(1) != sources)
    throw ConfigError(config.label() + ": sources: expected " + std::to_string(source.extent(1)) +
                      " as in input.source, found " + std::to_string(sources));
  Tensor<std::int64_t, 1> lengths;
  if (io.has("lengths")) lengths = io.template integers<std::int64_t, 1>("lengths");
  if (options.grad) {
    estimate.set_requires_grad();
    source.set_requires_grad();
  }
  const std::span<const std::int64_t> counted = std::as_const(lengths).span();

  Tape tape;
  const Tensor<T, 3> pairwise = neg(si_sdr_pairwise(estimate, source, counted));
  const bool asteroid = which == "asteroid";
  const auto r = permutation_loss(pairwise, asteroid ? PermutationOrder::kEstimateOfSource
                                                     : PermutationOrder::kSourceOfEstimate);
  const Tensor<T, 0> loss = mean(r.loss);
  if (which == "kaituoxu") {
    io.put("si_snr", reshape<2>(neg(r.loss), Shape<2>{r.loss.size(), 1}));
    io.put("reordered", reorder_sources(cut(estimate.detach(), counted), r.source_of_estimate));
  } else {
    io.put("neg_si_snr", r.loss);
    io.put("perm", as_floats<T>(asteroid ? r.estimate_of_source : r.source_of_estimate));
  }
  if (asteroid) io.put("pairwise", pairwise);
  io.put("total", loss);
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  io.put_gradient("input.estimate", g, estimate);
  io.put_gradient("input.source", g, source);
}

namespace {

const RegisterModel registered[] = {{"blocks/si_sdr", "ICASSP 2019 (Le Roux et al.)",
                                     "loss and score of separation", false, true,
                                     SEQUIN_CLI_RUN(run_si_sdr)}};

}  // namespace

}  // namespace sequin_cli

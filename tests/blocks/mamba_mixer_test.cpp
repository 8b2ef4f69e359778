#include "sequin/blocks/mamba_mixer.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"

#include <cmath>

using namespace sequin;

namespace {

MambaMixer<double> small_mixer(bool bias) {
  MambaMixerConfig config;
  config.d_model = 6;
  config.d_state = 3;
  config.d_conv = 3;
  config.bias = bias;
  config.conv_bias = !bias;
  MambaMixer<double> mixer(config);
  Generator generator(4);
  mixer.initialize(generator);
  return mixer;
}

Tensor<double, 3> wavy(const Shape<3>& shape) {
  Tensor<double, 3> t(shape);
  for (index_t i = 0; i < t.size(); ++i) t.data()[i] = std::sin(0.9 * static_cast<double>(i));
  return t;
}

}  // namespace

TEST_CASE("mamba_mixer: the gradient of the input equals finite differences", "[mamba_mixer]") {
  for (const bool bias : {false, true}) {
    const auto mixer = small_mixer(bias);
    const auto r = grad_check([&](const auto& x) { return mixer.forward(x); }, wavy({2, 7, 6}));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("mamba_mixer: parameters are listed under the official names", "[mamba_mixer]") {
  auto mixer = small_mixer(true);
  std::vector<std::string> names;
  for (const auto& p : parameters(mixer).items) names.push_back(p.name);
  REQUIRE(names == std::vector<std::string>{"A_log", "D", "in_proj.weight", "in_proj.bias",
                                            "conv1d.weight", "x_proj.weight", "dt_proj.weight",
                                            "dt_proj.bias", "out_proj.weight", "out_proj.bias"});
}

TEST_CASE("mamba_mixer: a changed A_log is noticed by a prepared mixer", "[mamba_mixer]") {
  auto mixer = small_mixer(false);
  prepare(mixer);
  const auto x = wavy({1, 5, 6});
  const auto before = mixer.forward(x);
  mixer.A_log.fill(2.0);
  const auto after = mixer.forward(x);
  prepare(mixer);
  REQUIRE(after(0, 4, 0) != before(0, 4, 0));
  REQUIRE(after(0, 4, 0) == mixer.forward(x)(0, 4, 0));
}

TEST_CASE("mamba_mixer: fresh step sizes lie between 0.001 and 0.1", "[mamba_mixer]") {
  const auto mixer = small_mixer(false);
  for (const double b : mixer.dt_proj.bias.span()) {
    const double dt = std::log1p(std::exp(b));
    REQUIRE(dt >= 0.000999);
    REQUIRE(dt <= 0.1001);
  }
}

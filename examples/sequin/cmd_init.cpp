// sequin init: a model with drawn weights under its official names.
#include "commands.hpp"
#include "models.hpp"

#include "sequin/core/random.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/models/time_moe.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

struct InitArguments {
  std::string config, output;
  std::uint64_t seed = 0;
};

template <class Model>
index_t draw(const Config& config, const InitArguments& a) {
  const auto c = Model::Config::read(config);
  if (c.parameter_count() > 4e9)
    throw ConfigError(config.label() + ": expected a model of at most 4e9 parameters");
  Model model(c);
  Generator generator(a.seed);
  model.initialize(generator);
  const std::filesystem::path dir = a.output;
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  if (failed) throw LoadError(a.output + ": cannot be made: " + failed.message());
  save_weights(model, dir / "model.safetensors");
  if (!std::filesystem::equivalent(a.config, dir / "config.json", failed)) {
    std::filesystem::copy_file(a.config, dir / "config.json",
                               std::filesystem::copy_options::overwrite_existing, failed);
    if (failed) throw LoadError(a.output + "/config.json: " + failed.message());
  }
  return parameters(model).count();
}

int init(const InitArguments& a) {
  const Config config = Config::load(a.config);
  const std::string name = model_of(config).name;
  index_t count = 0;
  if (name.starts_with("itransformer")) {
    count = draw<ITransformer<float>>(config, a);
  } else if (name.starts_with("informer")) {
    count = draw<Informer<float>>(config, a);
  } else if (name == "mamba") {
    count = draw<Mamba<float>>(config, a);
  } else if (name == "mossformer2") {
    count = draw<MossFormer2<float>>(config, a);
  } else if (name == "causal_mossformer2") {
    count = draw<CausalMossFormer2<float>>(config, a);
  } else if (name == "time_moe") {
    count = draw<TimeMoe<float>>(config, a);
  } else {
    throw ConfigError(config.label() + ": init: expected a whole model, found " + name);
  }
  std::printf("%s: %td parameters\n", a.output.c_str(), count);
  return kDone;
}

void add_init(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("init", "Draw weights for a config, under the official names");
  cmd->footer("Example: sequin init config.json DIR --seed 1");
  const auto a = std::make_shared<InitArguments>();
  cmd->add_option("config", a->config, "config.json with the official keys")->required();
  cmd->add_option("dir", a->output, "folder for config.json and model.safetensors")->required();
  cmd->add_option("--seed", a->seed, "(0)");
  cmd->callback([&chosen, a] { chosen = [a] { return init(*a); }; });
}

}  // namespace

static const RegisterCommand init_command(11, add_init);

}  // namespace sequin_cli

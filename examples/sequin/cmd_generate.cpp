// sequin generate: continues a prompt of token ids with a language model.
#include "commands.hpp"
#include "models.hpp"
#include "session_options.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/models/generate.hpp"
#include "sequin/models/mamba.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

struct GenerateArguments {
  std::string dir;
  std::vector<std::int64_t> prompt;
  index_t max_length = 0, new_tokens = 64;
  std::int64_t eos = -1;
  SamplingOptions sampling;
  SessionOptions session;
};

int run_generate(const GenerateArguments& a) {
  const ThreadScope threads(a.session);
  const Config config = Config::load(std::filesystem::path(a.dir) / "config.json");
  if (std::string(model_of(config).name) != "mamba")
    throw ConfigError(config.label() + ": expected a language model, found " +
                      model_of(config).name);
  a.sampling.validate();
  const auto model = load_for_inference<Mamba<float>>(a.dir);
  const auto length = static_cast<index_t>(a.prompt.size());
  const Tensor<std::int64_t, 2> prompt({1, length}, a.prompt);
  GenerateOptions options;
  options.max_length = a.max_length > 0 ? a.max_length : length + a.new_tokens;
  options.sampling = a.sampling;
  if (a.eos >= 0) options.eos_token_id = a.eos;
  generate(model, prompt, options, [first = true](std::span<const std::int64_t> tokens) mutable {
    std::printf(first ? "%lld" : " %lld", static_cast<long long>(tokens[0]));
    std::fflush(stdout);
    first = false;
    return true;
  });
  std::printf("\n");
  return kDone;
}

}  // namespace

static void add_generate(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("generate", "Continue a sequence of token ids");
  cmd->footer(
      "Example: sequin generate DIR --prompt 12,7,99 --new-tokens 20 --top-k 40 --seed 1\n"
      "Prints each new token as it comes.");
  const auto a = std::make_shared<GenerateArguments>();
  cmd->add_option("dir", a->dir, "folder with config.json and weights")->required();
  cmd->add_option("--prompt", a->prompt, "token ids, separated by commas")
      ->delimiter(',')
      ->required();
  cmd->add_option("--new-tokens", a->new_tokens, "tokens to add (64)")->check(CLI::PositiveNumber);
  cmd->add_option("--max-length", a->max_length, "tokens in all, the prompt included");
  cmd->add_option("--top-k", a->sampling.top_k, "1: greedy (default); 0: no cut");
  cmd->add_option("--top-p", a->sampling.top_p, "nucleus");
  cmd->add_option("--min-p", a->sampling.min_p, "with --top-k 0: least share of the best");
  cmd->add_option("--temperature", a->sampling.temperature, "(1)");
  cmd->add_option("--repetition-penalty", a->sampling.repetition_penalty, "(1)");
  cmd->add_option("--vocab-size", a->sampling.vocab_size, "only the first so many tokens");
  cmd->add_option("--seed", a->sampling.seed, "(0)");
  cmd->add_option("--eos", a->eos, "token that ends the text");
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return run_generate(*a); }; });
}

static const RegisterCommand generate_command(6, add_generate);

}  // namespace sequin_cli

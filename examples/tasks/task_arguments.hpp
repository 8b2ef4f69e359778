/// What the subcommands of `tasks` are told.
#pragma once

#include "answer_batch.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sequin_tasks {

/// The options that both subcommands have.
struct TaskArguments {
  std::string config, output, model = "mamba";
  index_t length = 256, steps = 0, short_steps = 0, batch = 8, warm_up = 50;
  index_t checkpoint_every = 500;
  double rate = 0, weight_decay = 0.01, clip_norm = 1;
  std::uint64_t seed = 1;
  bool resume = false, evaluate = false, quiet = false;
  std::vector<index_t> test_lengths;
  index_t test_tokens = index_t{1} << 19, chunk = 512;

  /// The defaults are what the members hold before.
  void add_to(CLI::App* cmd) {
    cmd->add_option("config", config, "config.json of a Mamba model")->required();
    cmd->add_option("-o,--output", output, "folder for weights, checkpoint and metrics")
        ->required();
    cmd->add_option("--model", model, "mamba, or attention of as many parameters")
        ->capture_default_str()
        ->check(CLI::IsMember({"mamba", "attention"}));
    cmd->add_option("--length", length, "tokens (of copying: without the markers)")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    cmd->add_option("--steps", steps, "of the optimiser, in epochs of at most 250")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    cmd->add_option("--short-steps", short_steps, "of each shorter task before; 0: none before")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    cmd->add_option("--batch-size", batch, "sequences a step")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    cmd->add_option("--learning-rate", rate,
                    "after the warm-up; in the last stage it falls as a cosine to 0")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    cmd->add_option("--warm-up", warm_up, "steps with a rising rate")->capture_default_str();
    cmd->add_option("--weight-decay", weight_decay, "of AdamW")->capture_default_str();
    cmd->add_option("--clip-norm", clip_norm, "largest norm of the gradient; 0: any")
        ->capture_default_str();
    cmd->add_option("--seed", seed, "of weights and sequences")->capture_default_str();
    cmd->add_option("--checkpoint-every", checkpoint_every, "steps between checkpoints")
        ->capture_default_str();
    cmd->add_flag("--resume", resume, "continue from the folder's checkpoint");
    cmd->add_flag("--evaluate", evaluate, "only score the folder's weights");
    cmd->add_option("--test-lengths", test_lengths, "lengths to score at")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    cmd->add_option("--test-tokens", test_tokens, "a score is of so many tokens or 16 sequences")
        ->capture_default_str();
    cmd->add_option("--chunk", chunk, "tokens that a scored model reads at once")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    cmd->add_flag("--quiet", quiet, "no progress");
  }
};

}  // namespace sequin_tasks

// tasks selective-copying: tokens that matter, among noise.
#include "selective_copying.hpp"

#include "commands.hpp"
#include "run_task.hpp"

namespace sequin_tasks {

namespace {

// 1, 2, 4, ... data tokens, among as much noise for each as in the last stage.
std::vector<Stage<SelectiveCopying>> stages(const TaskArguments& a, index_t data_tokens) {
  std::vector<Stage<SelectiveCopying>> s;
  const auto add = [&](index_t tokens) {
    const index_t length = tokens * a.length / data_tokens;
    s.push_back({SelectiveCopying(length, tokens),
                 "tokens_" + std::to_string(tokens) + "_of_" + std::to_string(length)});
  };
  for (index_t tokens = 1; a.short_steps > 0 && tokens < data_tokens; tokens *= 2) add(tokens);
  add(data_tokens);
  return s;
}

}  // namespace

void add_selective_copying(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("selective-copying", "Repeat the data tokens among the noise");
  cmd->footer("Example: tasks selective-copying examples/configs/mamba_tasks.json -o run");
  const auto a = std::make_shared<TaskArguments>();
  a->length = 64;
  a->steps = 20000;
  a->short_steps = 2000;
  a->batch = 16;
  a->rate = 3e-3;
  a->test_lengths = {32, 64, 128, 256, 512, 1024};
  a->add_to(cmd);
  const auto data = std::make_shared<index_t>(16);
  cmd->add_option("--data-tokens", *data, "tokens to remember")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  cmd->callback([&chosen, a, data] {
    chosen = [a, data] {
      return run_task(*a, "selective_copying", stages(*a, *data),
                      [&](index_t length) { return SelectiveCopying(length, *data); });
    };
  });
}

}  // namespace sequin_tasks

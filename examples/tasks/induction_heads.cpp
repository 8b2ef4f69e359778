// tasks induction-heads: trains at one length, scores up to lengths far beyond it.
#include "induction_heads.hpp"

#include "commands.hpp"
#include "run_task.hpp"

namespace sequin_tasks {

namespace {

// 16, 32, ... up to the length that is asked for.
std::vector<Stage<InductionHeads>> stages(const TaskArguments& a) {
  std::vector<Stage<InductionHeads>> s;
  const auto add = [&](index_t length) {
    s.push_back({InductionHeads(length), "length_" + std::to_string(length)});
  };
  for (index_t length = 16; a.short_steps > 0 && length < a.length; length *= 2) add(length);
  add(a.length);
  return s;
}

}  // namespace

void add_induction_heads(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("induction-heads", "What followed the special token the last time?");
  cmd->footer("Example: tasks induction-heads examples/configs/mamba_tasks.json -o run");
  const auto a = std::make_shared<TaskArguments>();
  a->steps = 1000;
  a->short_steps = 500;
  a->batch = 16;
  a->rate = 5e-3;
  a->test_lengths = {64, 128, 256, 512, 1024, 2048, 4096};
  a->add_to(cmd);
  cmd->callback([&chosen, a] {
    chosen = [a] {
      return run_task(*a, "induction_heads", stages(*a),
                      [](index_t length) { return InductionHeads(length); });
    };
  });
}

}  // namespace sequin_tasks

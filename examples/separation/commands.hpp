/// The subcommands of the program `separation`.
#pragma once

#include "sequin/io/config.hpp"

#include <functional>

namespace CLI {
class App;
}

namespace sequin_separation {

/// What the subcommand that was chosen does; its exit code.
using Action = std::function<int()>;

/// Whether a config is that of a CausalMossFormer2.
inline bool is_causal(const sequin::Config& config) {
  return config.get_string("model", "") == "causal_mossformer2";
}

void add_train(CLI::App& app, Action& chosen);
void add_score(CLI::App& app, Action& chosen);
void add_mix(CLI::App& app, Action& chosen);

}  // namespace sequin_separation

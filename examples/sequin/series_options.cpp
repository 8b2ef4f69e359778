#include "series.hpp"

#include <CLI/CLI.hpp>

namespace sequin_cli {

void SeriesOptions::add_to(CLI::App* cmd) {
  cmd->add_option("--split", split, "ETTh1, ETTh2, ETTm1, ETTm2 or custom (70/10/20 %)");
  cmd->add_option("--features", features, "M (all), S (target alone) or MS (all to target)");
  cmd->add_option("--target", target, "the target column (the last)");
  cmd->add_option("--freq", freq, "of the time marks: s, t, h, d, b, w or m");
}

}  // namespace sequin_cli

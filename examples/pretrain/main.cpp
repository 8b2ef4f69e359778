// Pre-trains a small Time-MoE on real and synthetic series, and scores it on series that it does
// not know.
#include "commands.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  CLI::App app("One forecaster for series of any kind: pre-training and zero-shot scores",
               "pretrain");
  app.require_subcommand(1);
  app.footer(
      "Example: examples/pretrain/make_series.sh series\n"
      "         pretrain train examples/configs/time_moe_small.json --series series/series.csv -o "
      "run\n"
      "         pretrain score run --series series/series.csv\n"
      "         sequin forecast run --input examples/data/us_departures.csv --holdout");
  sequin_pretrain::Action chosen;
  sequin_pretrain::add_train(app, chosen);
  sequin_pretrain::add_score(app, chosen);
  try {
    app.parse(argc, argv);
    return chosen();
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pretrain: %s\n", e.what());
    return 2;
  }
}

// The synthetic tasks of the Mamba paper, trained and scored.
#include "commands.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  CLI::App app("The synthetic tasks of the Mamba paper (section 4.1)", "tasks");
  app.require_subcommand(1);
  sequin_tasks::Action chosen;
  sequin_tasks::add_induction_heads(app, chosen);
  sequin_tasks::add_selective_copying(app, chosen);
  try {
    app.parse(argc, argv);
    return chosen();
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tasks: %s\n", e.what());
    return 2;
  }
}

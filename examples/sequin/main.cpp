// The `sequin` program: runs, checks, trains and measures the bundled models from a shell.
#include "commands.hpp"

#include "sequin/core/error.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <iostream>
#include <map>
#include <new>

namespace sequin_cli {

static std::map<int, RegisterCommand::Add>& commands() {
  static std::map<int, RegisterCommand::Add> all;
  return all;
}

RegisterCommand::RegisterCommand(int place, Add add) { commands().emplace(place, add); }

}  // namespace sequin_cli

int main(int argc, char** argv) {
  using namespace sequin_cli;
  CLI::App app("Sequence models in C++: run, check, train and measure them.", "sequin");
  app.set_version_flag("--version", sequin::kVersion);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 the answer is no, 2 the request or a file is wrong.\n"
      "`sequin SUBCOMMAND --help` shows the options and an example.");
  Action chosen;
  for (const auto& [place, add] : sequin_cli::commands()) add(app, chosen);
  try {
    app.parse(argc, argv);
    return chosen ? chosen() : kBadRequest;
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::cerr << "sequin: " << e.what() << "; try --help\n";
    return kBadRequest;
  } catch (const sequin::Error& e) {
    std::cerr << "sequin: " << e.what() << '\n';
  } catch (const std::bad_alloc&) {
    std::cerr << "sequin: not enough memory for the request\n";
  } catch (const std::exception& e) {
    std::cerr << "sequin: " << e.what() << '\n';
  }
  return kBadRequest;
}

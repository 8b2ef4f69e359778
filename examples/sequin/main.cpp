// The `sequin` program: runs, checks, trains and measures the bundled models from a shell.
#include "commands.hpp"

#include "sequin/core/error.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <iostream>
#include <map>
#include <new>
#include <string>

namespace sequin_cli {

static std::map<int, RegisterCommand::Add>& commands() {
  static std::map<int, RegisterCommand::Add> all;
  return all;
}

RegisterCommand::RegisterCommand(int place, Add add) { commands().emplace(place, add); }

/// What was wrong with the arguments. CLI11 says of an unknown subcommand that one is required.
static std::string complaint(const CLI::App& app, const CLI::ParseError& error) {
  const auto rest = app.remaining();
  const auto word = std::find_if(rest.begin(), rest.end(),
                                 [](const std::string& w) { return w.empty() || w[0] != '-'; });
  if (!app.get_subcommands().empty() || word == rest.end()) return error.what();
  std::string text = "no subcommand '" + sequin::detail::printable(*word) + "', expected one of ";
  const auto known = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* const command : known)
    text += (command == known.front() ? "" : ", ") + command->get_name();
  return text + ", which this program was built with";
}

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
    std::cerr << "sequin: " << complaint(app, e) << "; try --help\n";
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

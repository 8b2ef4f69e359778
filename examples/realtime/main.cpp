// Runs a causal audio model the way an audio callback would, block by block, and says what it
// costs; trains one on an effect.
#include "commands.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <iostream>

int main(int argc, char** argv) {
  CLI::App app("A causal model of an audio effect, in blocks as a callback has them.", "realtime");
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 the answer is no, 2 the request or a file is wrong.\n"
      "`realtime SUBCOMMAND --help` shows the options and an example.");
  realtime::Action chosen;
  realtime::add_run(app, chosen);
  realtime::add_train(app, chosen);
  realtime::add_signal(app, chosen);
  try {
    app.parse(argc, argv);
    return chosen();
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::cerr << "realtime: " << e.what() << "; try --help\n";
  } catch (const std::exception& e) {
    std::cerr << "realtime: " << e.what() << '\n';
  }
  return 2;
}

// sequin list: every model that the program knows.
#include "commands.hpp"
#include "models.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_cli {

static void add_list(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("list", "Every model: paper, purpose, abilities");
  cmd->footer("Example: sequin list --json");
  const auto json = std::make_shared<bool>(false);
  cmd->add_flag("--json", *json, "print a JSON list");
  cmd->callback([&chosen, json] {
    chosen = [json] {
      if (*json) {
        std::puts("[");
        bool first = true;
        for (const ModelInfo& m : known_models()) {
          std::printf(
              "%s  {\"name\": \"%s\", \"paper\": \"%s\", \"purpose\": \"%s\", "
              "\"streams\": %s, \"trains\": %s}",
              first ? "" : ",\n", m.name, m.paper, m.purpose, m.streams ? "true" : "false",
              m.trains ? "true" : "false");
          first = false;
        }
        std::puts("\n]");
        return kDone;
      }
      std::printf("%-26s %-8s %-7s %-52s %s\n", "model", "streams", "trains", "for", "paper");
      for (const ModelInfo& m : known_models())
        std::printf("%-26s %-8s %-7s %-52s %s\n", m.name, m.streams ? "yes" : "no",
                    m.trains ? "yes" : "no", m.purpose, m.paper);
      return kDone;
    };
  });
}

static const RegisterCommand list_command(0, add_list);

}  // namespace sequin_cli

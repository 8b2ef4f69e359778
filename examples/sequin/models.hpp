/// The models and blocks that the program can run, by the name in their config.json.
#pragma once

#include <span>
#include <string>

namespace sequin::inline SEQUIN_ABI {
class Config;
}

namespace sequin_cli {

/// A line of `sequin list`.
struct ModelInfo {
  const char* name;
  const char* paper;
  const char* purpose;
  bool streams;
  bool trains;
};

/// Every model and block, models first.
std::span<const ModelInfo> known_models();

}  // namespace sequin_cli

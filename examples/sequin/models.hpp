/// The models and blocks that the program can run, by the name in their config.json.
#pragma once

#include "case_io.hpp"

#include "sequin/io/config.hpp"

#include <filesystem>
#include <span>
#include <string>

namespace sequin_cli {

/// Runs one case: reads inputs from the file, loads weights from the folder, adds outputs.
template <class T>
using CaseFunction = void (*)(CaseIo<T>& io, const sequin::Config& config,
                              const std::filesystem::path& dir, const RunOptions& options);

/// A line of `sequin list` and how to run it.
struct ModelInfo {
  const char* name;
  const char* paper;
  const char* purpose;
  bool streams;
  bool trains;
  CaseFunction<float> run_float;
  CaseFunction<double> run_double;
};

/// Every model and block, models first.
std::span<const ModelInfo> known_models();

/// The model that a config asks for: by its "model" key, or by the keys that only that model's
/// official config has. Throws ConfigError.
const ModelInfo& model_of(const sequin::Config& config);

/// Makes a model known to `known_models`; a global of the file that runs it. A program can so be
/// built of the files of some models only (SEQUIN_PROGRAM_MODELS).
class RegisterModel {
 public:
  RegisterModel(const char* name, const char* paper, const char* purpose, bool streams, bool trains,
                CaseFunction<float> run_float, CaseFunction<double> run_double);
};

// The run function in float and in double, or in float alone to build in half the time.
#if SEQUIN_CLI_DOUBLE
#define SEQUIN_CLI_RUN(function) function<float>, function<double>
#else
#define SEQUIN_CLI_RUN(function) function<float>, nullptr
#endif

}  // namespace sequin_cli

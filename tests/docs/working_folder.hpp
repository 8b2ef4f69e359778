// A new folder in which the documents' programs find and leave their files.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/io/load_model.hpp"

#include "io/file_helpers.hpp"

#include <filesystem>
#include <string_view>

namespace sequin_test {

/// The working folder as long as it lives.
class WorkingFolder {
 public:
  WorkingFolder() : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder_.path());
  }
  WorkingFolder(const WorkingFolder&) = delete;
  WorkingFolder& operator=(const WorkingFolder&) = delete;
  ~WorkingFolder() { std::filesystem::current_path(before_); }

  /// A checkpoint of drawn weights.
  template <class Model>
  void put_model(const char* name, std::string_view config) const {
    std::filesystem::create_directories(folder_ / name);
    put(folder_ / name / "config.json", config);
    Model model(Model::Config::read(sequin::Config::load(folder_ / name / "config.json")));
    sequin::Generator generator(5);
    model.initialize(generator);
    sequin::save_weights(model, folder_ / name / "model.safetensors");
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path before_;
};

}  // namespace sequin_test

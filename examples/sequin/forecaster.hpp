/// A forecaster of whatever kind a folder holds, behind one call.
#pragma once

#include "sequin/io/load_model.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/train/windows.hpp"

#include <filesystem>

namespace sequin_cli {

/// iTransformer in float, with the time marks that the official code gives it.
class Forecaster {
 public:
  /// Throws ConfigError and LoadError.
  explicit Forecaster(const std::filesystem::path& dir)
      : model_(sequin::load_for_inference<sequin::ITransformer<float>>(dir)) {}

  sequin::Tensor<float, 3> operator()(const sequin::WindowBatch<float>& batch) const {
    return model_.forward(batch.x, batch.x_mark);
  }

 private:
  sequin::ITransformer<float> model_;
};

}  // namespace sequin_cli

/// The losses that `sequin train --loss` knows for forecasts.
#pragma once

#include "sequin/core/tensor.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace sequin_cli {

/// A loss by name, with what it is parameterised by.
struct ForecastLoss {
  std::string name = "mse";
  double huber_delta = 1, quantile = 0.5;

  void add_to(CLI::App* cmd) {
    cmd->add_option("--loss", name, "mse, mae, huber or quantile (mse); also what is validated")
        ->check(CLI::IsMember({"mse", "mae", "huber", "quantile"}));
    cmd->add_option("--huber-delta", huber_delta, "where --loss huber becomes linear (1)")
        ->check(CLI::PositiveNumber);
    cmd->add_option("--quantile", quantile, "the quantile that --loss quantile forecasts (0.5)")
        ->check(CLI::Range(0.0, 1.0));
  }

  /// The name with its number, as a resumed training compares it.
  std::string text() const;

  /// prediction (B, P, C or more, of which the last C count), target (B, P, C). Throws ShapeError.
  sequin::Tensor<float, 0> operator()(const sequin::Tensor<float, 3>& prediction,
                                      const sequin::Tensor<float, 3>& target) const;

  /// What the validation adds up: in double for mse, as the official protocol does.
  double criterion(const sequin::Tensor<float, 3>& prediction,
                   const sequin::Tensor<float, 3>& target) const;
};

}  // namespace sequin_cli

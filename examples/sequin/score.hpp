/// Scores of a forecaster on a series.
#pragma once

#include "case_io.hpp"
#include "series.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sequin_cli {

/// MSE, MAE and number of windows of the model in `dir` on the test part of a series, as in
/// the official code (scaled values, all windows).
struct TestScores {
  double mse = 0, mae = 0;
  index_t windows = 0;
};
TestScores score_forecaster(const std::filesystem::path& dir, const std::string& csv,
                            const SeriesOptions& options);

/// Adds output.test_mse, test_mae and test_windows for a case that records them.
void append_test_scores(const std::filesystem::path& dir, const std::string& csv,
                        std::vector<OwnedTensor>& outputs);

/// True for the names that append_test_scores adds.
bool is_test_score(std::string_view name);

}  // namespace sequin_cli

// Windows, marks, scaler and scores that the official data loader makes of ETTh1 and ETTm1. The
// files are not part of the project: SEQUIN_SHARED names a folder with data/ett and golden/ett.
#include "sequin/train/evaluate.hpp"
#include "sequin/train/forecast_data.hpp"

#include "support/catch.hpp"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace sequin;

namespace {

// "2016-07-01 00:15:00,5.76,..."; read apart from io/ so that neither hides a mistake of the other.
Series read_series(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  Series s;
  for (std::size_t at = line.find(','); at != std::string::npos;) {
    const std::size_t next = line.find(',', at + 1);
    s.columns.push_back(line.substr(at + 1, next - at - 1));
    at = next;
  }
  std::vector<double> values;
  while (std::getline(file, line) && !line.empty()) {
    const auto number = [&](std::size_t at, std::size_t n) {
      return std::stoi(line.substr(at, n));
    };
    const std::chrono::sys_days day = std::chrono::year(number(0, 4)) /
                                      std::chrono::month(static_cast<unsigned>(number(5, 2))) /
                                      std::chrono::day(static_cast<unsigned>(number(8, 2)));
    s.times.push_back(day.time_since_epoch().count() * std::int64_t{86400} + number(11, 2) * 3600 +
                      number(14, 2) * 60 + number(17, 2));
    const char* at = line.data() + line.find(',');
    const char* const end = line.data() + line.size();
    while (at < end && *at == ',') {
      double v = 0;
      at = std::from_chars(at + 1, end, v).ptr;
      values.push_back(v);
    }
  }
  const auto rows = static_cast<index_t>(s.times.size());
  s.values = Tensor<double, 2>({rows, static_cast<index_t>(s.columns.size())}, values);
  return s;
}

// One entry of a safetensors file that has no blanks in its header.
template <class T>
std::vector<T> read_entry(const std::string& file, const std::string& name) {
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  std::size_t at = file.find("\"" + name + "\"");
  REQUIRE(at < header + 8);
  at = file.find("\"data_offsets\"", at);
  at = file.find('[', at) + 1;
  const std::size_t begin = std::stoul(file.substr(at));
  const std::size_t end = std::stoul(file.substr(file.find(',', at) + 1));
  std::vector<T> values((end - begin) / sizeof(T));
  std::memcpy(values.data(), file.data() + 8 + header + begin, end - begin);
  return values;
}

struct Case {
  const char* folder;
  const char* csv;
  WindowOptions options;
  std::vector<std::pair<Part, std::vector<index_t>>> windows;
};

void check_case(const Case& c) {
  const char* const shared = std::getenv("SEQUIN_SHARED");
  if (shared == nullptr) {
    WARN("skipped: SEQUIN_SHARED is not set (a folder with data/ett and golden/ett)");
    return;
  }
  std::ifstream stream(std::string(shared) + "/golden/ett/" + c.folder + "/io.safetensors",
                       std::ios::binary);
  const std::string golden{std::istreambuf_iterator<char>(stream), {}};
  REQUIRE(golden.size() > 8);
  const ForecastData<float> data(read_series(std::string(shared) + "/data/ett/" + c.csv),
                                 c.options);
  CHECK(data.scaler().mean == read_entry<double>(golden, "output.scaler_mean"));
  CHECK(data.scaler().std == read_entry<double>(golden, "output.scaler_std"));

  const index_t pred_len = c.options.pred_len;
  WindowBatch<float> batch;
  for (const auto& [part, numbers] : c.windows) {
    const std::string name = part == Part::kTrain ? "train" : part == Part::kVal ? "val" : "test";
    const std::string prefix = "output." + name + ".";
    const WindowSet<float> set = data.part(part);
    CHECK(set.count() == read_entry<std::int64_t>(golden, prefix + "windows").at(0));
    for (const index_t i : numbers) {
      set.fetch(std::vector{i}, batch);
      const auto equals = [&](const Tensor<float, 3>& found, const std::string& entry) {
        INFO(prefix << entry << i);
        const auto want = read_entry<float>(golden, prefix + entry + std::to_string(i));
        CHECK(std::equal(want.begin(), want.end(), found.span().begin(), found.span().end()));
      };
      equals(batch.x, "x.");
      equals(batch.x_mark, "x_mark.");
      equals(batch.y, "y.");
      equals(batch.y_mark, "y_mark.");
    }
    const auto scores_as = [&](const char* forecast, auto&& predict) {
      INFO(prefix << forecast);
      const ForecastScore score = evaluate(set, 256, predict);
      const double mse = read_entry<double>(golden, prefix + forecast + ".mse").at(0);
      const double mae = read_entry<double>(golden, prefix + forecast + ".mae").at(0);
      // numpy's float32 differences, squares and pairwise mean.
      CHECK(score.mse() == Approx(mse).epsilon(3e-7));
      CHECK(score.mae() == Approx(mae).epsilon(3e-7));
    };
    scores_as("zero", [](const auto& b) { return Tensor<float, 3>(b.target.shape()); });
    scores_as("repeat_last", [&](const auto& b) { return repeat_last(b.x, pred_len); });
    scores_as("repeat_mean", [&](const auto& b) { return repeat_mean(b.x, pred_len); });
  }
}

}  // namespace

TEST_CASE("ForecastData: ETTh1 windows and scores are the official loader's", "[train]") {
  WindowOptions o;
  o.split = SplitRule::kEttHour;
  check_case(
      {"etth1_96_96",
       "ETTh1.csv",
       o,
       {{Part::kTrain, {0, 1, 8448}}, {Part::kVal, {0, 2784}}, {Part::kTest, {0, 1000, 2784}}}});
}

TEST_CASE("ForecastData: ETTm1 windows and scores are the official loader's", "[train]") {
  WindowOptions o;
  o.split = SplitRule::kEttMinute;
  o.pred_len = 48;
  o.embed = TimeEncoding::kFixed;
  o.freq = 't';
  check_case({"ettm1_96_48_fixed",
              "ETTm1.csv",
              o,
              {{Part::kTrain, {0, 34416}}, {Part::kVal, {0}}, {Part::kTest, {123, 11472}}}});
}

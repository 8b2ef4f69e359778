#include "sequin/train/metrics_log.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <random>
#include <string>

using namespace sequin;

namespace {

struct File {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("sequin_log_" + std::to_string(std::random_device()()));
  ~File() { std::filesystem::remove(path); }
};

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

LoggedStep at(index_t step) { return {step, (step - 1) / 4 + 1, 1.0 / double(step), 0.1, 0, 5, 6}; }

void write_eight(MetricsLog& log) {
  for (index_t step = 2; step <= 8; step += 2) {
    log.step(at(step));
    if (step % 4 == 0) log.epoch({step / 4, 0.5, 0.25, 0.1, true}, step, 7);
  }
  log.sync();
}

}  // namespace

TEST_CASE("metrics log: a line a step interval and one an epoch", "[train]") {
  const File file;
  {
    MetricsLog log(file.path, 0, 0);
    write_eight(log);
    const std::string begin =
        "{\"step\": 2, \"epoch\": 1, \"loss\": 0.5, \"learning_rate\": 0.1, "
        "\"examples_per_second\": 5, \"seconds\": 6}\n"
        "{\"step\": 4, \"epoch\": 1, \"loss\": 0.25, \"learning_rate\": 0.1, "
        "\"examples_per_second\": 5, \"seconds\": 6}\n"
        "{\"epoch\": 1, \"step\": 4, \"train_loss\": 0.5, \"val_loss\": 0.25, "
        "\"learning_rate\": 0.1, \"best\": true, \"seconds\": 7}\n";
    CHECK(contents(file.path).substr(0, begin.size()) == begin);
  }
  const auto steps = MetricsLog::read_steps(file.path);
  REQUIRE(steps.size() == 4);
  CHECK(steps[2].step == 6);
  CHECK(steps[2].epoch == 2);
  CHECK(steps[2].loss == 1.0 / 6);
  const MetricsLog again(file.path, 0, 0);  // a new training begins with an empty file
  CHECK(contents(file.path).empty());
}

TEST_CASE("metrics log: a resumed one drops what the checkpoint does not know", "[train]") {
  const File file;
  const auto lines_after = [&](index_t steps, index_t epochs, const std::string& torn) {
    {
      MetricsLog log(file.path, 0, 0);
      write_eight(log);
    }
    std::ofstream(file.path, std::ios::app) << torn;
    {
      MetricsLog log(file.path, steps, epochs);
      log.step(at(steps + 1));
    }
    std::string seen;
    std::ifstream in(file.path);
    for (std::string line; std::getline(in, line);)
      seen += line.substr(1, line.find(',') - 1) + " ";
    return seen;
  };
  CHECK(lines_after(5, 1, "") == "\"step\": 2 \"step\": 4 \"epoch\": 1 \"step\": 6 ");
  // The last step of an epoch whose validation is not in the checkpoint.
  CHECK(lines_after(4, 0, "") == "\"step\": 2 \"step\": 4 \"step\": 5 ");
  // Half a line, as a kill leaves it, even of a step that counts.
  CHECK(lines_after(8, 2, "{\"step\": 8, \"epo") ==
        "\"step\": 2 \"step\": 4 \"epoch\": 1 \"step\": 6 \"step\": 8 \"epoch\": 2 \"step\": 9 ");
}

TEST_CASE("metrics log: what is no number stands as null and reads as NaN", "[train]") {
  const File file;
  MetricsLog log(file.path, 0, 0);
  LoggedStep s = at(3);
  s.loss = std::numeric_limits<double>::infinity();
  log.step(s);
  CHECK(contents(file.path).find("\"loss\": null") != std::string::npos);
  REQUIRE(MetricsLog::read_steps(file.path).size() == 1);
  CHECK(std::isnan(MetricsLog::read_steps(file.path)[0].loss));
}

TEST_CASE("metrics log: one that cannot be written is named", "[train]") {
  CHECK_THROWS_AS(MetricsLog("/proc/none/log.jsonl", 0, 0), LoadError);
  MetricsLog nothing;
  nothing.step(at(1));
  nothing.sync();
}

// The series file of examples/pretrain: what is read and what is refused.
#include "pretrain/named_series.hpp"
#include "support/catch.hpp"

using namespace sequin_pretrain;

namespace {

std::filesystem::path written(const std::string& name, const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / ("sequin_series_" + name + ".csv");
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

const std::string kHeader = "part,domain,name,period,values\n";

std::string refusal(const std::string& name, const std::string& text) {
  const auto path = written(name, text);
  try {
    read_series_file(path, "train");
  } catch (const sequin::LoadError& e) {
    const std::string what = e.what();
    REQUIRE(what.starts_with(path.string()));
    return what.substr(path.string().size());
  }
  return "read";
}

}  // namespace

TEST_CASE("series file: the series of one part are read, gaps included") {
  const auto path = written("good", kHeader +
                                        "train,energy,a/b,12,1 2.5 nan -3e2\n"
                                        "test,health,c,1,7 8 9\n"
                                        "train,nature,d,4,0 1\n");
  const auto train = read_series_file(path, "train");
  REQUIRE(train.size() == 2);
  CHECK(train[0].name == "a/b");
  CHECK(train[0].domain == "energy");
  CHECK(train[0].period == 12);
  REQUIRE(train[0].values.size() == 4);
  CHECK(train[0].values[1] == 2.5f);
  CHECK(std::isnan(train[0].values[2]));
  CHECK(train[0].values[3] == -300.0f);
  CHECK(train[1].values == std::vector<float>{0, 1});
  CHECK(read_series_file(path, "test").at(0).values == std::vector<float>{7, 8, 9});
}

TEST_CASE("series file: what is wrong is named with its line") {
  CHECK(refusal("header", "a,b\ntrain,x,y,1,1 2\n").starts_with(":1: expected 'part,domain,"));
  CHECK(refusal("fields", kHeader + "train,x,y,1,1 2\ntrain,x,y\n") ==
        ":3: expected five fields separated by commas");
  CHECK(refusal("part", kHeader + "learn,x,y,1,1 2\n") ==
        ":2: part: expected train, validation or test, found 'learn'");
  CHECK(refusal("period", kHeader + "train,x,y,0,1 2\n") ==
        ":2: period: expected 1 to 100000, found '0'");
  CHECK(refusal("period_text", kHeader + "train,x,y,1.5,1 2\n") ==
        ":2: period: expected 1 to 100000, found '1.5'");
  CHECK(refusal("value", kHeader + "train,x,y,1,1 2\ntrain,x,y,1,1 two 3\n") ==
        ":3: value 2: expected a number or nan, found 'two'");
  CHECK(refusal("huge", kHeader + "train,x,y,1,1 1e999\n") ==
        ":2: value 2: expected a number or nan, found '1e999'");
  CHECK(refusal("two_spaces", kHeader + "train,x,y,1,1  2\n") ==
        ":2: value 2: expected a number or nan, found ''");
  CHECK(refusal("short", kHeader + "train,x,y,1,1\n") ==
        ":2: expected two values or more, found 1");
  CHECK(refusal("none", kHeader + "test,x,y,1,1 2\n") ==
        ": expected series of part train, found none");
  CHECK_THROWS_AS(read_series_file("no/such/file.csv", "train"), sequin::LoadError);
}

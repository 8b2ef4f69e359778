#include "sequin/io/csv.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <clocale>
#include <cmath>
#include <limits>

using namespace sequin;
using namespace sequin_test;

namespace {

CsvTable table_of(std::string_view text, CsvOptions::Missing missing = CsvOptions::Missing::error) {
  const TemporaryFolder folder;
  return read_csv(put(folder / "t.csv", text), CsvOptions{missing});
}
/// The message without the folder.
std::string refusal(std::string_view text,
                    CsvOptions::Missing missing = CsvOptions::Missing::error) {
  const std::string what = message_of<LoadError>([&] { table_of(text, missing); });
  const auto at = what.find("t.csv");
  return at == std::string::npos ? what : what.substr(at);
}

using Names = std::vector<std::string>;
using Values = std::vector<double>;

}  // namespace

TEST_CASE("csv: dates and numbers come out as they are written") {
  const CsvTable t =
      table_of("date,HUFL,OT\n2016-07-01 00:00:00,5.827,-30.5\n2016-07-01 01:00:00,1e-3,+7\n");
  CHECK(t.columns == Names{"HUFL", "OT"});
  CHECK(t.times == Names{"2016-07-01 00:00:00", "2016-07-01 01:00:00"});
  CHECK(t.values == Values{5.827, -30.5, 1e-3, 7});
  CHECK(t.rows() == 2);
}

TEST_CASE("csv: line ends, byte order mark, quotes and spaces do not matter") {
  for (const char* text :
       {"date,a,b\n1,2,3\n4,5,6", "date,a,b\r\n1,2,3\r\n4,5,6\r\n\r\n\n",
        "\xef\xbb\xbf"
        "date,a,b\n1,2,3\n4,5,6\n\n",
        "\"date\",\"a\",\"b\"\n\"1\",2,\"3\"\n4,\"5\",6\n", " date , a,b \n1, 2 ,3\n4,5,6 \n"}) {
    INFO(text);
    const CsvTable t = table_of(text);
    CHECK(t.columns == Names{"a", "b"});
    CHECK(t.times == Names{"1", "4"});
    CHECK(t.values == Values{2, 3, 5, 6});
  }
  CHECK(table_of("\"a,\"\"x\"\"\",b\n1,2\n").columns == Names{"a,\"x\"", "b"});
}

TEST_CASE("csv: a first column that holds numbers is one of them, unless it is the date") {
  CHECK(table_of("x,y\n1,2\n").columns == Names{"x", "y"});
  CHECK(table_of("x,y\n1,2\n").times.empty());
  CHECK(table_of("x,y\none,2\n").columns == Names{"y"});
  CHECK(table_of("date,y\n20160701,2\n").times == Names{"20160701"});
  CHECK(table_of("date,y\n").rows() == 0);
  CHECK(table_of("date\n2016\n2017\n").rows() == 2);
  CHECK(table_of("date,y\n1,2\n1,3\n").rows() == 2);  // the same time twice is not its business
}

TEST_CASE("csv: a cell that is no number is named by line and column") {
  for (const char* cell : {"junk", "1.5.2", "1e400", "-1e400", "inf", "-Infinity", "0x10", "1 2",
                           "1_000", "--1", "+-1", "+", ".", "1e", "nan(1)", "\"\"", ""}) {
    INFO(cell);
    const std::string what = refusal(std::string("date,HUFL,OT\na,1,2\nb,1,") + cell + "\n");
    CHECK(contains(what, "t.csv:3: column 'OT': expected a number, found '"));
  }
  CHECK(contains(refusal("date,OT\na,\"1,5\"\n"),
                 "t.csv:2: column 'OT': expected a number, "
                 "found '1,5'"));
  CHECK(contains(refusal("date,O\x1bT\na,x\x1b\n"), "column 'O\\x1bT'"));
}

TEST_CASE("csv: empty cells and nan are errors or NaN, as asked") {
  const std::string text = "date,a,b\nx,,1\ny,nan,2\nz,NaN,NA\n";
  CHECK(contains(refusal(text), "t.csv:2: column 'a': expected a number, found ''"));
  const CsvTable t = table_of(text, CsvOptions::Missing::nan);
  CHECK(t.rows() == 3);
  CHECK(std::isnan(t.values[0]));
  CHECK(t.values[1] == 1);
  CHECK(std::isnan(t.values[2]));
  CHECK(std::isnan(t.values[5]));
  CHECK(contains(refusal("date,a\nx,junk\n", CsvOptions::Missing::nan), "found 'junk'"));
}

TEST_CASE("csv: rows of another length are refused") {
  CHECK(refusal("date,a,b\nx,1,2\ny,1\n") == "t.csv:3: expected 3 cells, found 2");
  CHECK(refusal("date,a,b\nx,1,2,\n") == "t.csv:2: expected 3 cells, found 4");
  CHECK(refusal("date,a\nx,1,5\n") == "t.csv:2: expected 2 cells, found 3");  // decimal comma
  CHECK(contains(refusal("date;a\nx,1\n"), "expected 1 cells, found 2"));
  CHECK(contains(refusal("date,a\nx,1\n\ny,2\n"), "t.csv:4: expected no empty line"));
  CHECK(contains(refusal("a\n1\n\n2\n"), "t.csv:4: expected no empty line"));
}

TEST_CASE("csv: what is no table of text is refused") {
  CHECK(contains(refusal(""), "found an empty one"));
  CHECK(contains(refusal("\n\r\n\n"), "expected a header row, found nothing"));
  CHECK(contains(refusal("\xef\xbb\xbf"), "expected a header row, found nothing"));
  CHECK(contains(refusal("1,2\n3,4\n"), "t.csv:1: expected a header row with names"));
  CHECK(
      contains(refusal(std::string_view("date,a\nx,1\0\n", 12)), "t.csv:2: expected text, found"));
  CHECK(contains(refusal(std::string_view("\xff\xfe"
                                          "d\0,\0",
                                          6)),
                 "a NUL byte"));
  CHECK(contains(refusal("date,a\rx,1\r"), "found a CR within one"));
  CHECK(contains(refusal("date,a\n\"x,1\n"), "t.csv:2: expected a closing quote"));
  CHECK(contains(refusal("date,a\n\"x\"y,1\n"), "t.csv:2: expected a closing quote"));
  CHECK(contains(refusal("date,a\nx,\"1\ny,2\n"), "t.csv:2: expected a closing quote"));
}

TEST_CASE("csv: every truncation is a table or refused") {
  const std::string good = "\"date\",a,\"b\"\"\"\r\nx,1.5,-2e1\r\n\"y\",2,3\r\n";
  for (std::size_t n = 0; n <= good.size(); ++n) {
    const std::string what = refusal(good.substr(0, n));
    CHECK((what == "nothing thrown" || what.starts_with("t.csv")));
  }
}

TEST_CASE("csv: what was written is read back, every bit of it") {
  const TemporaryFolder folder;
  constexpr double inf = std::numeric_limits<double>::infinity();
  const Names columns = {"a", "b,\"c\"", " d "};
  const Names times = {"2016-07-01 00:00:00", "x,\"y\""};
  const Values values = {
      0.1, -0.0, std::nextafter(1.0, 2.0), 1e308, std::numeric_limits<double>::min(), std::nan("")};
  write_csv(folder / "t.csv", columns, times, values);
  CHECK(folder.count() == 1);
  CHECK(contents(folder / "t.csv").starts_with("date,a,\"b,\"\"c\"\"\",\" d \"\n2016-07-01 00:00"));
  const CsvTable t = read_csv(folder / "t.csv", CsvOptions{CsvOptions::Missing::nan});
  CHECK(t.columns == columns);
  CHECK(t.times == times);
  REQUIRE(t.values.size() == values.size());
  for (std::size_t i = 0; i + 1 < values.size(); ++i) CHECK(t.values[i] == values[i]);
  CHECK(std::signbit(t.values[1]));
  CHECK(std::isnan(t.values.back()));
  write_csv(folder / "u.csv", {"a"}, {}, {1, -inf});
  CHECK(contents(folder / "u.csv") == "a\n1\n-inf\n");
}

TEST_CASE("csv: texts that look like something else are read back") {
  const TemporaryFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  write_csv(folder / "t.csv", {mark + "a", ""}, {}, {1, 2});
  const CsvTable marked = read_csv(folder / "t.csv");
  CHECK(marked.columns == Names{mark + "a", ""});
  CHECK(marked.values == Values{1, 2});
  write_csv(folder / "t.csv", {}, {"", "2016"}, {});
  CHECK(read_csv(folder / "t.csv").times == Names{"", "2016"});
  write_csv(folder / "t.csv", {""}, {}, {1});
  CHECK(read_csv(folder / "t.csv").columns == Names{""});
}

TEST_CASE("csv: a file larger than the limit is refused") {
  const TemporaryFolder folder;
  put(folder / "t.csv", "a\n1\n");
  CsvOptions options;
  options.bytes = 4;
  CHECK(read_csv(folder / "t.csv", options).rows() == 1);
  options.bytes = 3;
  CHECK(contains(message_of<LoadError>([&] { read_csv(folder / "t.csv", options); }),
                 "t.csv: expected at most 3 bytes, found 4"));
}

TEST_CASE("csv: numbers that do not fill their rows are not written") {
  const TemporaryFolder folder;
  put(folder / "t.csv", "old");
  const auto refused = [&](const Names& columns, const Names& times, const Values& values) {
    const std::string what =
        message_of<LoadError>([&] { write_csv(folder / "t.csv", columns, times, values); });
    CHECK(contents(folder / "t.csv") == "old");
    return what;
  };
  CHECK(contains(refused({"a", "b"}, {}, {1, 2, 3}), "expected rows of 2 numbers, found 3"));
  CHECK(contains(refused({"a"}, {"x"}, {1, 2}), "for 1 times"));
  CHECK(contains(refused({"a\nb"}, {}, {1}), "control characters"));
}

TEST_CASE("csv: a decimal comma in the locale changes nothing") {
  const std::string old = std::setlocale(LC_NUMERIC, nullptr);
  bool set = false;
  for (const char* name : {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8"})
    set = set || std::setlocale(LC_NUMERIC, name) != nullptr;
  CHECK(table_of("date,a\nx,1.5\n").values == Values{1.5});
  const TemporaryFolder folder;
  write_csv(folder / "t.csv", {"a"}, {}, {1.5});
  CHECK(contents(folder / "t.csv") == "a\n1.5\n");
  std::setlocale(LC_NUMERIC, old.c_str());
  if (!set) WARN("no locale with a decimal comma is installed");
}

TEST_CASE("csv: two and a half megabytes take no noticeable time") {
  const TemporaryFolder folder;
  std::string text = "date,a,b,c,d,e,f,g\n";
  while (text.size() < 2'500'000)
    text +=
        "2016-07-01 00:00:00,5.827000141143799,2.009,1.5989999771118164,0.462,4.203,1.34,30.5\n";
  put(folder / "t.csv", text);
  const auto start = std::chrono::steady_clock::now();
  const CsvTable t = read_csv(folder / "t.csv");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(t.values.size() == t.rows() * 7);
  // Takes 0.02 s optimised; sanitizers and a loaded machine are allowed for.
  CHECK(seconds.count() < 2);
}

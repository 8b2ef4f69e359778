#include "sequin/io/config.hpp"

#include "sequin/io/json_writer.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <cmath>
#include <limits>

using namespace sequin;
using namespace sequin_test;

namespace {

Config config(std::string_view text) { return Config::parse(text, "f"); }
std::string parse_refusal(std::string_view text) {
  return message_of<LoadError>([&] { config(text); });
}
std::string int_refusal(const std::string& value) {
  const Config c = config("{\"k\":" + value + "}");
  return message_of<ConfigError>([&] { c.get_int("k", 1, 4096); });
}

}  // namespace

TEST_CASE("config: values come out as they are written") {
  const Config c = config(
      R"({"i":7,"neg":-3,"d":0.5,"e":1e-5,"t":true,"one":1,"zero":0,"s":"a\u00e9","n":null,)"
      R"("list":[1,2],"empty":[],"o":{"x":1},"inf":Infinity,"minus":[-Infinity],"m":-Infinity})");
  CHECK(c.get_int("i", 1, 8) == 7);
  CHECK(c.get_int("neg", 0, -3, 0) == -3);
  CHECK(c.get_double("d", 0.0, 1.0) == 0.5);
  CHECK(c.get_double("e", 0.0) == 1e-5);
  CHECK(c.get_double("i", 0.0) == 7.0);
  CHECK(c.get_double("inf", 0.0) == std::numeric_limits<double>::infinity());
  CHECK(c.get_double("m", 0.0) == -std::numeric_limits<double>::infinity());
  CHECK(c.get_bool("t", false));
  CHECK(c.get_bool("one", false));
  CHECK(!c.get_bool("zero", true));
  CHECK(c.get_string("s") == "a\xc3\xa9");
  CHECK(c.get_int_list("list") == std::vector<index_t>{1, 2});
  CHECK(c.get_int_list("empty").empty());
  CHECK(c.section("o").get_int("x", 1, 1) == 1);
  CHECK(c.has("i"));
  CHECK(c.is_string("s"));
  CHECK(!c.is_string("i"));
  CHECK(!c.is_string("inf"));
  CHECK(c.keys().size() == 15);
  CHECK(c.label() == "f");
}

TEST_CASE("config: an absent key and null give the default") {
  const Config c = config(R"({"n":null})");
  for (const char* key : {"n", "absent"}) {
    CHECK(!c.has(key));
    CHECK(c.get_int(key, 5, 1, 8) == 5);
    CHECK(c.get_double(key, 0.5) == 0.5);
    CHECK(c.get_bool(key, true));
    CHECK(c.get_string(key, "x") == "x");
    CHECK(c.get_int_list(key).empty());
    CHECK(c.section(key).keys().empty());
    CHECK(message_of<ConfigError>([&] { c.get_int(key, 1, 9); }) ==
          "f: " + std::string(key) + ": expected an integer 1 to 9, found nothing");
    CHECK(contains(message_of<ConfigError>([&] { c.get_double(key, 0.0, 1.0); }), "found nothing"));
    CHECK(contains(message_of<ConfigError>([&] { c.get_string(key); }), "found nothing"));
  }
  CHECK(c.is_null("n"));
  CHECK(!c.is_null("absent"));
}

TEST_CASE("config: what is no integer of the range is refused and shown") {
  CHECK(int_refusal("8.5") == "f: k: expected an integer 1 to 4096, found 8.5");
  CHECK(int_refusal("8.0") == "f: k: expected an integer 1 to 4096, found 8.0");
  CHECK(contains(int_refusal("-8"), "found -8"));
  CHECK(contains(int_refusal("0"), "found 0"));
  CHECK(contains(int_refusal("4097"), "found 4097"));
  CHECK(contains(int_refusal("1000000000"), "found 1000000000"));
  CHECK(contains(int_refusal("9223372036854775808"), "found 9223372036854775808"));
  CHECK(contains(int_refusal("18446744073709551617"), "found 1.8446744073709552e+19"));
  CHECK(contains(int_refusal("-9223372036854775809"), "found -9.22"));
  CHECK(contains(int_refusal("\"8\""), "found \"8\""));
  CHECK(contains(int_refusal("true"), "found true"));
  CHECK(contains(int_refusal("[8]"), "found [8]"));
  CHECK(contains(int_refusal("NaN"), "found NaN"));
  CHECK(contains(int_refusal("-Infinity"), "found -Infinity"));
}

TEST_CASE("config: other types are refused") {
  const Config c = config(R"({"s":"x","d":2.5,"n":NaN,"l":[1,2.5],"o":{"y":{"z":"w"}},"two":2})");
  const auto refused = [&](auto f) { return message_of<ConfigError>(f); };
  CHECK(refused([&] { c.get_double("s", 0.0); }) == "f: s: expected a number, found \"x\"");
  CHECK(refused([&] { c.get_double("d", 0.0, 1.0); }) ==
        "f: d: expected a number 0.0 to 1.0, found 2.5");
  CHECK(contains(refused([&] { c.get_double("n", 0.0); }), "found NaN"));
  CHECK(contains(refused([&] { c.get_string("n"); }), "expected a text, found NaN"));
  CHECK(contains(refused([&] { c.get_bool("two", true); }), "expected true, false, 1 or 0"));
  CHECK(contains(refused([&] { c.get_bool("s", true); }), "expected true, false, 1 or 0"));
  CHECK(contains(refused([&] { c.get_string("two", ""); }), "expected a text, found 2"));
  CHECK(contains(refused([&] { c.get_int_list("l"); }), "found 2.5"));
  CHECK(contains(refused([&] { c.get_int_list("d"); }), "expected a list of integers"));
  CHECK(contains(refused([&] { c.section("s"); }), "expected an object"));
  CHECK(refused([&] { c.section("o").section("y").get_int("z", 1, 2); }) ==
        "f: o: y: z: expected an integer 1 to 2, found \"w\"");
}

TEST_CASE("config: a key that nobody knows is named") {
  const Config c = config(R"({"a":1,"b\u001b":2})");
  c.reject_unknown({"a", "b\x1b"});
  CHECK(message_of<ConfigError>([&] {
          c.reject_unknown({"a", "c"});
        }) == "f: expected one of a, c, found 'b\\x1b'");
}

TEST_CASE("config: what is no JSON object is refused") {
  for (const char* text : {"",
                           " ",
                           "[]",
                           "1",
                           "null",
                           "\"x\"",
                           "{",
                           "{\"a\"}",
                           "{\"a\":1,}",
                           "{\"a\":1}}",
                           "{'a':1}",
                           "{\"a\":01}",
                           "{\"a\":Nan}",
                           "{\"a\":+1}",
                           "{\"a\":\"\\x\"}",
                           "{\"a\":\"\xff\"}",
                           "{\"a\":1e400}",
                           "{NaN:1}",
                           "{\"a\":NaNNaN}",
                           "{\"a\":--Infinity}",
                           "\xff\xfe{"}) {
    INFO(text);
    CHECK(contains(parse_refusal(text), "f: "));
  }
  CHECK(parse_refusal("\xef\xbb\xbf{}") == "nothing thrown");
  CHECK(config(R"({"a":"NaN \" Infinity"})").get_string("a") == "NaN \" Infinity");
}

TEST_CASE("config: texts cannot pass for infinity or NaN") {
  const Config c =
      config(R"({"a":"\u0001NaN","b":"\u0001\u0001Infinity","c":[Infinity],"d":"NaN"})");
  CHECK(c.get_string("a") == "\x01NaN");
  CHECK(c.get_string("b") == "\x01\x01Infinity");
  CHECK(c.get_string("d") == "NaN");
  std::string row;
  for (int i = 0; i < 100'000; ++i) row += "\\u0001";
  CHECK(contains(parse_refusal("{\"a\":\"" + row + "\"}"), "a row of control characters"));
}

TEST_CASE("config: every truncation is refused") {
  const std::string good = R"({"a":[1,-2.5e3,{"b":null}],"c":"\u00e9\"","d":-Infinity,"e":true})";
  REQUIRE(parse_refusal(good) == "nothing thrown");
  for (std::size_t n = 0; n < good.size(); ++n) {
    INFO(n);
    CHECK(parse_refusal(std::string(good.substr(0, n))) != "nothing thrown");
  }
}

TEST_CASE("config: a key that is there twice is refused at any depth") {
  CHECK(contains(parse_refusal(R"({"a":1,"a":1})"), "f: 'a': expected once, found twice"));
  CHECK(contains(parse_refusal(R"({"a":1,"\u0061":2})"), "'a'"));
  CHECK(contains(parse_refusal(R"({"x":[{"a":1,"a":1}]})"), "'a'"));
  CHECK(parse_refusal(R"({"a":{"a":1},"b":{"a":1}})") == "nothing thrown");
}

TEST_CASE("config: nesting and size are bounded") {
  std::string deep = "{\"a\":";
  deep.append(100'000, '[');
  CHECK(contains(parse_refusal(deep), "nesting of at most 64"));
  CHECK(contains(parse_refusal("{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}"),
                 "nesting"));
  CHECK(parse_refusal("{\"a\":" + std::string(63, '[') + std::string(63, ']') + "}") ==
        "nothing thrown");
  CHECK(contains(parse_refusal(std::string((std::size_t{16} << 20) + 1, ' ')), "at most 16777216"));
}

TEST_CASE("config: the limits can be asked to be others") {
  const auto refused = [](std::string_view text, const JsonLimits& limits) {
    return message_of<LoadError>([&] { Config::parse(text, "f", limits); });
  };
  CHECK(refused("{\"a\":1}", {7, 64}) == "nothing thrown");
  CHECK(refused("{\"a\":1}", {6, 64}) == "f: expected at most 6 bytes of JSON, found 7");
  CHECK(refused("{\"a\":[1]}", {16, 1}) == "f: expected nesting of at most 1, found more");
  const std::string large(std::size_t{17} << 20, ' ');
  CHECK(refused("{}" + large, {std::size_t{18} << 20, 64}) == "nothing thrown");
}

TEST_CASE("config: a NUL byte does not hide what follows it") {
  CHECK(parse_refusal(std::string_view("{}\0 x", 5)) ==
        "f: expected JSON, found a NUL byte at byte 2");
  CHECK(contains(parse_refusal(std::string_view("{\0}", 3)), "NUL byte at byte 1"));
  CHECK(config(R"({"a":"\u0000"})").get_string("a").size() == 1);
}

TEST_CASE("config: a hundred thousand keys are read quickly") {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":1";
  const auto start = std::chrono::steady_clock::now();
  CHECK(config(text + "}").has("k99999"));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  // Takes 0.1 s; quadratic time would be a minute. Sanitizers and a loaded machine are allowed for.
  CHECK(seconds.count() < 5);
}

TEST_CASE("config: a file that is not there is named") {
  const TemporaryFolder folder;
  CHECK(contains(message_of<LoadError>([&] { Config::load(folder / "config.json"); }),
                 "config.json: expected a file, found none"));
  put(folder / "config.json", "{\"a\":1}");
  const Config c = Config::load(folder / "config.json");
  CHECK(c.text() == "{\"a\":1}");
  CHECK(c.label() == (folder / "config.json").string());
}

TEST_CASE("json writer: what it writes is read back the same") {
  JsonWriter w;
  w.begin_object().key("d").value(0.1).key("i").value(index_t{9007199254740993});
  w.key("b").value(true).key("s\"\n").value("\x01\\\xc3\xa9").key("n").null();
  w.key("nan").value(std::nan("")).key("l").begin_array().value(1).value(2).end_array();
  w.key("o").begin_object().end_object().key("z").value(1e300).end_object();
  const Config c = config(w.text());
  CHECK(c.get_double("d", 0.0) == 0.1);
  CHECK(c.get_int("i", 0, std::numeric_limits<index_t>::max()) == 9007199254740993);
  CHECK(c.get_bool("b", false));
  CHECK(c.get_string("s\"\n") == "\x01\\\xc3\xa9");
  CHECK(c.is_null("n"));
  CHECK(c.is_null("nan"));
  CHECK(c.get_int_list("l") == std::vector<index_t>{1, 2});
  CHECK(c.section("o").keys().empty());
  CHECK(c.get_double("z", 0.0) == 1e300);
}

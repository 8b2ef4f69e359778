#include "sequin/io/number_text.hpp"

#include "support/catch.hpp"

#include "sequin/core/random.hpp"

#include <cstring>
#include <limits>

using namespace sequin;

namespace {

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

template <class T>
void compare(T value) {
  const std::string text = detail::shortest_text(value);
  CAPTURE(text);
  CHECK(detail::shortest_c_text(value) == text);
  T back{}, c_back{};
  CHECK(detail::read_number(text, back) == text.size());
  CHECK(detail::read_c_number(text, c_back) == text.size());
  CHECK(same_bits(back, value));
  CHECK(same_bits(c_back, value));
}

}  // namespace

TEST_CASE("number_text: the library's functions and C's write and read the same numbers") {
  Generator generator(1);
  for (int i = 0; i < 2000; ++i) {
    const double uniform = generator.normal<double>();
    compare(uniform);
    compare(static_cast<float>(uniform));
    compare(uniform * std::pow(10.0, i % 600 - 300));
    compare(std::round(uniform * std::pow(10.0, i % 15)));
    compare(std::round(uniform * 1000) / 1000);
  }
  using Limits = std::numeric_limits<double>;
  for (const double v :
       {0.0, -0.0, 1.0, -1.0, 0.1, 1e5, 100000.5, 1e-5, 0.00012, 1e22, 5e-324, Limits::max(),
        Limits::lowest(), Limits::min(), Limits::infinity(), -Limits::infinity()})
    compare(v);
}

TEST_CASE("number_text: both read as much of a text as is a number") {
  for (const char* const text : {"",
                                 "-",
                                 ".",
                                 "-.",
                                 "+1",
                                 " 1",
                                 "1 ",
                                 "1.5x",
                                 "1e",
                                 "1e+",
                                 "1e5",
                                 "1E-5",
                                 "1.e2",
                                 ".5",
                                 "-.5e1x",
                                 "0x10",
                                 "inf",
                                 "-INF",
                                 "infinit",
                                 "Infinity1",
                                 "nanx",
                                 "n",
                                 "1,5",
                                 "--1",
                                 "1e999",
                                 "-1e999",
                                 "1e-999",
                                 "0e-999",
                                 "1e-310",
                                 "00012",
                                 "1_000",
                                 "1.2.3",
                                 "\xc2\xa0"
                                 "1"}) {
    CAPTURE(text);
    double value = 7, c_value = 7;
    CHECK(detail::read_c_number(text, c_value) == detail::read_number(text, value));
    CHECK((same_bits(value, c_value) || (std::isnan(value) && std::isnan(c_value))));
  }
}

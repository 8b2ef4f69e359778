#include "sequin/core/error.hpp"
#include "sequin/core/fail.hpp"
#include "support/catch.hpp"

using sequin::detail::printable;

TEST_CASE("error: text from files cannot change a terminal or break a line") {
  CHECK(printable("plain caf\xc3\xa9") == "plain caf\xc3\xa9");
  CHECK(printable("a\n\x1b[2J\x7f") == "a\\x0a\\x1b[2J\\x7f");
  // U+009B begins a control sequence as ESC [ does; U+00A0 is a space.
  CHECK(printable("\xc2\x9b"
                  "2J\xc2\xa0") ==
        "\\xc2\\x9b"
        "2J\xc2\xa0");
  CHECK(printable("\xc2\xc2\x80") == "\xc2\\xc2\\x80");
  CHECK(printable("\x9b") == "\x9b");  // no UTF-8, no control character
  CHECK(printable("abcdef", 3) == "abc...");
}

TEST_CASE("error: a message of pieces reads as one of std::to_string") {
  using namespace sequin;
  const std::string name = "weight";
  const Shape<3> shape{1, 96, 128};
  try {
    detail::fail<ShapeError>({"op: ", name, " is ", shape, ", factor ", 0.25, ", axis ",
                              std::size_t{2}, " of ", index_t{-3}});
  } catch (const ShapeError& e) {
    CHECK(std::string(e.what()) ==
          "op: weight is [1, 96, 128], factor " + std::to_string(0.25) + ", axis 2 of -3");
    return;
  }
  FAIL("nothing was thrown");
}

#include "sequin/core/error.hpp"

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

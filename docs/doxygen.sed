# The headers as doxygen understands them: their first sentence is about the file, and the inline
# namespace of version and instruction set does not show.
1s|^///|/// \\file\n///|
/^#pragma once$/d
s|^namespace sequin::inline SEQUIN_ABI::|namespace sequin::|
s|^namespace sequin::inline SEQUIN_ABI |namespace sequin |

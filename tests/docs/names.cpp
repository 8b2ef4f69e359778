// docs/using.md: the forward header alone makes this a class.
#include "from_docs/using/names.inc"

static_assert(sizeof(Speaker) == sizeof(void*));

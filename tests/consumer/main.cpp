// What a program that uses the library looks like from outside.
#include <cstdio>

#include "sequin/core/version.hpp"

int main() { std::printf("Sequin %s for %s\n", sequin::kVersion, sequin::kInstructionSet); }

#include "memory.hpp"

#include <malloc.h>
#include <fstream>
#include <string>

namespace sequin_compare {

namespace {

/// A line "name: N kB" of /proc/self/status, in bytes.
double status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;)
    if (word == name) {
      double kib = 0;
      file >> kib;
      return kib * 1024;
    }
  return 0;
}

}  // namespace

double resident_bytes() {
  malloc_trim(0);
  return status("VmRSS:");
}

void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

double peak_bytes() { return status("VmHWM:"); }

}  // namespace sequin_compare

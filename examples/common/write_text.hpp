/// Small text files, written whole or not at all.
#pragma once

#include "sequin/io/atomic_file.hpp"

#include <filesystem>
#include <string>

namespace sequin_examples {

/// Writes beside and renames. Throws LoadError.
inline void write_text(const std::filesystem::path& path, const std::string& text) {
  sequin::remove_leftovers(path);
  sequin::AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace sequin_examples

/// What becomes of exceptions at the border to C.
#pragma once

#include "sequin_c.h"

#include "sequin/core/error.hpp"

#include <cstdio>
#include <new>
#include <string>

namespace sequin_c_abi {

// No memory of the heap: a failure to get some has to be told, too.
inline thread_local char last_error[1024] = "";

inline sequin_status fail(sequin_status status, const char* text) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", text);
  return status;
}

/// Runs `work`; what it throws becomes a status and a text.
template <class F>
sequin_status guarded(F&& work) noexcept {
  try {
    work();
    last_error[0] = '\0';
    return SEQUIN_OK;
  } catch (const sequin::ShapeError& e) {
    return fail(SEQUIN_BAD_ARGUMENT, e.what());
  } catch (const sequin::ConfigError& e) {
    return fail(SEQUIN_BAD_CONFIG, e.what());
  } catch (const sequin::LoadError& e) {
    return fail(SEQUIN_BAD_FILE, e.what());
  } catch (const std::bad_alloc&) {
    return fail(SEQUIN_NO_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return fail(SEQUIN_FAILED, e.what());
  } catch (...) {
    return fail(SEQUIN_FAILED, "unknown failure");
  }
}

/// Throws ShapeError that names the argument.
inline void require(const void* pointer, const char* name) {
  if (pointer == nullptr)
    throw sequin::ShapeError(std::string(name) + ": expected a pointer, found NULL");
}

}  // namespace sequin_c_abi

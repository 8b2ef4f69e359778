# docs/faq.md quotes messages as the sources have them.
#   cmake -DROOT=path -P tests/faq.cmake
cmake_minimum_required(VERSION 3.21)
file(READ ${ROOT}/docs/faq.md faq)

function(expect_quoted file message)
  file(READ ${ROOT}/${file} source)
  foreach(text IN ITEMS faq source)
    string(FIND "${${text}}" "${message}" at)
    if(at EQUAL -1 OR message STREQUAL "")
      message(FATAL_ERROR "\"${message}\" of ${file}: not in its ${text}")
    endif()
  endforeach()
endfunction()

expect_quoted(include/sequin/core/version.hpp
              "Sequin needs C++20: -std=c++20, or target_compile_features(... cxx_std_20)")
expect_quoted(include/sequin/io/load_model.hpp "the tensors are not those of the model: ")
expect_quoted(include/sequin/io/load_model.hpp "by its names the file holds ")
expect_quoted(cmake/dependencies.cmake " or newer: not found (")
expect_quoted(cmake/dependencies.cmake "libeigen3-dev")

# The instruction sets' names and the version in them.
file(STRINGS ${ROOT}/include/sequin/core/version.hpp lines REGEX "^#define SEQUIN_ABI v")
foreach(name IN ITEMS avx2_fma sse2)
  string(REGEX MATCH "v[0-9_]+_${name}" tag "${lines}")
  expect_quoted(include/sequin/core/version.hpp "${tag}")
endforeach()

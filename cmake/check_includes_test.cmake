# Plants one violation after the other in a small tree and expects check_includes.cmake to name it.
#
#   cmake -DWORK=scratch_folder -P cmake/check_includes_test.cmake
cmake_minimum_required(VERSION 3.21)

function(run_check expected_text)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -DROOT=${WORK} -P ${CMAKE_CURRENT_LIST_DIR}/check_includes.cmake
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(expected_text STREQUAL "")
    if(NOT code EQUAL 0)
      message(FATAL_ERROR "a clean tree was rejected: ${output}")
    endif()
    return()
  endif()
  string(FIND "${output}" "${expected_text}" at)
  if(code EQUAL 0 OR at EQUAL -1)
    message(FATAL_ERROR "expected \"${expected_text}\", got (exit code ${code}): ${output}")
  endif()
endfunction()

function(write_clean_tree)
  file(REMOVE_RECURSE ${WORK})
  file(WRITE ${WORK}/include/sequin/core/a.hpp "#pragma once\n#include <vector>\n")
  file(WRITE ${WORK}/include/sequin/core/simd.hpp "#pragma once\n#include <xsimd/xsimd.hpp>\n")
  file(WRITE ${WORK}/include/sequin/kernels/k.hpp "#pragma once\n#include \"sequin/core/a.hpp\"\n// No list: a test\n")
  file(WRITE ${WORK}/include/sequin/io/json.hpp "#pragma once\n#include <nlohmann/json.hpp>\n")
  file(WRITE ${WORK}/include/sequin/sequin.hpp "#pragma once\n#include \"sequin/kernels/k.hpp\"\n#include \"sequin/core/simd.hpp\"\n#include \"sequin/io/json.hpp\"\n")
endfunction()

# A header of the given text is added to (or replaces one of) the clean tree.
function(expect_violation file text expected_text)
  write_clean_tree()
  file(WRITE ${WORK}/${file} "${text}")
  run_check("${expected_text}")
endfunction()

write_clean_tree()
run_check("")
expect_violation(include/sequin/core/b.hpp "#pragma once\n#include \"sequin/kernels/k.hpp\"\n"
                 "core/b.hpp: includes \"sequin/kernels/k.hpp\", core may include: core")
expect_violation(include/sequin/core/b.hpp "#pragma once\n #  include  <Eigen/Core>  // hidden\n#include <xsimd/a.hpp>\n"
                 "core/b.hpp: includes <xsimd/a.hpp>, xsimd may not appear here")
expect_violation(include/sequin/ops/b.hpp "#pragma once\n #  include  <Eigen/Core>  // hidden\n"
                 "ops/b.hpp: includes <Eigen/Core>, Eigen may not appear here")
expect_violation(include/sequin/io/b.hpp "#pragma once\n#include <nlohmann/json_fwd.hpp>\n"
                 "JSON is included by 2 files, expected one: io/b.hpp, io/json.hpp")
expect_violation(include/sequin/core/b.hpp "#pragma once\n#include <catch2/catch.hpp>\n"
                 "core/b.hpp: includes <catch2/catch.hpp>, which is not a dependency")
expect_violation(include/sequin/core/b.hpp "#pragma once\n#include \"a.hpp\"\n"
                 "core/b.hpp: includes \"a.hpp\", expected \"sequin/...\"")
expect_violation(include/sequin/core/b.hpp "#pragma once\n#include \"sequin/core/gone.hpp\"\n"
                 "core/b.hpp: includes \"sequin/core/gone.hpp\", which does not exist")
expect_violation(include/sequin/core/b.hpp "#pragma once\n#include \"sequin/sequin.hpp\"\n"
                 "core/b.hpp: includes \"sequin/sequin.hpp\", which only users include")
expect_violation(include/sequin/core/a.hpp "#pragma once\n#include \"sequin/core/a.hpp\"\n"
                 "includes run in a circle among, or above, these: core/a.hpp")
expect_violation(include/sequin/misc/b.hpp "#pragma once\n"
                 "misc/b.hpp: folder misc is not in the table")
expect_violation(include/sequin/core/b.hpp "#include <vector>\n" "core/b.hpp: has no #pragma once")
expect_violation(include/sequin/kernels/b.hpp "#pragma once\n"
                 "kernels/b.hpp: ends with no SEQUIN_INSTANTIATE")
expect_violation(include/sequin/core/b.hpp "#pragma once\n"
                 "core/b.hpp: sequin.hpp does not reach it")
expect_violation(include/sequin/fwd.hpp "/// Opt-in\n#pragma once\nclass Here;\n"
                 "fwd.hpp: declares class Here, which no header defines")
string(REPEAT "// a; [line\n" 401 long)
expect_violation(include/sequin/core/b.hpp "#pragma once\n${long}"
                 "core/b.hpp: 402 lines, expected 400 or fewer")
expect_violation(tests/core/b_test.cpp "${long}${long}"
                 "tests/core/b_test.cpp: 802 lines, expected 600 or fewer")
file(REMOVE_RECURSE ${WORK})

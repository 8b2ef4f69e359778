# Objects of two instruction sets that pass a tensor do not link, and the message names the set;
# those of one set do. x86 alone.
#   cmake -DSOURCE=root -DWORK=scratch -DCOMPILER=c++ -DFLAGS=... -DVERSION=1.2.3 -P run.cmake
cmake_minimum_required(VERSION 3.21)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
separate_arguments(flags UNIX_COMMAND "${FLAGS} -std=c++20 -I${SOURCE}/include -march=x86-64")

function(compile source object)
  execute_process(
    COMMAND ${COMPILER} ${flags} ${ARGN} -c ${CMAKE_CURRENT_LIST_DIR}/${source} -o ${WORK}/${object}
    COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# Sets `code` and `output`. The messages are the linker's and not those of the user's language.
function(link program)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C ${COMPILER} ${flags} ${ARGN} -o ${program}
    WORKING_DIRECTORY ${WORK}
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(code ${code} PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
endfunction()

compile(mean.cpp mean.o)
compile(main.cpp main.o)
compile(main.cpp main_avx2.o -mavx2 -mfma)

link(one_set main.o mean.o)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "objects of one instruction set do not link: ${output}")
endif()
execute_process(COMMAND ${WORK}/one_set COMMAND_ERROR_IS_FATAL ANY)

link(two_sets main_avx2.o mean.o)
string(REGEX REPLACE "^([0-9]+)\\.([0-9]+)\\..*" "v\\1_\\2" version ${VERSION})
set(expected "mean\\(sequin::${version}_avx2_fma::Tensor<float, 1[ul]*> const&\\)")
if(code EQUAL 0)
  message(FATAL_ERROR "objects of two instruction sets link")
elseif(NOT output MATCHES "undefined [^\n]*${expected}")
  message(FATAL_ERROR "expected an undefined ${expected}, got: ${output}")
endif()
message(STATUS "${output}")

# A shared library exports the functions of its header and nothing else.
#   cmake -DNM=nm -DLIBRARY=libsequin_c.so -DHEADER=sequin_c.h -P exports.cmake
cmake_minimum_required(VERSION 3.21)
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY} OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL " [A-Za-z] [^\n]+" exported "${symbols}")
list(TRANSFORM exported REPLACE "^ . " "")
list(SORT exported)

file(READ ${HEADER} text)
string(REGEX MATCHALL "\nSEQUIN_C_API [^;(]+\\(" declared "${text}")
list(TRANSFORM declared REPLACE "^.*[ *\n]([a-z_]+)\\($" "\\1")
list(SORT declared)
if(NOT exported STREQUAL declared OR NOT declared)
  message(FATAL_ERROR "expected the exports ${declared}, found ${exported}")
endif()
list(LENGTH declared count)
message(STATUS "${count} symbols")

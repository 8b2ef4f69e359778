# How our own programs are compiled: sequin_options is linked by tests, benchmarks and examples and
# by nothing that is installed. Our headers are not SYSTEM there, third parties' are.

add_library(sequin_options INTERFACE)
if(MSVC)
  target_compile_options(sequin_options INTERFACE
    /W4 /bigobj /utf-8 $<$<BOOL:${SEQUIN_WERROR}>:/WX> $<$<BOOL:${SEQUIN_NATIVE}>:/arch:AVX2>)
else()
  target_compile_options(sequin_options INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    $<$<BOOL:${SEQUIN_WERROR}>:-Werror> $<$<BOOL:${SEQUIN_NATIVE}>:-march=native>)
endif()

# What tests, benchmarks and examples share: the headers and sources of examples/common.
file(GLOB common_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/common/*.cpp)
if(common_sources)
  add_library(sequin_common OBJECT EXCLUDE_FROM_ALL ${common_sources})
  set(common_scope PUBLIC)
else()
  add_library(sequin_common INTERFACE)
  set(common_scope INTERFACE)
endif()
target_include_directories(sequin_common ${common_scope} ${PROJECT_SOURCE_DIR}/examples)
target_link_libraries(sequin_common ${common_scope} sequin::sequin sequin_options ${CMAKE_DL_LIBS})

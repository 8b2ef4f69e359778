# sequin::compiled: what the headers list with SEQUIN_INSTANTIATE (core/compiled.hpp), compiled once
# for float and for double within the build that links it, with that build's flags. Used by our
# build and, installed, by the package config.

# Writes the sources into `folder` and sets `result` to them. A source takes the lists of whole
# headers, so many that it has 10 lines.
function(sequin_write_compiled_sources include folder result)
  file(GLOB_RECURSE headers RELATIVE ${include} ${include}/sequin/*.hpp)
  list(SORT headers)
  set(sources "")
  set(includes "")
  set(body "")
  set(count 0)
  foreach(header IN LISTS headers ITEMS end)
    set(lines "")
    if(NOT header STREQUAL "end")
      file(STRINGS ${include}/${header} lines REGEX "^SEQUIN_INSTANTIATE[A-Z_]*\\(.*\\);$")
    endif()
    if(lines)
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${include}/${header})
      string(APPEND includes "#include \"${header}\"\n")
      foreach(line IN LISTS lines)
        string(APPEND body "${line}\n")
        math(EXPR count "${count} + 1")
      endforeach()
    endif()
    if(count GREATER_EQUAL 10 OR (header STREQUAL "end" AND count GREATER 0))
      list(LENGTH sources index)
      file(CONFIGURE OUTPUT ${folder}/compiled_${index}.cpp @ONLY CONTENT
"// Written by CMake from the lists of these headers.
@includes@
#undef SEQUIN_INSTANTIATION
#define SEQUIN_INSTANTIATION template
@body@")
      list(APPEND sources ${folder}/compiled_${index}.cpp)
      set(includes "")
      set(body "")
      set(count 0)
    endif()
  endforeach()
  set(${result} "${sources}" PARENT_SCOPE)
endfunction()

# Makes the target `name`, which nothing builds unless it is linked; more that it has to be compiled
# with follows as targets to link.
function(sequin_add_compiled name include)
  sequin_write_compiled_sources(${include} ${CMAKE_CURRENT_BINARY_DIR}/${name} sources)
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(${name} PUBLIC sequin::sequin PRIVATE ${ARGN})
  target_compile_definitions(${name} PUBLIC SEQUIN_COMPILED)
endfunction()

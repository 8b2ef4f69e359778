# sequin::compiled: what core/compiled.hpp describes, compiled once within the build that links it
# and with that build's flags. Used by our build and, installed, by the package config.

# Writes the sources into `folder` and sets `result` to them: one of all functions that are no
# templates, then one for every 10 lines of lists or so, a header's list being in one piece.
function(sequin_write_compiled_sources include folder result)
  file(GLOB_RECURSE headers RELATIVE ${include} ${include}/sequin/*/*.hpp)
  if(NOT headers)
    message(FATAL_ERROR "sequin::compiled: expected headers in ${include}/sequin, found none")
  endif()
  list(SORT headers)
  set(with_bodies "")
  set(includes "")
  set(body "")
  set(count 0)
  set(sources ${folder}/functions.cpp)
  foreach(header IN LISTS headers ITEMS end)
    set(lines "")
    if(NOT header STREQUAL "end")
      file(STRINGS ${include}/${header} lines
           REGEX "^SEQUIN_INSTANTIATE[A-Z_]*\\(.*\\);$|^#if SEQUIN_BODIES$")
    endif()
    if(lines)
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${include}/${header})
    endif()
    if("#if SEQUIN_BODIES" IN_LIST lines)
      list(REMOVE_ITEM lines "#if SEQUIN_BODIES")
      string(APPEND with_bodies "#include \"${header}\"\n")
    endif()
    if(lines)
      string(APPEND includes "#include \"${header}\"\n")
      foreach(line IN LISTS lines)
        string(APPEND body "${line}\n")
        math(EXPR count "${count} + 1")
      endforeach()
    endif()
    if(count GREATER_EQUAL 10 OR (header STREQUAL "end" AND count GREATER 0))
      list(LENGTH sources index)
      set(source ${folder}/instances_${index}.cpp)
      # The gradients of what is compiled here, for the programs that start a Tape.
      sequin_write_if_different(${source} "#include \"sequin/autograd/tape.hpp\"
${includes}
#undef SEQUIN_INSTANTIATION
#define SEQUIN_INSTANTIATION template
${body}")
      list(APPEND sources ${source})
      set(includes "")
      set(body "")
      set(count 0)
    endif()
  endforeach()
  sequin_write_if_different(${folder}/functions.cpp
                            "#define SEQUIN_COMPILED_SOURCE
#include \"sequin/autograd/tape.hpp\"
${with_bodies}")
  set(${result} "${sources}" PARENT_SCOPE)
endfunction()

function(sequin_write_if_different path text)
  set(text "// Written by Sequin's cmake/compiled.cmake.\n${text}")
  set(old "")
  if(EXISTS ${path})
    file(READ ${path} old)
  endif()
  if(NOT old STREQUAL text)
    file(WRITE ${path} "${text}")
  endif()
endfunction()

# Makes the library `name`, which is built when a target that links it is.
function(sequin_add_compiled name include)
  sequin_write_compiled_sources(${include} ${CMAKE_CURRENT_BINARY_DIR}/${name} sources)
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(${name} PUBLIC sequin::sequin)
  target_compile_definitions(${name} PUBLIC SEQUIN_COMPILED)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

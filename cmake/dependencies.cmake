# Finds what the library includes; used by the build and, installed, by the package config.
#
# No version is requested: the version files of Eigen 3.4 and 5 reject each other's ranges. What is
# found is compared here instead.

# Folders to take Eigen and xsimd from: an unpacked release as it is, or headers alone.
set(SEQUIN_EIGEN_DIR "" CACHE PATH "Folder of Eigen's sources or headers (empty: find_package)")
set(SEQUIN_XSIMD_DIR "" CACHE PATH "Folder of xsimd's sources or headers (empty: find_package)")
mark_as_advanced(SEQUIN_EIGEN_DIR SEQUIN_XSIMD_DIR)

# Sets `result` to nothing, or to one text that names all that is missing or too old.
macro(sequin_find_dependencies result)
  set(${result} "")
  sequin_use_folder(SEQUIN_EIGEN_DIR Eigen3::Eigen Eigen/Core Eigen3_VERSION
                    Eigen/Version Eigen/src/Core/util/Macros.h)
  if(NOT TARGET Eigen3::Eigen AND NOT SEQUIN_EIGEN_DIR)
    find_package(Eigen3 CONFIG QUIET)
  endif()
  sequin_check_dependency(${result} Eigen Eigen3::Eigen "${Eigen3_VERSION}" 3.4 libeigen3-dev
                          SEQUIN_EIGEN_DIR Eigen/Core)
  sequin_use_folder(SEQUIN_XSIMD_DIR xsimd xsimd/xsimd.hpp xsimd_VERSION
                    xsimd/config/xsimd_config.hpp)
  if(NOT TARGET xsimd AND NOT SEQUIN_XSIMD_DIR)
    find_package(xsimd CONFIG QUIET)
    # Debian keeps the config of these headers in a folder of the machine's architecture.
    file(GLOB sequin_xsimd_config /usr/lib/*-linux-gnu*/cmake/xsimd)
    if(NOT xsimd_FOUND AND CMAKE_CROSSCOMPILING AND sequin_xsimd_config)
      find_package(xsimd CONFIG QUIET PATHS ${sequin_xsimd_config}
                   NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    endif()
  endif()
  sequin_check_dependency(${result} xsimd xsimd "${xsimd_VERSION}" 8.1 libxsimd-dev
                          SEQUIN_XSIMD_DIR xsimd/xsimd.hpp)
  sequin_drop_absent_xtl()
  if(NOT TARGET nlohmann_json::nlohmann_json)
    find_package(nlohmann_json CONFIG QUIET)
  endif()
  sequin_check_dependency(${result} "JSON for Modern C++" nlohmann_json::nlohmann_json
                          "${nlohmann_json_VERSION}" 3.9 nlohmann-json3-dev)
  find_package(Threads QUIET)
  if(NOT TARGET Threads::Threads)
    list(APPEND ${result} "Sequin needs the threads of the system: no thread library was found")
  endif()
  list(JOIN ${result} "\n" ${result})
endmacro()

# Makes `target` of the folder that the user named in the cache variable `option`, if one is named
# and holds `header`, and sets `version` to what the first of the other files that exists defines.
function(sequin_use_folder option target header version)
  foreach(folder IN ITEMS ${${option}} ${${option}}/include)
    if(${option} AND NOT TARGET ${target} AND EXISTS ${folder}/${header})
      add_library(${target} INTERFACE IMPORTED)
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${folder})
      foreach(file IN LISTS ARGN)
        if(EXISTS ${folder}/${file})
          file(STRINGS ${folder}/${file} numbers
               REGEX "^#define [A-Z]+_(WORLD|MAJOR|MINOR|PATCH|VERSION)_[A-Z]+ +[0-9]+")
          list(TRANSFORM numbers REPLACE "^[^ ]+ [^ ]+ +([0-9]+).*" "\\1")
          if(file STREQUAL "Eigen/Version")  # new in Eigen 5, whose first number is a 3 for ever
            list(POP_FRONT numbers)
          endif()
          list(JOIN numbers "." numbers)
          set(${version} ${numbers} PARENT_SCOPE)
          break()
        endif()
      endforeach()
    endif()
  endforeach()
endfunction()

# A target that came without a version (from a parent project) is taken as it is. At the end may stand
# an `option` and `header` as of sequin_use_folder.
function(sequin_check_dependency result name target found oldest package)
  set(hint "Debian 12: apt-get install ${package}")
  set(message "Sequin needs ${name} ${oldest} or newer: not found (${hint})")
  if(ARGC EQUAL 8)
    list(GET ARGN 0 option)
    list(GET ARGN 1 header)
    if(${option})
      set(hint "${option} is ${${option}}")
      set(message "Sequin needs ${name} ${oldest} or newer: ${hint}, \
expected ${header} in it or in its folder include, found none")
    endif()
  endif()
  if(NOT TARGET ${target})
    list(APPEND ${result} "${message}")
  elseif(found AND found VERSION_LESS oldest)
    list(APPEND ${result} "Sequin needs ${name} ${oldest} or newer: found ${found} (${hint})")
  endif()
  set(${result} "${${result}}" PARENT_SCOPE)
endfunction()

# Debian's xsimd target asks to link xtl, which its package neither needs nor brings.
function(sequin_drop_absent_xtl)
  if(TARGET xsimd AND NOT TARGET xtl)
    get_target_property(links xsimd INTERFACE_LINK_LIBRARIES)
    if("xtl" IN_LIST links)
      list(REMOVE_ITEM links xtl)
      set_property(TARGET xsimd PROPERTY INTERFACE_LINK_LIBRARIES "${links}")
    endif()
  endif()
endfunction()

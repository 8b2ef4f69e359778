# Finds what the library includes; used by the build and, installed, by the package config.
#
# No version is requested: the version files of Eigen 3.4 and 5 reject each other's ranges. What is
# found is compared here instead.

# Sets `result` to nothing, or to one text that names all that is missing or too old.
macro(sequin_find_dependencies result)
  set(${result} "")
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 CONFIG QUIET)
  endif()
  sequin_check_dependency(${result} Eigen Eigen3::Eigen "${Eigen3_VERSION}" 3.4 libeigen3-dev)
  if(NOT TARGET xsimd)
    find_package(xsimd CONFIG QUIET)
  endif()
  sequin_check_dependency(${result} xsimd xsimd "${xsimd_VERSION}" 8.1 libxsimd-dev)
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

# A target that came without a version (from a parent project) is taken as it is.
function(sequin_check_dependency result name target found oldest package)
  set(hint "Debian 12: apt-get install ${package}")
  if(NOT TARGET ${target})
    list(APPEND ${result} "Sequin needs ${name} ${oldest} or newer: not found (${hint})")
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

# Runs a port's portfile.cmake, each of vcpkg's functions replaced by the least that it does.
#   cmake -DPORT_DIR=... -DWORK=scratch_folder -DGENERATOR=... -DCOMPILER=c++ -P run_port.cmake
# leaves in WORK/packages what vcpkg would install.
cmake_minimum_required(VERSION 3.21)
cmake_path(GET PORT_DIR FILENAME PORT)
set(CURRENT_PACKAGES_DIR ${WORK}/packages)
set(CURRENT_BUILDTREES_DIR ${WORK}/buildtrees)

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" SOURCE_PATH OPTIONS)
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "vcpkg_cmake_configure: unknown ${arg_UNPARSED_ARGUMENTS}")
  endif()
  execute_process(
    COMMAND ${CMAKE_COMMAND} -G ${GENERATOR} -S ${arg_SOURCE_PATH} -B ${CURRENT_BUILDTREES_DIR}
      -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Release
      -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${arg_OPTIONS}
    ERROR_VARIABLE warnings COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
  if(warnings MATCHES "not used by the project")
    message(FATAL_ERROR "the portfile sets an option that is none: ${warnings}")
  endif()
endfunction()

function(vcpkg_cmake_install)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${CURRENT_BUILDTREES_DIR} --target install
                  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

# The package config moves up to share/<port>, two levels below the prefix.
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" CONFIG_PATH "")
  set(to ${CURRENT_PACKAGES_DIR}/share/${PORT})
  file(GLOB files ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}/*)
  if(NOT files)
    message(FATAL_ERROR "vcpkg_cmake_config_fixup: no files in ${arg_CONFIG_PATH}")
  endif()
  file(COPY ${files} DESTINATION ${to})
  file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH})
  cmake_path(GET arg_CONFIG_PATH PARENT_PATH parent)
  if(parent MATCHES "/cmake$")
    file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/${parent})
  endif()
  file(GLOB files ${to}/*.cmake)
  set(up "get_filename_component(_IMPORT_PREFIX \"\${_IMPORT_PREFIX}\" PATH)")
  foreach(file IN LISTS files)
    file(READ ${file} text)
    string(REPLACE "\${CMAKE_CURRENT_LIST_DIR}/../../../" "\${CMAKE_CURRENT_LIST_DIR}/../../"
           text "${text}")
    string(REPLACE "${up}\n${up}\n${up}\n" "${up}\n${up}\n" text "${text}")
    file(WRITE ${file} "${text}")
  endforeach()
endfunction()

function(vcpkg_fixup_pkgconfig)
  cmake_parse_arguments(PARSE_ARGV 0 arg SKIP_CHECK "" "")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "vcpkg_fixup_pkgconfig: unknown ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/share/pkgconfig/${PORT}.pc)
    message(FATAL_ERROR "vcpkg_fixup_pkgconfig: there is no share/pkgconfig/${PORT}.pc")
  endif()
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" FILE_LIST)
  file(COPY_FILE ${arg_FILE_LIST} ${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright)
endfunction()

include(${PORT_DIR}/portfile.cmake)

# What vcpkg itself refuses after a port ran.
foreach(name IN ITEMS copyright usage ${PORT}-config.cmake)
  if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/share/${PORT}/${name})
    message(FATAL_ERROR "the port installs no share/${PORT}/${name}")
  endif()
endforeach()
foreach(name IN ITEMS bin lib debug share/cmake)
  if(EXISTS ${CURRENT_PACKAGES_DIR}/${name})
    message(FATAL_ERROR "the port of headers installs ${name}")
  endif()
endforeach()

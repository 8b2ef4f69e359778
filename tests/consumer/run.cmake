# Configures, builds and runs one project that uses Sequin; ctest calls it, see CMakeLists.txt.
#   HOW=install       find_package against a fresh install of this build
#   HOW=subproject    add_subdirectory of the source tree
#   HOW=fetchcontent  FetchContent of the source tree
#   HOW=compiled      find_package with sequin::compiled and a model, without optimisation
#   HOW=pkgconfig     make and pkg-config against a fresh install
#   HOW=vcpkg         find_package against what the port of cmake/vcpkg installs
#   HOW=conan         the test_package of cmake/conan against what its recipe packages
#   HOW=amalgamated   a model from one file that cmake/amalgamate.cmake makes, and as usual
#   HOW=readme        the two files that the README tells to paste, against a fresh install
cmake_minimum_required(VERSION 3.21)

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    string(REPLACE ";" " " command "${ARGV}")
    message(FATAL_ERROR "failed: ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# Writes the fenced block that follows <!-- marker --> in the README.
function(paste marker target)
  file(READ ${SOURCE}/README.md text)
  string(FIND "${text}" "<!-- ${marker} -->" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "README.md: has no <!-- ${marker} -->")
  endif()
  string(SUBSTRING "${text}" ${at} -1 text)
  string(FIND "${text}" "\n```" at)
  math(EXPR at "${at} + 4")
  string(SUBSTRING "${text}" ${at} -1 text)
  string(FIND "${text}" "\n" at)
  math(EXPR at "${at} + 1")
  string(SUBSTRING "${text}" ${at} -1 text)
  string(FIND "${text}" "\n```" at)
  string(SUBSTRING "${text}" 0 ${at} text)
  file(WRITE ${target} "${text}\n")
endfunction()

file(REMOVE_RECURSE ${WORK})
set(configure ${CMAKE_COMMAND} -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER}
              "-DCMAKE_CXX_FLAGS=${FLAGS}")
set(here ${CMAKE_CURRENT_LIST_DIR})
set(expected_programs 1)

# What is built.
if(HOW STREQUAL "readme")
  paste(consumer-cmakelists ${WORK}/source/CMakeLists.txt)
  paste(consumer-main ${WORK}/source/main.cpp)
elseif(HOW STREQUAL "vcpkg")
  file(COPY ${here}/install/CMakeLists.txt ${here}/main.cpp DESTINATION ${WORK}/source)
elseif(HOW STREQUAL "conan")
  set(test_package ${SOURCE}/cmake/conan/test_package)
  file(COPY ${test_package}/CMakeLists.txt ${test_package}/main.cpp DESTINATION ${WORK}/source)
else()
  file(GLOB files ${here}/${HOW}/*)
  if(NOT EXISTS ${here}/${HOW}/main.cpp)
    list(APPEND files ${here}/main.cpp)
  endif()
  file(COPY ${files} DESTINATION ${WORK}/source)
endif()

# Where it finds the library.
if(HOW MATCHES "^(subproject|fetchcontent)$")
  list(APPEND configure -DSEQUIN_SOURCE=${SOURCE})
elseif(HOW STREQUAL "amalgamated")
  run(${CMAKE_COMMAND} -DMODEL=itransformer -DOUTPUT=${WORK}/source/one/sequin_itransformer.hpp
      -P ${SOURCE}/cmake/amalgamate.cmake)
  list(APPEND configure -DSEQUIN_SOURCE=${SOURCE})
  set(expected_programs 2)
elseif(HOW STREQUAL "vcpkg")
  file(READ ${SOURCE}/cmake/vcpkg/sequin/vcpkg.json port)
  string(JSON port_version GET "${port}" version)
  if(NOT port_version STREQUAL VERSION)
    message(FATAL_ERROR "vcpkg.json: version: expected ${VERSION}, found ${port_version}")
  endif()
  run(${CMAKE_COMMAND} -DPORT_DIR=${SOURCE}/cmake/vcpkg/sequin -DWORK=${WORK}
      -DGENERATOR=${GENERATOR} -DCOMPILER=${COMPILER} -P ${here}/vcpkg/run_port.cmake)
  file(RENAME ${WORK}/packages ${WORK}/prefix)
  list(APPEND configure -DCMAKE_PREFIX_PATH=${WORK}/prefix)
elseif(HOW STREQUAL "conan")
  run(${PYTHON} ${here}/conan/run_recipe.py ${SOURCE}/cmake/conan ${WORK}/recipe ${VERSION}
      ${GENERATOR} ${COMPILER})
  string(STRIP "${output}" output)
  list(APPEND configure -DCMAKE_PREFIX_PATH=${output})
else()
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/moved/from --component devel)
  file(RENAME ${WORK}/moved ${WORK}/prefix)  # The package has to work where it was not installed.
  list(APPEND configure -DCMAKE_PREFIX_PATH=${WORK}/prefix/from)
endif()

if(HOW STREQUAL "pkgconfig")
  file(RENAME ${WORK}/source ${WORK}/build)
  run(${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${WORK}/prefix/from/share/pkgconfig CXX=${COMPILER}
      CXXFLAGS=${FLAGS} make -C ${WORK}/build)
else()
  run(${configure} -S ${WORK}/source -B ${WORK}/build)
  run(${CMAKE_COMMAND} --build ${WORK}/build --parallel 2)
endif()

file(GLOB programs ${WORK}/build/*)
set(outputs "")
foreach(program IN LISTS programs)
  execute_process(COMMAND test -f ${program} -a -x ${program} RESULT_VARIABLE is_program)
  if(is_program EQUAL 0)
    run(${program})
    if(NOT HOW STREQUAL "readme" AND NOT output MATCHES "Sequin ${VERSION}")
      message(FATAL_ERROR "expected \"Sequin ${VERSION}\", got: ${output}")
    endif()
    message(STATUS "${output}")
    list(APPEND outputs "${output}")
  endif()
endforeach()
list(LENGTH outputs ran)
if(NOT ran EQUAL expected_programs)
  message(FATAL_ERROR "expected ${expected_programs} programs in ${WORK}/build, found ${ran}")
endif()
list(REMOVE_DUPLICATES outputs)
list(LENGTH outputs different)
if(NOT different EQUAL 1)
  message(FATAL_ERROR "the programs differ: ${outputs}")
endif()

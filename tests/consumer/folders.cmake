# The folders of Eigen and xsimd that a user names are taken, refused where they are too old or hold
# none, and searched alone: what is installed does not stand in.
#
#   cmake -DSOURCE=sequin -DWORK=scratch_folder -DGENERATOR=... -DCOMPILER=... -P folders.cmake
cmake_minimum_required(VERSION 3.21)

file(REMOVE_RECURSE ${WORK})
# configure(TEXT ARGUMENT...): configures Sequin and expects TEXT of it; "" is success.
function(configure text)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER} -S ${SOURCE}
            -B ${WORK}/build -DSEQUIN_BUILD_TESTS=OFF -DSEQUIN_BUILD_BENCH=OFF
            -DSEQUIN_BUILD_EXAMPLES=OFF -DSEQUIN_INSTALL=OFF ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  string(FIND "${output}" "${text}" at)
  if((text STREQUAL "" AND NOT code EQUAL 0) OR (NOT text STREQUAL "" AND code EQUAL 0)
     OR at EQUAL -1)
    message(SEND_ERROR "${ARGN}: expected '${text}', found ${code}: ${output}")
  endif()
endfunction()

# As Eigen 3.4 writes its version, as Eigen 5 does, and as xsimd does.
set(eigen ${WORK}/eigen)
set(xsimd ${WORK}/xsimd)
file(WRITE ${eigen}/Eigen/Core "")
file(WRITE ${xsimd}/include/xsimd/xsimd.hpp "")
function(write_eigen file major minor)
  file(WRITE ${eigen}/Eigen/${file} "#define EIGEN_WORLD_VERSION 3
#define EIGEN_MAJOR_VERSION ${major}
#define EIGEN_MINOR_VERSION ${minor}
#define EIGEN_VERSION_AT_LEAST(x, y, z) 1
")
endfunction()
function(write_xsimd major minor)
  file(WRITE ${xsimd}/include/xsimd/config/xsimd_config.hpp "#define XSIMD_VERSION_MAJOR ${major}
#define XSIMD_VERSION_MINOR ${minor}
#define XSIMD_VERSION_PATCH 0
")
endfunction()
set(folders -DSEQUIN_EIGEN_DIR=${eigen} -DSEQUIN_XSIMD_DIR=${xsimd})

write_xsimd(14 3)
write_eigen(src/Core/util/Macros.h 3 9)
configure("Sequin needs Eigen 3.4 or newer: found 3.3.9 (SEQUIN_EIGEN_DIR is ${eigen})" ${folders})
write_eigen(src/Core/util/Macros.h 4 0)
configure("" ${folders})
write_eigen(Version 2 9)
configure("Sequin needs Eigen 3.4 or newer: found 2.9 (SEQUIN_EIGEN_DIR is ${eigen})" ${folders})
write_eigen(Version 5 0)
configure("" ${folders})
write_xsimd(8 0)
configure("Sequin needs xsimd 8.1 or newer: found 8.0.0 (SEQUIN_XSIMD_DIR is ${xsimd})" ${folders})
configure("Sequin needs xsimd 8.1 or newer: SEQUIN_XSIMD_DIR is ${eigen}, expected xsimd/xsimd.hpp \
in it or in its folder include, found none" -DSEQUIN_EIGEN_DIR=${eigen} -DSEQUIN_XSIMD_DIR=${eigen})
configure("Sequin needs Eigen 3.4 or newer: SEQUIN_EIGEN_DIR is ${xsimd}, expected Eigen/Core in it \
or in its folder include, found none" -DSEQUIN_EIGEN_DIR=${xsimd} -DSEQUIN_XSIMD_DIR=${xsimd})

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

# sequin::compiled with these options.
sequin_add_compiled(sequin_program_code ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(sequin_program_code PRIVATE sequin_options)

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

# Several processes, for `sequin train`: train/mpi.hpp. Who has an MPI gets it without asking, as
# nothing of it runs unless mpirun started the program; who has none needs none. The library is in
# C, but found by the C++ compiler: there is no C in this project.
set(SEQUIN_HAS_MPI FALSE)
if(SEQUIN_MPI)
  set(MPI_CXX_SKIP_MPICXX TRUE)
  find_package(MPI QUIET COMPONENTS CXX)
  set(SEQUIN_HAS_MPI ${MPI_CXX_FOUND})
  if(NOT MPI_CXX_FOUND AND NOT SEQUIN_MPI STREQUAL "AUTO")
    message(FATAL_ERROR "SEQUIN_MPI is ${SEQUIN_MPI}: no MPI was found (Debian 12: apt-get install "
                        "libopenmpi-dev openmpi-bin; to build without: -DSEQUIN_MPI=OFF)")
  endif()
endif()

# Archives of NumPy, io/npz.hpp: tested where there is a zlib.
find_package(ZLIB QUIET)
set(SEQUIN_HAS_ZLIB ${ZLIB_FOUND})

# Audio files, for the programs that read them: libsndfile and libsamplerate, which do not come with
# CMake packages everywhere. Without them the same functions say what is missing.
find_path(SEQUIN_SNDFILE_INCLUDE sndfile.h)
find_library(SEQUIN_SNDFILE_LIBRARY sndfile)
find_path(SEQUIN_SAMPLERATE_INCLUDE samplerate.h)
find_library(SEQUIN_SAMPLERATE_LIBRARY samplerate)
mark_as_advanced(SEQUIN_SNDFILE_INCLUDE SEQUIN_SNDFILE_LIBRARY
                 SEQUIN_SAMPLERATE_INCLUDE SEQUIN_SAMPLERATE_LIBRARY)
set(SEQUIN_HAS_AUDIO FALSE)
if(SEQUIN_SNDFILE_INCLUDE AND SEQUIN_SNDFILE_LIBRARY
   AND SEQUIN_SAMPLERATE_INCLUDE AND SEQUIN_SAMPLERATE_LIBRARY)
  set(SEQUIN_HAS_AUDIO TRUE)
endif()
set(audio_folder ${PROJECT_SOURCE_DIR}/examples/audio)
if(SEQUIN_HAS_AUDIO)
  add_library(sequin_audio OBJECT EXCLUDE_FROM_ALL ${audio_folder}/audio_file.cpp
              ${audio_folder}/resample.cpp)
  target_include_directories(sequin_audio SYSTEM PRIVATE
                             ${SEQUIN_SNDFILE_INCLUDE} ${SEQUIN_SAMPLERATE_INCLUDE})
  target_link_libraries(sequin_audio PUBLIC ${SEQUIN_SNDFILE_LIBRARY} ${SEQUIN_SAMPLERATE_LIBRARY})
else()
  add_library(sequin_audio OBJECT EXCLUDE_FROM_ALL ${audio_folder}/without_audio.cpp)
endif()
target_include_directories(sequin_audio PUBLIC ${PROJECT_SOURCE_DIR}/examples)
target_link_libraries(sequin_audio PUBLIC sequin::sequin sequin_options)

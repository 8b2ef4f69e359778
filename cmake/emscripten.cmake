# For builds under emcmake: the headers that we include are the machine's own, which Emscripten's
# toolchain does not look for, and its instructions are asked for.

# Their packages say where they are, as for any build.
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

# Packages that are installed in /usr/include would bring the machine's C library along: what is
# ours there is reached through links.
function(sequin_link_headers)
  foreach(pair IN ITEMS "xsimd=xsimd" "nlohmann_json::nlohmann_json=nlohmann")
    string(REPLACE "=" ";" pair ${pair})
    list(GET pair 0 target)
    list(GET pair 1 headers)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    set(kept "")
    foreach(folder IN LISTS folders)
      if(EXISTS ${folder}/${headers} AND EXISTS ${folder}/stdlib.h)
        file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/headers)
        file(CREATE_LINK ${folder}/${headers} ${PROJECT_BINARY_DIR}/headers/${headers} SYMBOLIC)
        set(folder ${PROJECT_BINARY_DIR}/headers)
      endif()
      list(APPEND kept ${folder})
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()

# Exceptions carry our messages. The page runs where WebAssembly has both: browsers of 2022 and
# later (Safari: 2023). xsimd 8.1 knows no WebAssembly: Emscripten translates its SSE2.
# Eigen would take that for Intel's own.
add_compile_options(-fwasm-exceptions -msimd128 -msse2)
add_compile_definitions(EIGEN_DONT_VECTORIZE)
add_link_options(-fwasm-exceptions -msimd128)

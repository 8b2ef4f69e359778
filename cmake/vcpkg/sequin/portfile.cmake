# Installs the tree that this port is part of: nothing is downloaded.
set(VCPKG_BUILD_TYPE release)  # headers alone
cmake_path(SET SOURCE_PATH NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../../..")

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DSEQUIN_BUILD_TESTS=OFF
    -DSEQUIN_BUILD_BENCH=OFF
    -DSEQUIN_BUILD_EXAMPLES=OFF
    -DSEQUIN_INSTALL=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/sequin)
vcpkg_fixup_pkgconfig(SKIP_CHECK)  # not every port of a dependency brings its .pc file

file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")

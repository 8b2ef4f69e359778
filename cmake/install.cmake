# Installs the headers, the package config, a pkg-config file and the program.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Headers alone fit every machine: everything but the program goes to include/ and share/.
set(config_dir share/cmake/sequin)
install(DIRECTORY include/sequin DESTINATION include COMPONENT devel
        FILES_MATCHING PATTERN "*.hpp")

install(TARGETS sequin_headers EXPORT sequin-targets COMPONENT devel)
install(EXPORT sequin-targets NAMESPACE sequin:: DESTINATION ${config_dir} COMPONENT devel)

configure_package_config_file(cmake/sequin-config.cmake.in sequin-config.cmake
                              INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(sequin-config-version.cmake
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/sequin-config.cmake
              ${PROJECT_BINARY_DIR}/sequin-config-version.cmake
              cmake/dependencies.cmake cmake/compiled.cmake
        DESTINATION ${config_dir} COMPONENT devel)

configure_file(cmake/sequin.pc.in sequin.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/sequin.pc
        DESTINATION share/pkgconfig COMPONENT devel)

if(TARGET sequin)
  install(TARGETS sequin RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program OPTIONAL)
endif()

# cmake --build DIR --target docs: DIR/docs/reference/index.html, the reference from the comments in
# the headers, where there is a doxygen. A warning is an error. Nothing else builds it.
find_program(SEQUIN_DOXYGEN doxygen)
mark_as_advanced(SEQUIN_DOXYGEN)
if(SEQUIN_DOXYGEN)
  add_custom_target(docs
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/docs
    COMMAND ${CMAKE_COMMAND} -E env SEQUIN_VERSION=${PROJECT_VERSION}
            SEQUIN_DOCS_OUTPUT=${PROJECT_BINARY_DIR}/docs
            ${SEQUIN_DOXYGEN} ${PROJECT_SOURCE_DIR}/docs/Doxyfile
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    COMMENT "The reference: ${PROJECT_BINARY_DIR}/docs/reference/index.html"
    VERBATIM)
endif()

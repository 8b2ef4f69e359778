# What tests of programs share: they are called with -DPROGRAM=... and -DWORK=...
# run(CODE TEXT ARGUMENT...): PROGRAM, in WORK, ends with CODE and says TEXT.
function(run expected_code text)
  cmake_path(GET PROGRAM STEM name)
  execute_process(COMMAND ${PROGRAM} ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output
                  ERROR_VARIABLE errors WORKING_DIRECTORY ${WORK})
  string(FIND "${output}${errors}" "${text}" at)
  if(NOT code EQUAL ${expected_code} OR at EQUAL -1)
    message(SEND_ERROR "${name} ${ARGN}: expected exit code ${expected_code} and '${text}', "
                       "found ${code} and '${output}${errors}'")
  endif()
endfunction()

# same(A B): files of WORK.
function(same a b)
  execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${WORK}/${a} ${WORK}/${b}
                  RESULT_VARIABLE different)
  if(different)
    message(SEND_ERROR "expected ${a} and ${b} to hold the same bytes")
  endif()
endfunction()

# Makes one file of a model's header: all of Sequin that it includes stands in it. Eigen, xsimd,
# JSON and the standard library are still included.
#
#   cmake -DMODEL=mamba -DOUTPUT=sequin_mamba.hpp -P cmake/amalgamate.cmake
#   cmake -DHEADERS="models/mamba.hpp;train/trainer.hpp" -DOUTPUT=mine.hpp -P cmake/amalgamate.cmake
#
# MODEL takes the model with what belongs to it, io/load_model.hpp and, where it streams,
# stream/session.hpp; to train it as well, name autograd/tape.hpp among HEADERS. Several such files
# may be included together and in any order, but not beside Sequin's own headers in one file.
cmake_minimum_required(VERSION 3.21)
cmake_path(SET root NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/..")

set(of_itransformer models/itransformer.hpp)
set(of_informer models/informer.hpp)
set(of_mamba models/mamba.hpp models/generate.hpp stream/session.hpp)
set(of_time_moe models/time_moe_forecast.hpp models/time_moe_generate.hpp models/time_moe_loss.hpp)
set(of_mossformer2 models/mossformer2_decode.hpp models/separate_long.hpp)
set(of_causal_mossformer2 models/causal_mossformer2.hpp stream/block_stream.hpp)
if(MODEL)
  if(NOT of_${MODEL})
    message(FATAL_ERROR "MODEL: expected itransformer, informer, mamba, time_moe, mossformer2 or "
                        "causal_mossformer2, found ${MODEL}")
  endif()
  set(HEADERS ${of_${MODEL}} io/load_model.hpp)
endif()
if(NOT HEADERS OR NOT OUTPUT)
  message(FATAL_ERROR "expected -DMODEL=name or -DHEADERS=\"a.hpp;b.hpp\", and -DOUTPUT=file")
endif()

# Appends the file to `text`, each of Sequin's includes replaced by the file that it names. What was
# taken once is not taken again; the guards are for a program that includes two such files.
set(taken "")
set(text "")
macro(append_header name)
  if(NOT "${name}" IN_LIST taken)
    list(APPEND taken ${name})
    append_body(${name})
  endif()
endmacro()

function(append_body name)
  if(NOT EXISTS ${root}/include/sequin/${name})
    message(FATAL_ERROR "HEADERS: there is no include/sequin/${name}")
  endif()
  file(READ ${root}/include/sequin/${name} body)
  string(MAKE_C_IDENTIFIER "SEQUIN_AMALGAMATED_${name}" guard)
  string(APPEND text "#ifndef ${guard}\n#define ${guard}\n")
  string(REPLACE "#pragma once\n" "" body "${body}")
  set(mark "#include \"sequin/")
  string(LENGTH "${mark}" mark_length)
  while(TRUE)
    string(FIND "${body}" "${mark}" at)
    if(at EQUAL -1)
      break()
    endif()
    string(SUBSTRING "${body}" 0 ${at} before)
    string(APPEND text "${before}")
    math(EXPR at "${at} + ${mark_length}")
    string(SUBSTRING "${body}" ${at} -1 body)
    string(FIND "${body}" "\"" at)
    string(SUBSTRING "${body}" 0 ${at} included)
    string(FIND "${body}" "\n" at)
    math(EXPR at "${at} + 1")
    string(SUBSTRING "${body}" ${at} -1 body)
    append_header(${included})
  endwhile()
  string(APPEND text "${body}#endif\n\n")
  set(text "${text}" PARENT_SCOPE)
  set(taken "${taken}" PARENT_SCOPE)
endfunction()

foreach(header IN LISTS HEADERS)
  append_header(${header})
endforeach()
file(READ ${root}/LICENSE license)
string(REGEX REPLACE "\n+$" "" license "${license}")
list(JOIN HEADERS ", " names)
list(LENGTH taken count)
file(WRITE ${OUTPUT} "/// Sequin in one file: ${names}.
#pragma once

/*
${license}
*/

${text}")
file(SIZE ${OUTPUT} bytes)
message(STATUS "${OUTPUT}: ${count} headers, ${bytes} bytes")

# The shipped weights do what their cards say: a forecast that beats the naive ones, and text that its
# seed repeats. ctest calls it with -DPROGRAM=..., -DEXAMPLES=<examples/> and -DWORK=...
cmake_minimum_required(VERSION 3.21)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(weights ${EXAMPLES}/weights)
set(data ${EXAMPLES}/data)

function(sequin)
  execute_process(COMMAND ${PROGRAM} ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output
                  ERROR_VARIABLE errors WORKING_DIRECTORY ${WORK})
  if(NOT code EQUAL 0)
    message(SEND_ERROR "sequin ${ARGN}: expected exit code 0, found ${code} and '${errors}'")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_less what a b)
  if(NOT a LESS b)
    message(SEND_ERROR "${what}: expected less than ${b}, found ${a}")
  endif()
endfunction()

# Forecasts: the test part of the series, beside the naive ones that training recorded, and a file.
sequin(forecast ${weights}/departures --input ${data}/us_departures.csv --evaluate)
file(READ ${weights}/departures/metrics.json recorded)
foreach(error IN ITEMS mse mae)
  string(JSON ours GET "${output}" ${error})
  foreach(naive IN ITEMS repeat_last seasonal_naive)
    string(JSON theirs GET "${recorded}" ${naive} ${error})
    expect_less("the ${error} of a forecast beside that of ${naive}" ${ours} ${theirs})
  endforeach()
endforeach()
sequin(forecast ${weights}/departures --input ${data}/us_departures.csv -o next.csv)
file(STRINGS ${WORK}/next.csv lines)
list(LENGTH lines count)
if(NOT count EQUAL 49)
  message(SEND_ERROR "next.csv: expected a header and 48 rows, found ${count} lines")
endif()

# Text: the same from the same seed, another from another, and words that the text has.
foreach(seed IN ITEMS 1 1 2)
  sequin(generate ${weights}/bytes --prompt "In the beginning" --top-k 40 --temperature 0.8
         --new-tokens 300 --seed ${seed})
  string(REGEX MATCHALL " (the|and|of|that) " words "${output}")
  list(LENGTH words count)
  if(count LESS 5)
    message(SEND_ERROR "generate --seed ${seed}: expected words of the King James text, found "
                       "'${output}'")
  endif()
  string(SHA256 text${seed} "${output}")
  list(APPEND hashes ${text${seed}})
endforeach()
list(GET hashes 0 first)
list(GET hashes 1 again)
list(GET hashes 2 other)
if(NOT first STREQUAL again OR first STREQUAL other)
  message(SEND_ERROR "generate: expected the text of a seed to be repeated by that seed alone")
endif()

# The shipped weights do what their cards say: forecasts that beat naive ones, text that its seed
# repeats, two voices out of one recording. ctest calls it with -DPROGRAM=..., -DPRETRAIN=<program>,
# -DEXAMPLES=<examples/>, -DAUDIO=ON|OFF and -DWORK=...
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

# Each of them is measured.
foreach(folder IN ITEMS departures bytes separate separate_causal series)
  sequin(bench ${weights}/${folder} --json --repeat 1 --seconds 0.1)
  if(NOT output MATCHES "\"what\": \"(forward|prefill)\"")
    message(SEND_ERROR "sequin bench ${folder}: expected a pass over a batch, found '${output}'")
  endif()
endforeach()

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

# Series that the pre-trained forecaster has never seen: it beats the naive forecast (the seasonal
# one is told the season), and gaps are filled.
execute_process(COMMAND ${PRETRAIN} score ${weights}/series --csv ${data}/us_departures.csv
                        --period 48 --synthetic 60 --quiet --json
                RESULT_VARIABLE code OUTPUT_VARIABLE scores ERROR_VARIABLE errors)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "pretrain score: expected exit code 0, found ${code} and '${errors}'")
endif()
foreach(group IN ITEMS "file: us_departures" "all synthetic")
  string(JSON ours GET "${scores}" series "${group}" mase)
  string(JSON theirs GET "${scores}" naive "${group}" mase)
  expect_less("the MASE of ${group} beside that of the naive forecast" ${ours} ${theirs})
endforeach()
string(JSON ours GET "${scores}" series "all synthetic" mse)
string(JSON theirs GET "${scores}" "seasonal naive" "all synthetic" mse)
expect_less("the squared error of synthetic series beside that of the last season" ${ours} ${theirs})
file(WRITE ${WORK}/gap.csv "sales\n")
foreach(t RANGE 60)
  math(EXPR v "100 + ${t} % 7 * ${t} % 11")
  if(t EQUAL 30)
    set(v nan)
  endif()
  file(APPEND ${WORK}/gap.csv "${v}\n")
endforeach()
sequin(forecast ${weights}/series --input gap.csv --horizon 14 -o sales.csv)
file(STRINGS ${WORK}/sales.csv lines)
list(LENGTH lines count)
if(NOT count EQUAL 15 OR "${lines}" MATCHES "nan|inf")
  message(SEND_ERROR "sales.csv: expected a header and 14 numbers, found '${lines}'")
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

# Separation: the bundled mixture, scored against its sources.
if(AUDIO)
  foreach(folder IN ITEMS separate separate_causal)
    set(least 1)
    if(folder STREQUAL "separate_causal")
      set(least 0.3)
    endif()
    sequin(separate ${data}/two_voices.wav --model ${weights}/${folder} -o ${folder} --quiet)
    sequin(sisdr --estimate ${folder}/two_voices_speaker1.wav ${folder}/two_voices_speaker2.wav
           --source ${data}/two_voices_source1.wav ${data}/two_voices_source2.wav
           --mixture ${data}/two_voices.wav --json)
    string(JSON gain GET "${output}" si_sdri)
    expect_less("SI-SDRi of ${folder} on the bundled mixture in dB, least" ${least} ${gain})
  endforeach()
endif()

# Training and forecasting through the program: each kind of forecaster, each choice of columns, the
# same bytes from the same seed, dates that follow the calendar. ctest calls it with -DPROGRAM=...,
# -DDATA=<us_departures.csv> and -DWORK=...
cmake_minimum_required(VERSION 3.21)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

function(sequin)
  execute_process(COMMAND ${PROGRAM} ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output
                  ERROR_VARIABLE errors WORKING_DIRECTORY ${WORK})
  if(NOT code EQUAL 0)
    message(SEND_ERROR "sequin ${ARGN}: expected exit code 0, found ${code} and '${errors}'")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(same_bytes a b)
  file(SHA256 ${WORK}/${a} first)
  file(SHA256 ${WORK}/${b} second)
  if(NOT first STREQUAL second)
    message(SEND_ERROR "${a} and ${b}: expected the same bytes")
  endif()
endfunction()

# header_and_rows(<file> <first line> <number of lines> <start of the last line>)
function(header_and_rows file header count last)
  file(STRINGS ${WORK}/${file} lines)
  list(LENGTH lines found)
  list(GET lines 0 first)
  list(GET lines -1 end)
  string(FIND "${end}" "${last}" at)
  if(NOT first STREQUAL header OR NOT found EQUAL count OR NOT at EQUAL 0)
    message(SEND_ERROR "${file}: expected ${count} lines from '${header}' to '${last}', found "
                       "${found} from '${first}' to '${end}'")
  endif()
endfunction()

# config(<folder> <model> <features> <channels in> <channels out> <freq>)
function(config name model features channels outputs freq)
  file(WRITE ${WORK}/${name}.json "{\"model\": \"${model}\", \"features\": \"${features}\", "
    "\"data\": \"custom\", \"target\": \"DTW\", \"freq\": \"${freq}\", \"seq_len\": 24, "
    "\"label_len\": 12, \"pred_len\": 6, \"dec_in\": ${channels}, "
    "\"enc_in\": ${channels}, \"c_out\": ${outputs}, \"d_model\": 8, \"n_heads\": 2, \"e_layers\": 2, "
    "\"d_ff\": 8, \"factor\": 1, \"s_layers\": \"2,1\", \"train_epochs\": 1, \"batch_size\": 16}")
endfunction()

file(STRINGS ${DATA} lines LIMIT_COUNT 401)
list(JOIN lines "\n" text)
file(WRITE ${WORK}/data.csv "${text}\n")  # to 2001-01-09 07:30, every half hour
set(all "date,ORD,DFW,ATL,LAX,PHX,STL,DTW")

config(itransformer itransformer M 7 7 t)
config(informer informer M 7 7 t)
config(stack informerstack S 1 1 t)
config(tslib informer_tslib MS 7 1 t)
config(itransformer_ms itransformer MS 7 7 t)
foreach(name itransformer informer stack tslib itransformer_ms)
  sequin(train ${name}.json --data data.csv -o ${name} --seed 5 --quiet)
  sequin(forecast ${name} --input data.csv -o ${name}.csv)
  if(name MATCHES "^(itransformer|informer)$")
    header_and_rows(${name}.csv "${all}" 7 "2001-01-09 10:30:00,")
  else()
    header_and_rows(${name}.csv "date,DTW" 7 "2001-01-09 10:30:00,")
  endif()
  sequin(forecast ${name} --input data.csv --evaluate)
  if(NOT output MATCHES "\"windows\": 75")
    message(SEND_ERROR "${name}: expected scores of 75 windows, found '${output}'")
  endif()
endforeach()
# The same seed: the same training (drawn keys included), the same forecast.
sequin(train informer.json --data data.csv -o again --seed 5 --quiet)
same_bytes(informer/weights.safetensors again/weights.safetensors)
sequin(forecast again --input data.csv -o again.csv)
same_bytes(informer.csv again.csv)
# One epoch and, resumed, another one is what two epochs are: the drawn keys are part of it.
sequin(train informer.json --data data.csv -o two --seed 5 --epochs 2 --quiet)
sequin(train informer.json --data data.csv -o again --seed 5 --epochs 2 --resume --quiet)
same_bytes(two/checkpoint.safetensors again/checkpoint.safetensors)

# Month after month, on its last day.
set(text "date,DTW\n")
foreach(year RANGE 2001 2012)
  foreach(day 01-31 02-28 03-31 04-30 05-31 06-30 07-31 08-31 09-30 10-31 11-30 12-31)
    if(day STREQUAL "02-28" AND (year EQUAL 2004 OR year EQUAL 2008 OR year EQUAL 2012))
      set(day 02-29)
    endif()
    string(REPLACE "-" "" number ${day})
    string(APPEND text "${year}-${day},${number}\n")
  endforeach()
endforeach()
file(WRITE ${WORK}/months.csv "${text}")
config(months informer S 1 1 m)
sequin(train months.json --data months.csv -o months --batch-size 4 --quiet)
sequin(forecast months --input months.csv -o months_next.csv)
header_and_rows(months_next.csv "date,DTW" 7 "2013-06-30 00:00:00,")

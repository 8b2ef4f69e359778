# Bad requests and files through the program: exit code 2, one line on stderr that names what was
# wrong, nothing written. ctest calls it with -DPROGRAM=..., -DGOLDEN=... and -DWORK=...
cmake_minimum_required(VERSION 3.21)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

# refuses(<text that stderr holds> <argument>...)
function(refuses expected)
  execute_process(COMMAND ${PROGRAM} ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output
                  ERROR_VARIABLE errors WORKING_DIRECTORY ${WORK})
  string(REGEX MATCHALL "\n" lines "${errors}")
  list(LENGTH lines count)
  string(FIND "${errors}" "${expected}" at)
  if(NOT code EQUAL 2 OR NOT count EQUAL 1 OR at EQUAL -1)
    message(SEND_ERROR "sequin ${ARGN}: expected exit code 2 and one line with '${expected}', "
                       "found ${code} and '${errors}'")
  endif()
  if(EXISTS ${WORK}/out)
    message(SEND_ERROR "sequin ${ARGN}: left an output behind")
  endif()
endfunction()

# changed(<folder> <case> <from> <to>): a copy of a case with another config.
function(changed folder case from to)
  file(COPY ${GOLDEN}/${case}/ DESTINATION ${WORK}/${folder})
  file(READ ${WORK}/${folder}/config.json text)
  string(REPLACE "${from}" "${to}" text "${text}")
  file(WRITE ${WORK}/${folder}/config.json "${text}")
endfunction()

set(mamba ${GOLDEN}/mamba/rms_tied)
set(forecaster ${GOLDEN}/itransformer/norm_marks_attn)

refuses("expected a file, found none" check ${WORK}/nowhere)
refuses("no subcommand 'frobnicate', expected one of list, " frobnicate)
refuses("no subcommand 'frobnicate', expected one of list, " frobnicate --threads 2)
refuses("subcommand is required")
refuses("--output" run ${mamba} --input ${mamba}/io.safetensors)
refuses("'input.x_enc'" run ${forecaster} --input ${mamba}/io.safetensors --output out)
refuses("--stream" run ${forecaster} --input ${forecaster}/io.safetensors --output out --stream)
refuses("token 99" generate ${mamba} --prompt 1,99)
refuses("separated by commas" generate ${mamba} --prompt 1,,2)
refuses("--prompt" generate ${mamba} --prompt)
refuses("none.json: expected a file" generate ${mamba} --prompt a --tokenizer none.json)
refuses("model: expected object" generate ${mamba} --prompt a --tokenizer ${mamba}/config.json)
refuses("format: expected" generate ${mamba} --prompt 1
        --state ${mamba}/weights.safetensors)
refuses("top_k" generate ${mamba} --prompt 1 --top-k -3)
refuses("expected a language model" generate ${forecaster} --prompt 1)
refuses("expected a file, found none" train ${forecaster}/config.json --data nothing.csv -o out)
refuses("cannot be written" run ${mamba} --input ${mamba}/io.safetensors --output nowhere/out)

changed(huge mamba/rms_tied "\"d_model\": 24" "\"d_model\": 1000000")
refuses("config.json asks for" check huge)
changed(zero mamba/rms_tied "\"d_model\": 24" "\"d_model\": 0")
refuses("d_model: expected an integer 1 to" check zero)
changed(fraction mamba/rms_tied "\"n_layer\": 2" "\"n_layer\": 2.5")
refuses("found 2.5" check fraction)
changed(missing mamba/rms_tied "\"n_layer\": 2" "\"n_layer\": 3")
refuses("missing: 'backbone.layers.2" check missing)
changed(surplus mamba/rms_tied "\"n_layer\": 2" "\"n_layer\": 1")
refuses("surplus: 'backbone.layers.1" check surplus)
changed(heads itransformer/norm_marks_attn "\"n_heads\": 4" "\"n_heads\": 400")
refuses("n_heads" check heads)
changed(odd informer_tslib/long_term_forecast "\"d_model\": 12" "\"d_model\": 13")
refuses("d_model: expected an even number, found 13" check odd)
changed(attention informer/prob_learned_train_batchnorm "\"attn\": \"prob\"" "\"attn\": \"log\"")
refuses("attn: expected prob or full" check attention)
changed(factor informer/prob_learned_train_batchnorm "\"factor\": 1" "\"factor\": 2")
refuses("samples are [30, 4], expected [30, 8]" check factor)
changed(unknown mamba/rms_tied "\"mamba\"" "\"mambo\"")
refuses("found 'mambo'" check unknown)

file(COPY ${mamba}/ DESTINATION ${WORK}/cut)
file(WRITE ${WORK}/cut/weights.safetensors "12345678{}")
refuses("header" check cut)
file(WRITE ${WORK}/cut/weights.safetensors "")
refuses("found an empty one" check cut)

file(WRITE ${WORK}/ragged.csv "date,a,b\n2020-01-01 00:00:00,1,2\n2020-01-01 01:00:00,1\n")
refuses("ragged.csv:3" forecast ${forecaster} --input ragged.csv -o out)
file(WRITE ${WORK}/comma.csv "date,a\n2020-01-01 00:00:00,\"1,5\"\n")
refuses("expected a number, found '1,5'" forecast ${forecaster} --input comma.csv -o out)
file(WRITE ${WORK}/short.csv "date,a\n2020-01-01 00:00:00,1\n2020-01-01 01:00:00,2")
refuses("expected at least 24 rows, found 2" forecast ${forecaster} --input short.csv -o out)

# Audio: AUDIO is tests/data/audio, or empty in a program built without libsndfile.
if(AUDIO)
  set(pair --source ${AUDIO}/tone.wav ${AUDIO}/other.wav)
  foreach(broken IN ITEMS "empty.wav|found an empty one" "no_samples.wav|expected samples, found none"
                          "cut.wav|expected 800 bytes of samples" "rate_0.wav|sample rate above 0"
                          "channels_65535.wav|expected an audio file" "nan.wav|found NaN"
                          "make.py|expected an audio file" "none.wav|found none"
                          "one_sample.wav|expected 400 samples as the first source"
                          "mixture_stereo_16k.wav|expected 8000 Hz as the first source")
    string(REGEX REPLACE "\\|.*" "" file "${broken}")
    string(REGEX REPLACE ".*\\|" "" text "${broken}")
    refuses("${text}" sisdr --quiet --estimate ${AUDIO}/tone.wav ${AUDIO}/${file} ${pair})
  endforeach()
  refuses("expected 2 files as --source, found 1" sisdr --estimate ${AUDIO}/tone.wav ${pair})
endif()

set(departures ${GOLDEN}/../../../examples/data/us_departures.csv)
refuses("the series has 7 variates, expected the model's enc_in = 4" forecast
        ${GOLDEN}/informer_tslib/long_term_forecast --input ${departures} -o out)

set(time_moe ${GOLDEN}/time_moe/moe_readme)
file(WRITE ${WORK}/few.csv "date,a\n2020-01-01 00:00:00,1\n2020-01-01 01:00:00,\n")
refuses("expected a number, found ''" forecast ${time_moe} --input few.csv --evaluate)
refuses("expected more than 2 rows to hold out" forecast ${time_moe} --input few.csv --holdout
        --horizon 2 -o out)
refuses("--column is 'b'" forecast ${time_moe} --input few.csv --column b -o out)
refuses("--horizon" forecast ${forecaster} --input few.csv --horizon 3 -o out)
changed(neither time_moe/moe_readme "\"apply_aux_loss\": true" "\"apply_aux_loss\": false")
refuses("found neither" check neither)
refuses("expected 'input.input_ids' or 'input.series', found neither" run ${time_moe}
        --input ${time_moe}/weights.safetensors --output out)
changed(experts blocks/load_balancing_loss/mask "\"num_experts\": 5" "\"num_experts\": 7")
refuses("expected [N, 7], found [21, 5]" check experts)
changed(dense time_moe/moe_readme "\"apply_aux_loss\": true" "\"apply_aux_loss\": false")
file(READ ${WORK}/dense/config.json text)
string(REPLACE "\"use_dense\": false" "\"use_dense\": true" text "${text}")
file(WRITE ${WORK}/dense/config.json "${text}")
refuses("missing: 'model.layers.0.ffn_layer.gate_proj.weight'" check dense)

# A checkpoint of another variant: the message ends with what it looks like.
changed(layout mossformer2/ss_small_mse_ragged "clearervoice_ss" "standalone")
refuses("by its names the file holds the layout clearervoice_ss" check layout)

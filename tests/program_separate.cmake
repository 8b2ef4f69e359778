# Audio through the program: one file a speaker, the same bytes each time, and what it refuses. ctest
# calls it with -DPROGRAM=..., -DGOLDEN=..., -DAUDIO=... and -DWORK=...
cmake_minimum_required(VERSION 3.21)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(model ${GOLDEN}/mossformer2/ss_small_mse_ragged)

include(${CMAKE_CURRENT_LIST_DIR}/program.cmake)

# Stereo is mixed down, with a word about it; both speakers are written.
run(0 "mixture_stereo_16k_speaker2.wav" separate ${AUDIO}/mixture_stereo_16k.wav --model ${model}
    -o a)
run(0 "channels" separate ${AUDIO}/mixture_stereo_16k.wav --model ${model} -o b)
foreach(speaker IN ITEMS 1 2)
  same(a/mixture_stereo_16k_speaker${speaker}.wav b/mixture_stereo_16k_speaker${speaker}.wav)
endforeach()
# Another rate than the model's, and back.
run(0 "resampled" separate ${AUDIO}/tone.wav --model ${model} -o c)
# Audio within a segment does not depend on the segment.
run(0 "real-time factor" separate ${AUDIO}/mixture_stereo_16k.wav --model ${model} -o d --segment 60
    --quiet)
same(a/mixture_stereo_16k_speaker1.wav d/mixture_stereo_16k_speaker1.wav)
# Short segments and the official windows run as well.
run(0 "real-time factor" separate ${AUDIO}/mixture_stereo_16k.wav --model ${model} -o e
    --segment 0.01 --overlap 0.002 --quiet)
run(0 "real-time factor" separate ${AUDIO}/mixture_stereo_16k.wav --model ${model} -o f --official
    --quiet)

# Drawn weights under the official names make a model that runs.
run(0 "parameters" init ${model}/config.json drawn --seed 3)
run(0 "real-time factor" separate ${AUDIO}/mixture_stereo_16k.wav --model drawn -o g --quiet)

# A causal model gives the same whatever the segments, and its speakers keep their files.
set(causal ${GOLDEN}/causal_mossformer2/two_speakers)
run(0 "mixture_stereo_16k_speaker2.wav" separate ${AUDIO}/mixture_stereo_16k.wav --model ${causal}
    -o h)
run(0 "real-time factor" separate ${AUDIO}/mixture_stereo_16k.wav --model ${causal} -o i
    --segment 0.011 --quiet)
foreach(speaker IN ITEMS 1 2)
  same(h/mixture_stereo_16k_speaker${speaker}.wav i/mixture_stereo_16k_speaker${speaker}.wav)
endforeach()
run(2 "--official: expected a model with a published program" separate ${AUDIO}/tone.wav
    --model ${causal} -o refused --official)
run(0 "parameters" init ${causal}/config.json causal_drawn --seed 3)
run(0 "real-time factor" separate ${AUDIO}/tone.wav --model causal_drawn -o j --quiet)
run(0 "multiply-adds of a forward pass on [1, 16000]" info causal_drawn)
run(0 "allocations" bench causal_drawn --repeat 2 --seconds 0.1)

foreach(file IN ITEMS empty no_samples one_sample cut nan rate_0 channels_65535)
  run(2 "${file}.wav" separate ${AUDIO}/${file}.wav --model ${model} -o refused)
endforeach()
run(2 "expected a model that separates" separate ${AUDIO}/tone.wav
    --model ${GOLDEN}/mamba/rms_tied -o refused)
run(2 "masks" separate ${AUDIO}/tone.wav --model ${GOLDEN}/mossformer2/se48k_small -o refused)
if(EXISTS ${WORK}/refused)
  message(SEND_ERROR "a refused request left an output behind")
endif()

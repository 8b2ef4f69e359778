# Audio through the realtime program: whatever the block, the same samples, and no allocation. ctest
# calls it with -DPROGRAM=..., -DMODEL=..., -DCAUSAL=..., -DMAMBA=... and -DWORK=...
cmake_minimum_required(VERSION 3.21)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

include(${CMAKE_CURRENT_LIST_DIR}/program.cmake)

run(0 "" signal notes.wav --seconds 0.5)
foreach(block IN ITEMS 1 7 32 64 128 1000 100000)
  run(0 "the same bits" run notes.wav -m ${MODEL} -o block${block}.wav --block ${block} --check)
  same(block1.wav block${block}.wav)
endforeach()
file(SIZE ${WORK}/block1.wav size)
if(size LESS 90000)
  message(SEND_ERROR "expected half a second of samples in block1.wav, found ${size} bytes")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${WORK}/notes.wav ${WORK}/block1.wav
                RESULT_VARIABLE different)
if(NOT different)
  message(SEND_ERROR "expected the model to change the signal")
endif()

# Two halves with a state between them. The audio is played twice, once in two runs.
run(0 "in 750 blocks" run notes.wav -m ${MODEL} --soak 0.0166667 --save-state twice)
run(0 "in 375 blocks" run notes.wav -m ${MODEL} --save-state once)
run(0 "the same bits" run notes.wav -m ${MODEL} --block 33 --check --state once
    --save-state again)
same(twice again)

# A model that takes hops and gives two speakers: one file each, whatever the block.
foreach(block IN ITEMS 1 7 32 64 128 1000)
  run(0 "the same bits" run notes.wav -m ${CAUSAL} -o voice${block}.wav --block ${block} --check)
  foreach(speaker IN ITEMS 1 2)
    same(voice1_${speaker}.wav voice${block}_${speaker}.wav)
  endforeach()
endforeach()
run(0 "of audio in 118 blocks" run notes.wav -m ${CAUSAL} --block 34 --save-state middle)
run(0 "the same bits" run notes.wav -m ${CAUSAL} --block 33 --check --state middle)

# A model that is trained here runs; its states and the other's are not for each other.
run(0 "of the signal's" train -o small --seconds 2 --hidden 3 --epochs 2 --quiet)
run(0 "the same bits" run notes.wav -m small --check --save-state small_state)
run(2 "state_of: expected" run notes.wav -m small --state once)
run(2 "expected an audio file" run nothing.wav -m small)
run(2 "config.json" run notes.wav -m nothing)
run(2 "model: expected" run notes.wav -m ${MAMBA})
run(2 "--block" run notes.wav -m small --block 0)

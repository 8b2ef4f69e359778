# docs/faq.md quotes messages as the sources have them.
#   cmake -DROOT=path -P tests/faq.cmake
cmake_minimum_required(VERSION 3.21)
file(READ ${ROOT}/docs/faq.md faq)

function(expect_quoted file message)
  file(READ ${ROOT}/${file} source)
  foreach(text IN ITEMS faq source)
    string(FIND "${${text}}" "${message}" at)
    if(at EQUAL -1 OR message STREQUAL "")
      message(FATAL_ERROR "\"${message}\" of ${file}: not in its ${text}")
    endif()
  endforeach()
endfunction()

expect_quoted(include/sequin/core/version.hpp
              "Sequin needs C++20: -std=c++20, or target_compile_features(... cxx_std_20)")
expect_quoted(include/sequin/io/load_model.hpp "the tensors are not those of the model: ")
expect_quoted(include/sequin/io/load_model.hpp "by its names the file holds ")
expect_quoted(include/sequin/io/weights.hpp ": expected weights.safetensors, model.safetensors or ")
expect_quoted(include/sequin/io/safetensors.hpp ": header: expected at most ")
expect_quoted(include/sequin/io/load_model.hpp ": config.json asks for ")
expect_quoted(include/sequin/io/config.hpp "an integer ")
expect_quoted(examples/sequin/models.cpp "model: expected a name that `sequin list` shows, found none")
expect_quoted(include/sequin/ops/linear.hpp "linear: x is ")
expect_quoted(include/sequin/models/itransformer.hpp "iTransformer: x_enc is ")
expect_quoted(include/sequin/models/itransformer.hpp ", V >= 1] (S from seq_len)")
expect_quoted(include/sequin/ops/embedding.hpp "] is out of range [0, V=")
expect_quoted(include/sequin/train/optimizer.hpp " parameters asks for a gradient, expected at least one")
expect_quoted(include/sequin/autograd/tape.hpp "gradients: the loss is ")
expect_quoted(include/sequin/autograd/tape.hpp
              "gradients: what led to this output was freed by an earlier call; record it again")
expect_quoted(include/sequin/autograd/recorder.hpp
              "tape: an operation comes from a file compiled without gradients; include ")
expect_quoted(include/sequin/core/parameter.hpp
              "expected its elements, found that prepare_for_inference gave them up")
expect_quoted(include/sequin/core/stream_state.hpp "the state is of another model or batch: ")
expect_quoted(include/sequin/core/error.hpp "sequin: internal error: ")
expect_quoted(cmake/dependencies.cmake " or newer: not found (")
expect_quoted(cmake/dependencies.cmake "libeigen3-dev")
expect_quoted(cmake/dependencies.cmake " in it or in its folder include, found none")

# The instruction sets' names and the version in them.
file(STRINGS ${ROOT}/include/sequin/core/version.hpp lines REGEX "^#define SEQUIN_ABI v")
foreach(name IN ITEMS avx2_fma sse2)
  string(REGEX MATCH "v[0-9_]+_${name}" tag "${lines}")
  expect_quoted(include/sequin/core/version.hpp "${tag}")
endforeach()

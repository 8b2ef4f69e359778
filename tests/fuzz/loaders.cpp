// The loaders' functions that are no templates, compiled once for the targets that need no model.
#define SEQUIN_COMPILED_SOURCE
#include "sequin/io/config.hpp"
#include "sequin/io/npy_header.hpp"
#include "sequin/io/safetensors.hpp"
#include "sequin/io/tokenizer_file.hpp"
#include "sequin/io/weights.hpp"

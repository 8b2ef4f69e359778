/// What nearly every test includes of others' headers, compiled once for all test programs where
/// CMake's precompiled headers are on: parsing it takes longer than most tests.
#pragma once

#include "sequin/core/eigen.hpp"
#include "sequin/core/simd.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

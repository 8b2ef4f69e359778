/// One line of the comparison: the same piece of work done by Sequin and by its peers.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sequin_compare {

using sequin::index_t;

/// What a piece of work cannot do without: it bounds the time from below.
struct Work {
  double flops = 0;  ///< multiply-adds count twice
  double bytes = 0;  ///< read and written once
  double exps = 0;   ///< exponentials
};

/// A float tensor handed to the peers in other processes.
struct Input {
  std::string name;
  std::vector<index_t> shape;
  std::vector<float> values;
};

/// A peer in this process. `run` does the work once; `output` is what it then left.
struct LocalPeer {
  std::string name;
  std::function<void()> run;
  std::function<std::span<const float>()> output;
};

/// A line as it runs. `keep` owns what the functions refer to.
struct Line {
  Work work;
  std::function<void()> run;                       ///< Sequin's way, warm: allocates nothing
  std::function<std::span<const float>()> output;  ///< what `run` left; empty: not compared
  std::vector<LocalPeer> local;
  nlohmann::json request;     ///< {"op": ..., sizes} for the peers in other processes; null: none
  std::vector<Input> inputs;  ///< for them
  double tolerance = 2e-4;    ///< of outputs, relative to the largest
  double floor_seconds = 0;   ///< shortest batch of calls to time; 0: the default
  int most_rounds = 0;        ///< where a call takes seconds; 0: as many as asked for
  std::shared_ptr<void> keep;
};

/// A line by name. It is made when its turn comes, so that one line's memory is in use at a time.
struct LineMaker {
  std::string group, name;
  std::function<Line(index_t threads)> make;
};

/// Numbers between -1 and 1, the same for the same seed, for Sequin and the peers alike.
inline std::vector<float> draw(index_t count, std::uint64_t seed, float scale = 1) {
  std::vector<float> values(static_cast<std::size_t>(count));
  sequin::Generator random(seed);
  for (float& v : values) v = scale * (2 * random.uniform<float>() - 1);
  return values;
}

/// An input with drawn values.
inline Input drawn(std::string name, std::vector<index_t> shape, std::uint64_t seed,
                   float scale = 1) {
  index_t count = 1;
  for (const index_t n : shape) count *= n;
  return {std::move(name), std::move(shape), draw(count, seed, scale)};
}

/// The same values as a tensor.
template <std::size_t Rank>
sequin::Tensor<float, Rank> tensor(const Input& input) {
  sequin::Shape<Rank> shape;
  for (std::size_t i = 0; i < Rank; ++i) shape[i] = input.shape[i];
  sequin::Tensor<float, Rank> t(shape);
  std::copy(input.values.begin(), input.values.end(), t.data());
  return t;
}

/// All lines, in the order of the table.
std::vector<LineMaker> all_lines();

void add_product_lines(std::vector<LineMaker>& lines);
void add_elementwise_lines(std::vector<LineMaker>& lines);
void add_convolution_lines(std::vector<LineMaker>& lines);
void add_attention_lines(std::vector<LineMaker>& lines);
void add_sequence_lines(std::vector<LineMaker>& lines);
void add_model_lines(std::vector<LineMaker>& lines);

}  // namespace sequin_compare

// A small streaming model of hops of samples: encoder, causal memory, decoder.
#pragma once

#include "sequin/blocks/causal_fsmn.hpp"
#include "sequin/ops/shape.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace sequin_test {

template <class T>
class HopNet {
 public:
  using value_type = T;
  using State = sequin::CausalFsmnState<T>;
  using StreamInput = T;

  sequin::Linear<T> encoder, decoder;
  sequin::CausalFsmn<T> memory;

  explicit HopNet(sequin::index_t hop, sequin::index_t width = 6, sequin::index_t lorder = 3)
      : encoder(hop, width), decoder(width, hop), memory({width, 5, lorder}), hop_(hop) {
    sequin::Generator generator(9);
    encoder.initialize(generator);
    decoder.initialize(generator);
    memory.initialize(generator);
    sequin::prepare(*this);
  }

  /// Hops (B, T, hop) -> (B, T, hop).
  sequin::Tensor<T, 3> forward(const sequin::Tensor<T, 3>& x, State* state = nullptr) const {
    return decoder.forward(memory.forward(encoder.forward(x), state));
  }

  State initial_state(sequin::index_t batch) const { return memory.initial_state(batch); }
  sequin::index_t stream_width() const noexcept { return hop_; }
  sequin::StreamTiming timing() const noexcept { return memory.timing(); }
  bool accepts(std::span<const T> x) const noexcept {
    return std::all_of(x.begin(), x.end(), [](T v) { return std::isfinite(v); });
  }
  sequin::Tensor<T, 2> step(std::span<const T> x, State& state) const {
    const auto batch = static_cast<sequin::index_t>(x.size()) / hop_;
    const sequin::Tensor<T, 3> hops({batch, 1, hop_}, x);
    return forward(hops, &state).template reshaped<2>({batch, hop_});
  }

  void visit(sequin::Visitor<T>& v) {
    v.child("encoder", encoder);
    v.child("memory", memory);
    v.child("decoder", decoder);
  }

 private:
  sequin::index_t hop_;
};

}  // namespace sequin_test

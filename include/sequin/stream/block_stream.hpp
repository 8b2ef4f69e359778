/// A model that takes hops of samples, fed with blocks of any size, as an audio callback has them.
#pragma once

#include "sequin/core/stream_state.hpp"
#include "sequin/core/stream_timing.hpp"
#include "sequin/stream/session.hpp"

#include <algorithm>
#include <concepts>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// A Streamable model that takes a hop of `stream_width()` samples and gives as many, of one
/// channel or of several, sample by sample.
template <class M>
concept SampleModel = Streamable<M> &&
    std::same_as<typename M::StreamInput, typename M::value_type> && requires(const M& model) {
  { model.timing() } -> std::same_as<StreamTiming>;
};

/// What a BlockStream remembers: the model's state and the samples that wait for the rest of their
/// hop or for their turn.
template <SampleModel Model>
struct BlockStreamState : StreamState<BlockStreamState<Model>> {
  using T = typename Model::value_type;

  typename Model::State model;
  StateTensor<T, 1> waiting;  ///< (hop)
  StateTensor<T, 1> ready;    ///< (hop x channels)
  index_t filled = 0;         ///< samples that wait

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.child("model", s.model...);
    v.tensor("waiting", s.waiting...);
    v.tensor("ready", s.ready...);
    v.position("filled", StatePosition{s.filled, s.waiting.extent(0)}...);
  }
};

/// One channel of audio through one model: as many samples out as go in, of one channel or, from a
/// model that separates, of several. However a signal is cut into blocks, the output is the same,
/// bit for bit, and it comes `timing().latency` samples late.
///
///     BlockStream stream(model);
///     ... in the callback:
///     stream.process(input, output);
///
/// As with Session, the constructor allocates all that is needed, the model outlives the stream,
/// and one thread at a time uses it.
template <SampleModel Model>
class BlockStream {
 public:
  using T = typename Model::value_type;
  using State = BlockStreamState<Model>;

  /// Throws ConfigError when the model does not give a number of channels for each sample that it
  /// takes.
  explicit BlockStream(const Model& model)
      : model_(&model),
        session_(model),
        waiting_(Tensor<T, 1>(Shape<1>{hop()})),
        ready_(Tensor<T, 1>(Shape<1>{session_.output_width()})) {
    if (session_.output_width() < hop() || session_.output_width() % hop() != 0)
      throw ConfigError("BlockStream: a step of the model takes " + std::to_string(hop()) +
                        " samples and gives " + std::to_string(session_.output_width()) +
                        ", expected as many or a multiple");
  }

  /// Samples that the model takes at a time.
  index_t hop() const noexcept { return model_->stream_width(); }
  /// Values that the model gives for each sample.
  index_t channels() const noexcept { return session_.output_width() / hop(); }

  /// In samples: a hop has to be there before it can be computed, so its first sample comes
  /// hop - 1 samples late, more when the model itself is late or looks ahead.
  StreamTiming timing() const noexcept {
    const StreamTiming steps = model_->timing();
    StreamTiming samples = StreamTiming::unbounded();
    if (steps.receptive_field) samples.receptive_field = *steps.receptive_field * hop() + hop() - 1;
    samples.latency = steps.latency * hop() + hop() - 1;
    samples.lookahead = steps.lookahead * hop() + hop() - 1;
    return samples;
  }

  /// Takes samples and gives as many of each channel, sample by sample: channel c of sample i is
  /// out[i * channels() + c]. With one channel `out` may be `in`. Returns false, and gives zeros,
  /// for a hop that the model does not accept; false, with nothing done, when `out` is not
  /// channels() times as large as `in`. Real-time safe.
  bool process(std::span<const T> in, std::span<T> out) noexcept {
    const index_t channels = this->channels();
    if (in.size() * static_cast<std::size_t>(channels) != out.size()) return false;
    T* const waiting = waiting_.data();
    T* const ready = ready_.data();
    const index_t size = hop();
    bool good = true;
    for (std::size_t i = 0; i < in.size(); ++i) {
      waiting[filled_++] = in[i];
      if (filled_ == size) {
        const auto y = session_.step({waiting, static_cast<std::size_t>(size)});
        good = good && !y.empty();
        if (y.empty())
          std::fill_n(ready, size * channels, T{0});
        else
          std::copy(y.begin(), y.end(), ready);
        filled_ = 0;
      }
      std::copy_n(ready + filled_ * channels, channels,
                  out.data() + static_cast<index_t>(i) * channels);
    }
    return good;
  }

  /// Back to silence. Real-time safe.
  void reset() noexcept {
    session_.reset();
    waiting_.fill(T{0});
    ready_.fill(T{0});
    filled_ = 0;
  }

  /// A copy of all that is remembered. Not real-time safe.
  State state() const {
    State s;
    s.model = session_.state();
    s.waiting = waiting_;
    s.ready = ready_;
    s.filled = filled_;
    return s;
  }
  /// Goes on from another state. Throws ShapeError, and does nothing, when it is not one of this
  /// model. Real-time safe where the model's `assign` is.
  void set_state(const State& s) {
    if (s.waiting.extent(0) != hop() || s.ready.extent(0) != session_.output_width() ||
        s.filled < 0 || s.filled >= hop())
      throw ShapeError("BlockStream: the state is of hops of " +
                       std::to_string(s.waiting.extent(0)) + " samples of which " +
                       std::to_string(s.filled) + " wait, expected " + std::to_string(hop()) +
                       " and less than that");
    session_.set_state(s.model);
    waiting_.copy_from(s.waiting.span());
    ready_.copy_from(s.ready.span());
    filled_ = s.filled;
  }

 private:
  const Model* model_;
  Session<Model> session_;
  StateTensor<T, 1> waiting_, ready_;
  index_t filled_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI

// realtime run: a WAV through a model in blocks, and what it took.
#include "amp.hpp"
#include "block_times.hpp"
#include "commands.hpp"

#include "audio/audio_file.hpp"
#include "common/allocation_count.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/io/state_file.hpp"
#include "sequin/io/weights_fingerprint.hpp"
#include "sequin/stream/block_stream.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>

namespace realtime {

using namespace sequin;

namespace {

struct RunArguments {
  std::string input, model, output, state, save_state;
  index_t block = 64;
  double soak = 0;  ///< minutes
  bool check = false;
};

/// Bytes of memory that the process holds; 0 where the system does not tell.
std::size_t resident_memory() {
  std::size_t pages = 0;
  if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*u %zu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * 4096;
}

/// Seconds that this thread has been computing, whatever else the machine does; 0 where the system
/// does not tell.
double thread_seconds() noexcept {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
#else
  return 0;
#endif
}

/// What the device of an audio program does: the signal, again and again, in blocks.
class Callback {
 public:
  Callback(BlockStream<Amp<float>>& stream, std::span<const float> signal, index_t block)
      : stream_(stream),
        signal_(signal),
        first_(signal.size()),
        in_(static_cast<std::size_t>(block)),
        out_(in_.size()) {}

  /// The next `samples`.
  void play(std::size_t samples) noexcept {
    while (samples > 0) {
      const std::size_t n = (std::min)(in_.size(), samples);
      for (std::size_t i = 0; i < n; ++i) {
        in_[i] = signal_[at_];
        at_ = at_ + 1 == signal_.size() ? 0 : at_ + 1;
      }
      const double computed = thread_seconds();
      const auto start = std::chrono::steady_clock::now();
      refused_ += !stream_.process(std::span(in_).first(n), std::span(out_).first(n));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      times_.add(took.count());
      own_times_.add(thread_seconds() - computed);
      const std::size_t kept = (std::min)(n, first_.size() - played_);
      std::copy_n(out_.data(), kept, first_.data() + played_);
      played_ += kept;
      samples -= n;
    }
  }

  const BlockTimes& times() const noexcept { return times_; }
  /// The same without what other programs took in between.
  const BlockTimes& own_times() const noexcept { return own_times_; }
  std::size_t refused() const noexcept { return refused_; }
  /// The signal's first pass, as far as it was played.
  std::span<const float> output() const noexcept { return std::span(first_).first(played_); }

 private:
  BlockStream<Amp<float>>& stream_;
  std::span<const float> signal_;
  std::vector<float> first_, in_, out_;
  std::size_t at_ = 0, played_ = 0, refused_ = 0;
  BlockTimes times_, own_times_;
};

void print_timing(const StreamTiming& timing, double rate) {
  std::printf("  model latency      %td samples, %.2f ms; lookahead %td samples; receptive field ",
              timing.latency, 1e3 * static_cast<double>(timing.latency) / rate, timing.lookahead);
  if (timing.receptive_field)
    std::printf("%td samples\n", *timing.receptive_field);
  else
    std::printf("everything before\n");
}

/// True when the output is, bit for bit, that of one pass over as much of the signal.
bool equals_one_pass(const Amp<float>& model, BlockStreamState<Amp<float>> before,
                     std::span<const float> signal, std::span<const float> output) {
  const NoGrad no_grad;
  const Tensor<float, 3> x({1, static_cast<index_t>(output.size()), 1},
                           signal.first(output.size()));
  const Tensor<float, 3> whole = model.forward(x, &before.model);
  return std::equal(output.begin(), output.end(), whole.span().begin(), whole.span().end());
}

int run(const RunArguments& a) {
  auto model = load_model<Amp<float>>(a.model);
  const std::string weights = weights_fingerprint(model);
  sequin_examples::AudioNotes notes;
  const auto rate = static_cast<int>(model.config().sample_rate);
  const auto audio = sequin_examples::read_audio(a.input, rate, &notes);
  for (const std::string& note : notes) std::fprintf(stderr, "%s\n", note.c_str());

  BlockStream stream(model);
  auto before = stream.state();
  if (!a.state.empty()) {
    load_state(a.state, before, weights);
    stream.set_state(before);
  }
  const auto total =
      a.soak > 0 ? static_cast<std::size_t>(60 * a.soak * rate) : audio.samples.size();
  Callback callback(stream, audio.samples, a.block);
  // The first second touches what is touched at all.
  const std::size_t first = (std::min)(total, static_cast<std::size_t>(rate));
  std::size_t count = sequin_examples::allocation_count();
  callback.play(first);
  std::size_t allocations = sequin_examples::allocation_count() - count;
  const std::size_t memory_before = resident_memory();
  count = sequin_examples::allocation_count();
  callback.play(total - first);
  allocations += sequin_examples::allocation_count() - count;
  const std::size_t memory_after = resident_memory();

  const BlockTimes& times = callback.times();
  const double block_time = static_cast<double>(a.block) / rate;
  const auto line = [&](const char* what, double seconds) {
    std::printf("  %-18s %8.1f us, %5.2f %% of a block's time\n", what, 1e6 * seconds,
                100 * seconds / block_time);
  };
  std::printf("%s: GRU of %td units at %d Hz, %.1f s of audio in %llu blocks\n", a.model.c_str(),
              model.config().hidden_size, rate, static_cast<double>(total) / rate,
              static_cast<unsigned long long>(times.count()));
  std::printf("  block              %td samples, %.3f ms\n", a.block, 1e3 * block_time);
  print_timing(stream.timing(), rate);
  line("median block", times.quantile(0.5));
  line("99.9 % of blocks", times.quantile(0.999));
  line("worst block", times.worst());
  if (callback.own_times().worst() > 0) line("worst, own time", callback.own_times().worst());
  if (sequin_examples::allocations_are_counted())
    std::printf("  heap allocations   %zu\n", allocations);
  std::printf("  resident memory    %.2f MiB after a second, %.2f MiB at the end\n",
              static_cast<double>(memory_before) / 1048576,
              static_cast<double>(memory_after) / 1048576);

  if (!a.output.empty()) {
    sequin_examples::AudioWriter writer;
    writer.add(a.output, callback.output(), rate);
    writer.commit();
  }
  if (!a.save_state.empty()) save_state(a.save_state, stream.state(), weights);
  if (allocations > 0 || callback.refused() > 0) {
    std::fprintf(stderr, "realtime: %zu allocations and %zu refused blocks, expected none\n",
                 allocations, callback.refused());
    return 1;
  }
  if (!a.check) return 0;
  const bool same = equals_one_pass(model, before, audio.samples, callback.output());
  std::printf("  one pass over all  %s\n", same ? "the same bits" : "DIFFERS");
  return same ? 0 : 1;
}

}  // namespace

void add_run(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("run", "Play a WAV through a model, block by block");
  cmd->footer("Example: realtime run guitar.wav -m examples/realtime/drive -o driven.wav");
  const auto a = std::make_shared<RunArguments>();
  cmd->add_option("input", a->input, "a WAV; resampled when the model has another rate")
      ->required();
  cmd->add_option("-m,--model", a->model, "folder that `train` left")->required();
  cmd->add_option("-o,--output", a->output, "the WAV to write");
  cmd->add_option("--block", a->block, "samples in a block (64)")->check(CLI::Range(1, 1 << 20));
  cmd->add_option("--soak", a->soak, "repeat the audio for so many minutes of it")
      ->check(CLI::Range(0.01, 100000.0));
  cmd->add_flag("--check", a->check, "compare with one pass over the whole signal");
  cmd->add_option("--state", a->state, "continue from a state");
  cmd->add_option("--save-state", a->save_state, "write the state after the last block");
  cmd->callback([&chosen, a] { chosen = [a] { return run(*a); }; });
}

}  // namespace realtime

// realtime run: a WAV through a model in blocks, and what it took.
#include "amp.hpp"
#include "block_times.hpp"
#include "commands.hpp"

#include "audio/audio_file.hpp"
#include "common/allocation_count.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/io/state_file.hpp"
#include "sequin/io/weights_fingerprint.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/stream/block_stream.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
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

// What the program has to know of each kind of model.
int rate_of(const Amp<float>& model) { return static_cast<int>(model.config().sample_rate); }
int rate_of(const CausalMossFormer2<float>& model) {
  return static_cast<int>(model.config().sampling_rate);
}
std::string described(const Amp<float>& model) {
  return "GRU of " + std::to_string(model.config().hidden_size) + " units";
}
std::string described(const CausalMossFormer2<float>& model) {
  return std::to_string(model.config().num_spks) + " speakers, " +
         std::to_string(model.config().num_layers) + " layers,";
}
Tensor<float, 3> one_pass(const Amp<float>& model, std::span<const float> x,
                          Amp<float>::State& state) {
  return model.forward(Tensor<float, 3>({1, static_cast<index_t>(x.size()), 1}, x), &state);
}
Tensor<float, 3> one_pass(const CausalMossFormer2<float>& model, std::span<const float> x,
                          CausalMossFormer2State<float>& state) {
  return model.forward(Tensor<float, 2>({1, static_cast<index_t>(x.size())}, x), &state);
}

/// What the device of an audio program does: the signal, again and again, in blocks.
template <class Model>
class Callback {
 public:
  Callback(BlockStream<Model>& stream, std::span<const float> signal, index_t block)
      : stream_(stream),
        signal_(signal),
        channels_(static_cast<std::size_t>(stream.channels())),
        first_(signal.size() * channels_),
        in_(static_cast<std::size_t>(block)),
        out_(in_.size() * channels_) {}

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
      refused_ += !stream_.process(std::span(in_).first(n), std::span(out_).first(n * channels_));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      times_.add(took.count());
      own_times_.add(thread_seconds() - computed);
      const std::size_t kept = (std::min)(n * channels_, first_.size() - played_);
      std::copy_n(out_.data(), kept, first_.data() + played_);
      played_ += kept;
      samples -= n;
    }
  }

  const BlockTimes& times() const noexcept { return times_; }
  /// The same without what other programs took in between.
  const BlockTimes& own_times() const noexcept { return own_times_; }
  std::size_t refused() const noexcept { return refused_; }
  /// The signal's first pass, as far as it was played; channels sample by sample.
  std::span<const float> output() const noexcept { return std::span(first_).first(played_); }

 private:
  BlockStream<Model>& stream_;
  std::span<const float> signal_;
  std::size_t channels_;
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

/// True when the output is, bit for bit, that of one pass over as much of the signal, a hop less
/// one late.
template <class Model>
bool equals_one_pass(const Model& model, BlockStreamState<Model> before,
                     std::span<const float> signal, std::span<const float> output) {
  const NoGrad no_grad;
  const auto hop = static_cast<std::size_t>(model.stream_width());
  const auto waiting = std::as_const(before.waiting).span();
  const auto ready = std::as_const(before.ready).span();
  const std::size_t channels = ready.size() / hop, filled = static_cast<std::size_t>(before.filled);
  std::vector<float> samples(waiting.begin(), waiting.begin() + before.filled);
  samples.insert(samples.end(), signal.begin(),
                 signal.begin() + static_cast<index_t>(output.size() / channels));
  samples.resize(samples.size() / hop * hop);
  const Tensor<float, 3> whole = one_pass(model, samples, before.model);
  // What was ready comes first.
  const std::size_t old = (std::min)((hop - 1 - filled) * channels, output.size());
  return std::equal(output.begin(), output.begin() + static_cast<index_t>(old),
                    ready.begin() + static_cast<index_t>((filled + 1) * channels)) &&
         std::equal(output.begin() + static_cast<index_t>(old), output.end(), whole.span().begin());
}

/// `path` with one channel; with several, one file each: path_1.wav, path_2.wav, ...
void write_channels(const std::filesystem::path& path, std::span<const float> output,
                    std::size_t channels, int rate) {
  sequin_examples::AudioWriter writer;
  if (channels == 1) writer.add(path, output, rate);
  for (std::size_t c = 0; channels > 1 && c < channels; ++c) {
    std::vector<float> one(output.size() / channels);
    for (std::size_t i = 0; i < one.size(); ++i) one[i] = output[i * channels + c];
    std::filesystem::path own = path;
    own.replace_filename(path.stem().string() + "_" + std::to_string(c + 1) +
                         path.extension().string());
    writer.add(own, one, rate);
  }
  writer.commit();
}

template <class Model>
int run_model(const RunArguments& a) {
  auto model = load_model<Model>(a.model);
  const std::string weights = weights_fingerprint(model);
  sequin_examples::AudioNotes notes;
  const int rate = rate_of(model);
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
  std::printf("%s: %s at %d Hz, %.1f s of audio in %llu blocks\n", a.model.c_str(),
              described(model).c_str(), rate, static_cast<double>(total) / rate,
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

  if (!a.output.empty())
    write_channels(a.output, callback.output(), static_cast<std::size_t>(stream.channels()), rate);
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

int run(const RunArguments& a) {
  const Config config = Config::load(std::filesystem::path(a.model) / "config.json");
  return config.get_string("model", "") == "causal_mossformer2"
             ? run_model<CausalMossFormer2<float>>(a)
             : run_model<Amp<float>>(a);
}

}  // namespace

void add_run(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("run", "Play a WAV through a model, block by block");
  cmd->footer(
      "Example: realtime run guitar.wav -m examples/realtime/drive -o driven.wav\n"
      "         realtime run two.wav -m examples/weights/separate_causal -o voice.wav --block 128");
  const auto a = std::make_shared<RunArguments>();
  cmd->add_option("input", a->input, "a WAV; resampled when the model has another rate")
      ->required();
  cmd->add_option("-m,--model", a->model, "folder that `train` left, or of a causal MossFormer2")
      ->required();
  cmd->add_option("-o,--output", a->output,
                  "the WAV to write; of several speakers one each, NAME_1.wav, ...");
  cmd->add_option("--block", a->block, "samples in a block (64)")->check(CLI::Range(1, 1 << 20));
  cmd->add_option("--soak", a->soak, "repeat the audio for so many minutes of it")
      ->check(CLI::Range(0.01, 100000.0));
  cmd->add_flag("--check", a->check, "compare with one pass over the whole signal");
  cmd->add_option("--state", a->state, "continue from a state");
  cmd->add_option("--save-state", a->save_state, "write the state after the last block");
  cmd->callback([&chosen, a] { chosen = [a] { return run(*a); }; });
}

}  // namespace realtime

// What further threads gain: one thread and N by turns, in fitted arenas, beside the gain of work
// that shares nothing, which is what the machine gives at the time.
//
//   bench_threads [N]   (2)
#include "sequin/core/arena.hpp"
#include "sequin/core/simd_reduce.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/ops/attention.hpp"
#include "sequin/ops/selective_scan.hpp"
#include "sequin/ops/softmax.hpp"
#include "support/noise.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using namespace sequin;
using sequin_bench::noise;

double now() {
  const auto t = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(t).count();
}

double quartile(std::vector<double> v, std::size_t q) {
  std::sort(v.begin(), v.end());
  return v[(v.size() - 1) * q / 4];
}

class Turns {
 public:
  explicit Turns(ThreadPool& pool) : pool_(pool) {
    std::printf("%-34s %12s %12s %8s %18s\n", "milliseconds", "1 thread", "more", "gain",
                "quartiles");
  }

  /// `work()` under no executor and under the pool, each about 20 ms a turn.
  template <class Work>
  void add(const char* name, Work&& work) {
    Arena arena;
    const auto once = [&] {
      const ArenaScope scope(&arena);
      work();
    };
    once();
    arena.fit();
    once();
    const double before = now();
    once();
    const double one = now() - before;
    const int repeats = (std::max)(1, static_cast<int>(0.02 / one));
    std::vector<double> alone, together, gain;
    for (int round = 0; round < (one > 0.1 ? 7 : 25); ++round) {
      double seconds[2];
      for (int turn = 0; turn < 2; ++turn) {
        const bool many = (turn + round) % 2 == 1;
        const ExecutorScope scope(many ? &pool_ : nullptr);
        const double start = now();
        for (int i = 0; i < repeats; ++i) once();
        seconds[many ? 1 : 0] = (now() - start) / repeats;
      }
      alone.push_back(1e3 * seconds[0]);
      together.push_back(1e3 * seconds[1]);
      gain.push_back(seconds[0] / seconds[1]);
    }
    std::printf("%-34s %12.3f %12.3f %8.2f %10.2f to %.2f\n", name, quartile(alone, 2),
                quartile(together, 2), quartile(gain, 2), quartile(gain, 1), quartile(gain, 3));
    std::fflush(stdout);
  }

 private:
  ThreadPool& pool_;
};

/// Multiply-adds of four registers, `parts` of them, that touch no memory.
void nothing_shared(index_t parts) {
  parallel_for(parts, 1, [](index_t begin, index_t end) {
    using V = simd::Vec<float>;
    V sum[8];
    for (V& s : sum) s = V(1.0f);
    const V factor(0.999f);
    for (index_t i = 0; i < (end - begin) * 100000; ++i)
      simd::unrolled<8>([&](auto r) { sum[r] = simd::fma<float>(sum[r], factor, factor); });
    volatile float keep = 0;
    for (const V& s : sum) keep = keep + simd::reduce_add<float>(s);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const index_t threads = argc > 1 ? std::atol(argv[1]) : 2;
  ThreadPool pool(threads);
  const NoGrad no_grad;
  Turns turns(pool);
  turns.add("nothing shared", [] { nothing_shared(16); });

  Linear<float> wide(512, 2048);
  Generator generator(1);
  wide.initialize(generator);
  prepare(wide);
  for (const index_t rows : {96, 1000}) {
    const auto x = noise<3>({1, rows, 512});
    turns.add(rows == 96 ? "linear 512 to 2048, 96 rows" : "linear 512 to 2048, 1000 rows",
              [&] { wide.forward(x); });
  }
  const auto q = noise<4>({1, 1024, 8, 64});
  turns.add("attention, 8 x 64, 1024", [&] { attention(q, q, q); });
  AttentionOptions causal;
  causal.causal = true;
  turns.add("causal attention, 8 x 64, 1024", [&] { attention(q, q, q, causal); });
  const auto scores = noise<2>({1000, 2048});
  turns.add("softmax, 1000 x 2048", [&] { softmax(scores); });

  ITransformerConfig config;
  config.seq_len = config.pred_len = 96;
  config.d_model = config.d_ff = 512;
  ITransformer<float> itransformer(config);
  itransformer.initialize(generator);
  prepare(itransformer);
  const auto few = noise<3>({32, 96, 7}), many = noise<3>({1, 96, 862});
  turns.add("iTransformer, 7 variates x 32", [&] { itransformer.forward(few); });
  turns.add("iTransformer, 862 variates", [&] { itransformer.forward(many); });

  MambaConfig small;
  small.d_model = 768;
  small.n_layer = 1;
  small.vocab_size = 256;
  Mamba<float> mamba(small);
  mamba.initialize(generator);
  prepare(mamba);
  Tensor<std::int64_t, 2> tokens({1, 512}, 7);
  turns.add("Mamba, width 768, 1 layer, 512", [&] { mamba.forward(tokens); });
}

// fwd.hpp before the definitions; fwd_last_test.cpp has it after them.
#include "sequin/fwd.hpp"

#if defined(EIGEN_WORLD_VERSION) || defined(XSIMD_VERSION_MAJOR) || \
    defined(NLOHMANN_JSON_VERSION_MAJOR)
#error "fwd.hpp brings a third party's headers"
#endif

#include "support/catch.hpp"

#include <cstdint>
#include <memory>

namespace {

// What a user's header looks like.
class Speaker {
 public:
  Speaker();
  ~Speaker();
  sequin::Tensor<float, 2> speak(const sequin::Tensor<std::int64_t, 2>& prompt) const;

 private:
  std::unique_ptr<sequin::Mamba<float>> model_;
};

}  // namespace

#include "sequin/core/thread_pool.hpp"
#include "sequin/io/tokenizer.hpp"
#include "sequin/sequin.hpp"

using namespace sequin;

Speaker::Speaker()
    : model_(std::make_unique<Mamba<float>>(
          MambaConfig{.d_model = 8, .n_layer = 1, .vocab_size = 16})) {}
Speaker::~Speaker() = default;
Tensor<float, 2> Speaker::speak(const Tensor<std::int64_t, 2>& prompt) const {
  auto state = model_->initial_state(prompt.extent(0));
  return model_->prefill(prompt, state);
}

TEST_CASE("fwd: a header that only names a model serves its source") {
  const Speaker speaker;
  CHECK(speaker.speak(Tensor<std::int64_t, 2>({1, 3})).shape() == Shape<2>{1, 16});
}

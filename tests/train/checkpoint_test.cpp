#include "sequin/train/checkpoint.hpp"

#include "sequin/train/early_stopping.hpp"
#include "sequin/train/optimizer.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <random>
#include <string>

#if defined(__linux__)
#include <csignal>

#include <sys/resource.h>
#endif

using namespace sequin;

namespace {

// A little training: a parameter, a buffer, Adam's state, numbers of each kind.
template <class T>
struct Training {
  Tensor<T, 2> weight;
  Tensor<T, 1> running{Shape<1>{2}};
  ParameterList<T> list;
  std::optional<Adam<T>> adam;
  EarlyStopping stopping{2};
  Generator generator{7};
  std::int64_t step = 0;
  double loss = 0;
  std::vector<double> history;

  explicit Training(const std::string& name = "weight", index_t rows = 2)
      : weight(Shape<2>{rows, 3}, T(0.5)) {
    weight.set_requires_grad();
    Visitor<T> v(Visitor<T>::Walk::kList);
    v.parameter(name, weight);
    v.buffer("running", running);
    list = v.take();
    adam.emplace(list);
  }

  // Something of everything.
  void advance() {
    Tensor<T, 1> g({weight.size()});
    for (index_t i = 0; i < g.size(); ++i) g(i) = static_cast<T>(std::sin(double(i) + loss));
    adam->step(std::vector{g});
    running(1) += static_cast<T>(generator.template uniform<T>());
    ++step;
    loss = std::sqrt(static_cast<double>(step));
    history.push_back(loss);
    stopping.update(-loss);
  }

  StateList<T> state() {
    StateList<T> s;
    s.parameters("model", list);
    s.child("optimizer", *adam);
    s.child("early_stopping", stopping);
    s.generator("generator", generator);
    s.counter("step", step);
    s.real("loss", loss);
    s.reals("history", history);
    return s;
  }

  bool same_as(const Training& o) const {
    const auto equal = [](const auto& a, const auto& b) {
      return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end());
    };
    return equal(weight, o.weight) && equal(running, o.running) &&
           equal(adam->exp_avg(0), o.adam->exp_avg(0)) &&
           equal(adam->exp_avg_sq(0), o.adam->exp_avg_sq(0)) &&
           adam->steps(0) == o.adam->steps(0) && stopping.best() == o.stopping.best() &&
           stopping.best_epoch() == o.stopping.best_epoch() &&
           generator.state() == o.generator.state() && step == o.step && loss == o.loss &&
           history == o.history;
  }
};

struct File {
  std::filesystem::path path;
  explicit File(const std::string& name)
      : path(std::filesystem::temp_directory_path() /
             ("sequin_checkpoint_" + name + "_" + std::to_string(std::random_device()()))) {}
  ~File() { std::filesystem::remove(path); }
};

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

const CheckpointFingerprint kConfig{{"d_model", "16"}, {"note", "a \"b\"\n\xc3\xa9"}};

}  // namespace

TEMPLATE_TEST_CASE("checkpoint: what is loaded continues as what was saved", "[train]", float,
                   double) {
  const File file("round_trip");
  Training<TestType> a, b;
  for (int i = 0; i < 3; ++i) a.advance();
  save_checkpoint(file.path, a.state(), kConfig);
  CHECK_FALSE(a.same_as(b));
  const auto version = b.weight.version();
  load_checkpoint(file.path, b.state(), kConfig);
  CHECK(a.same_as(b));
  CHECK(b.weight.version() != version);  // packed constants are stale
  a.advance();
  b.advance();
  CHECK(a.same_as(b));
  // Infinity and an empty list survive; a longer list shrinks.
  Training<TestType> fresh;
  save_checkpoint(file.path, fresh.state(), {});
  load_checkpoint(file.path, b.state(), {});
  CHECK(b.same_as(fresh));
  CHECK(std::isinf(b.stopping.best()));
}

TEST_CASE("checkpoint: another model, scalar, config or version is refused and nothing changes",
          "[train]") {
  const File file("other");
  Training<float> a;
  a.advance();
  save_checkpoint(file.path, a.state(), kConfig);
  const std::string path = file.path.string();

  Training<float> named("kernel");
  CHECK_THROWS_WITH(load_checkpoint(file.path, named.state(), kConfig),
                    path +
                        ": checkpoint of another model or training: model.kernel is missing; "
                        "optimizer.exp_avg.kernel is missing; optimizer.exp_avg_sq.kernel is "
                        "missing; model.weight is surplus; optimizer.exp_avg.weight is surplus; "
                        "optimizer.exp_avg_sq.weight is surplus");
  CHECK(named.same_as(Training<float>("kernel")));
  Training<float> larger("weight", 4);
  std::string message = "nothing was thrown";
  try {
    load_checkpoint(file.path, larger.state(), kConfig);
  } catch (const LoadError& error) {
    message = error.what();
  }
  CHECK(message.find("model.weight is [2, 3], expected [4, 3]") != std::string::npos);
  CHECK(larger.same_as(Training<float>("weight", 4)));
  Training<double> wide;
  CHECK_THROWS_WITH(load_checkpoint(file.path, wide.state(), kConfig),
                    path + ": scalar type is \"float\", expected double");
  Training<float> same;
  CHECK_THROWS_WITH(load_checkpoint(file.path, same.state(), {{"d_model", "32"}, {"x", "1"}}),
                    path +
                        ": checkpoint of another model or training: d_model is \"16\", expected "
                        "\"32\"; x is \"\", expected \"1\"");
  CHECK(same.same_as(Training<float>()));

  save_safetensors(file.path, {}, {{"format", "sequin.checkpoint"}, {"version", "999"}});
  CHECK_THROWS_WITH(load_checkpoint(file.path, same.state(), {}),
                    path + ": checkpoint version is \"999\", expected 1");
  save_parameters(file.path, a.list);
  CHECK_THROWS_WITH(load_checkpoint(file.path, same.state(), {}),
                    path + ": format is \"pt\", expected sequin.checkpoint");
}

TEST_CASE("checkpoint: counters that nothing counts to are refused and nothing changes",
          "[train]") {
  const File file("counters");
  for (const std::int64_t step :
       {std::int64_t{-1}, std::numeric_limits<std::int64_t>::min(),
        std::numeric_limits<std::int64_t>::max(), (std::int64_t{1} << 53) + 1}) {
    Training<float> a, b;
    a.step = step;
    save_checkpoint(file.path, a.state(), kConfig);
    CHECK_THROWS_WITH(load_checkpoint(file.path, b.state(), kConfig),
                      file.path.string() + ": checkpoint of another model or training: step is " +
                          std::to_string(step) + ", expected 0 to 9007199254740992");
    CHECK(b.same_as(Training<float>()));
  }
}

TEST_CASE("checkpoint: truncated anywhere it is refused and nothing changes", "[train]") {
  const File file("truncated");
  Training<float> a;
  a.advance();
  save_checkpoint(file.path, a.state(), kConfig);
  const std::string whole = contents(file.path);
  const Training<float> untouched;
  Training<float> b;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    std::ofstream(file.path, std::ios::binary)
        .write(whole.data(), static_cast<std::streamsize>(length));
    INFO("first " << length << " bytes");
    CHECK_THROWS_AS(load_checkpoint(file.path, b.state(), kConfig), LoadError);
    if (!b.same_as(untouched)) FAIL("half-loaded");
  }
  std::filesystem::remove(file.path);
  CHECK_THROWS_AS(load_checkpoint(file.path, b.state(), kConfig), LoadError);
}

#if defined(__linux__)
TEST_CASE("checkpoint: a disk that is full keeps the older file", "[train]") {
  const File file("full");
  Training<float> a;
  save_checkpoint(file.path, a.state(), kConfig);
  const std::string before = contents(file.path);
  a.advance();
  // A limit on the size of files stands for the full disk.
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 64;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  bool refused = false;
  try {
    save_checkpoint(file.path, a.state(), kConfig);
  } catch (const LoadError&) {
    refused = true;
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(refused);
  CHECK(contents(file.path) == before);
  int beside = 0;  // nothing half-written is left
  for (const auto& entry : std::filesystem::directory_iterator(file.path.parent_path()))
    beside += entry.path().filename().string().rfind(file.path.filename().string(), 0) == 0;
  CHECK(beside == 1);
}
#endif

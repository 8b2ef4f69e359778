#include "fuzz.hpp"

#include "sequin/io/config.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/models/time_moe.hpp"

#include <cmath>
#include <optional>
#include <string>

namespace sequin_fuzz {

using namespace sequin;

namespace {

/// Asks every key for everything.
void check_getters(const Config& config) {
  for (const std::string& key : config.keys()) {
    require(config.has(key) != config.is_null(key), "a key is there or null");
    accepts([&] {
      const index_t v = config.get_int(key, -3, 7);
      require(v >= -3 && v <= 7, "an integer lies within its range");
    });
    accepts([&] {
      const double v = config.get_double(key, -1.5, 2.5);
      require(v >= -1.5 && v <= 2.5, "a number lies within its range");
    });
    accepts([&] { require(!std::isnan(config.get_double(key, 0.0)), "a number is not NaN"); });
    accepts([&] { config.get_bool(key, true); });
    accepts([&] { config.get_string(key); });
    accepts([&] { config.get_int_list(key); });
    accepts([&] { check_getters(config.section(key)); });
  }
  accepts([&] { config.reject_unknown({"d_model"}); });
}

/// Makes the model when it is small.
template <class Model>
void check_model(const Config& config) {
  std::optional<typename Model::Config> sizes;
  if (!accepts([&] { sizes = Model::Config::read(config); })) return;
  const double believed = sizes->parameter_count();
  require(std::isfinite(believed) && believed >= 1, "a model has parameters");
  if (believed > 1e5) return;
  std::optional<Model> model;
  if (!accepts([&] { model.emplace(*sizes); })) return;
  double count = 0;
  for (const auto& p : parameters(*model).items) count += static_cast<double>(p.values.size());
  require(count <= 4 * believed + 1e6, "a model is not larger than check_size takes it for");
}

}  // namespace

void fuzz_config(std::span<const std::byte> bytes) {
  std::optional<Config> config;
  if (!accepts([&] { config = Config::parse(text_of(bytes), "config.json"); })) return;
  require(text_of(bytes).find('\0') == std::string_view::npos, "a NUL byte hides nothing");
  check_getters(*config);
  check_model<CausalMossFormer2<float>>(*config);
  check_model<Informer<float>>(*config);
  check_model<ITransformer<float>>(*config);
  check_model<Mamba<float>>(*config);
  check_model<MossFormer2<float>>(*config);
  check_model<TimeMoe<float>>(*config);
}

}  // namespace sequin_fuzz

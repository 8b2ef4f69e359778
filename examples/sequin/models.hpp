/// The models and blocks that the program can run, by the name in their config.json.
#pragma once

#include "case_io.hpp"

#include "sequin/io/config.hpp"

#include <filesystem>
#include <span>
#include <string>

namespace sequin_cli {

/// Runs one case: reads inputs from the file, loads weights from the folder, adds outputs.
template <class T>
using CaseFunction = void (*)(CaseIo<T>& io, const sequin::Config& config,
                              const std::filesystem::path& dir, const RunOptions& options);

/// A line of `sequin list` and how to run it.
struct ModelInfo {
  const char* name;
  const char* paper;
  const char* purpose;
  bool streams;
  bool trains;
  CaseFunction<float> run_float;
  CaseFunction<double> run_double;
};

/// Every model and block, models first.
std::span<const ModelInfo> known_models();

/// The model that a config asks for: by its "model" key, or by the keys that only that model's
/// official config has. Throws ConfigError.
const ModelInfo& model_of(const sequin::Config& config);

template <class T>
void run_itransformer(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                      const RunOptions&);
template <class T>
void run_mamba(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&, const RunOptions&);
template <class T>
void run_mamba_mixer(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                     const RunOptions&);
template <class T>
void run_selective_scan(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                        const RunOptions&);
template <class T>
void run_causal_conv1d(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                       const RunOptions&);
template <class T>
void run_informer(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                  const RunOptions&);
template <class T>
void run_attention(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                   const RunOptions&);
template <class T>
void run_data_embedding(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                        const RunOptions&);
template <class T>
void run_distil_conv(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                     const RunOptions&);
template <class T>
void run_swiglu(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&, const RunOptions&);
template <class T>
void run_rms_norm(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                  const RunOptions&);
template <class T>
void run_moe_topk_router(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                         const RunOptions&);
template <class T>
void run_load_balancing_loss(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                             const RunOptions&);
template <class T>
void run_time_moe(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                  const RunOptions&);
template <class T>
void run_causal_gqa_rope_attention(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                                   const RunOptions&);
template <class T>
void run_rotary_hf(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                   const RunOptions&);
template <class T>
void run_rotary_interleaved(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&,
                            const RunOptions&);
template <class T>
void run_si_sdr(CaseIo<T>&, const sequin::Config&, const std::filesystem::path&, const RunOptions&);

}  // namespace sequin_cli

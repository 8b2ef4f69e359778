// sequin run and sequin check: a case through its model, written or compared.
#include "commands.hpp"
#include "compare.hpp"
#include "compare_modules.hpp"
#include "models.hpp"
#include "score.hpp"
#include "session_options.hpp"

#include "sequin/io/load_model.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

namespace sequin_cli {

using namespace sequin;

namespace {

struct RunArguments {
  std::string dir, input, output, data;
  RunOptions run;
  bool use_double = false;
  double tolerance = 0;
  bool list_modules = false;
  SessionOptions session;
};

/// What a case gave.
struct Results {
  std::vector<OwnedTensor> outputs;
  std::vector<OwnedTensor> modules;  ///< named by path; only when traced
};

Results run_case(const RunArguments& a, const SafetensorsFile& file) {
  const Config config = Config::load(std::filesystem::path(a.dir) / "config.json");
  const ModelInfo& model = model_of(config);
  const ThreadScope threads(a.session);
  Results results;
  if (a.use_double) {
    if (model.run_double == nullptr)
      throw ConfigError("--double: this program was built with SEQUIN_PROGRAM_DOUBLE=OFF");
    CaseIo<double> io(file, results.outputs);
    model.run_double(io, config, a.dir, a.run);
    results.modules = io.take_modules();
  } else {
    CaseIo<float> io(file, results.outputs);
    model.run_float(io, config, a.dir, a.run);
    results.modules = io.take_modules();
  }
  return results;
}

bool is_integer(DType d) {
  return d != DType::F32 && d != DType::F64 && d != DType::F16 && d != DType::BF16;
}

/// One line of the table: false when it does not hold.
bool compare(const OwnedTensor& ours, const TensorEntry& official, const TensorEntry* twin,
             double floor, double tolerance, double twin_tolerance) {
  if (ours.shape != official.shape) {
    std::printf("  %-44s expected %s, found %s\n", ours.name.c_str(),
                shape_text(official.shape).c_str(), shape_text(ours.shape).c_str());
    return false;
  }
  const auto a = as_doubles(ours.dtype, ours.bytes);
  const auto b = as_doubles(official.dtype, official.bytes);
  if (is_integer(official.dtype)) {
    const bool equal = a == b;
    std::printf("  %-44s %s\n", ours.name.c_str(), equal ? "equal" : "NOT EQUAL");
    return equal;
  }
  const double error = difference(a, b, floor).relative;
  double best = error;
  double limit = tolerance;
  if (twin != nullptr && twin->shape == official.shape) {
    const double against_twin = difference(a, as_doubles(twin->dtype, twin->bytes), floor).relative;
    if (twin_tolerance < tolerance) {
      best = against_twin;
      limit = twin_tolerance;
    } else {
      best = (std::min)(error, against_twin);
    }
  }
  const bool holds = best <= limit;
  std::printf("  %-44s %.1e%s\n", ours.name.c_str(), best, holds ? "" : "  TOO LARGE");
  return holds;
}

int check(const RunArguments& a) {
  const std::filesystem::path dir = a.dir;
  const SafetensorsFile file = SafetensorsFile::open(dir / "io.safetensors");
  RunArguments args = a;
  if (const TensorEntry* generated = file.find("output.generated");
      generated != nullptr && generated->shape.size() == 2)
    args.run.generate_length = static_cast<index_t>(generated->shape[1]);
  args.run.trace = !a.run.stream;
  Results results = run_case(args, file);
  std::vector<OwnedTensor>& ours = results.outputs;
  if (!a.data.empty()) append_test_scores(dir, a.data, ours);

  // Float results hold 2e-5 (gradients ten times that); double ones 1e-6 against float64 twins.
  const double tolerance = a.tolerance > 0 ? a.tolerance : 2e-5;
  const double twin = a.tolerance > 0 ? a.tolerance : (a.use_double ? 1e-6 : 2e-5);
  const double grad_tolerance = 10 * tolerance;
  const double grad_twin = a.use_double && a.tolerance <= 0 ? 1e-6 : grad_tolerance;
  double gradient_floor = 0;
  for (const TensorEntry& e : file.tensors())
    if (e.name.starts_with("grad.") && !is_integer(e.dtype))
      gradient_floor = (std::max)(gradient_floor, 1e-3 * largest(as_doubles(e.dtype, e.bytes)));

  std::printf("%s (%s%s%s): relative max-norm errors\n", a.dir.c_str(),
              a.use_double ? "double" : "float", a.run.grad ? ", gradients" : "",
              a.run.stream ? ", streamed" : "");
  bool holds = true;
  std::size_t compared = 0;
  for (const TensorEntry& e : file.tensors()) {
    const bool output = e.name.starts_with("output.");
    const bool gradient = e.name.starts_with("grad.");
    if (!output && !(gradient && a.run.grad)) continue;
    const auto found = std::find_if(ours.begin(), ours.end(),
                                    [&](const OwnedTensor& t) { return t.name == e.name; });
    if (found == ours.end()) {
      if (is_test_score(e.name)) {
        std::printf("  %-44s needs the series: --data FILE.csv\n", e.name.c_str());
        continue;
      }
      std::printf("  %-44s expected, found none\n", detail::printable(e.name).c_str());
      holds = false;
      continue;
    }
    const std::string twin_name =
        (output ? "output64." : "grad64.") + e.name.substr(output ? 7 : 5);
    holds = compare(*found, e, file.find(twin_name), gradient ? gradient_floor : 0,
                    gradient ? grad_tolerance : tolerance, gradient ? grad_twin : twin) &&
            holds;
    ++compared;
  }
  if (compared == 0)
    throw LoadError(file.label() + ": expected tensors named output.*, found none");
  std::printf("%s\n", holds ? "holds" : "DOES NOT HOLD");
  report_modules(file, results.modules, {tolerance, holds, a.list_modules, a.run.stream});
  return holds ? kDone : kAnswerIsNo;
}

int run(const RunArguments& a) {
  const SafetensorsFile file = SafetensorsFile::open(a.input);
  const std::vector<OwnedTensor> outputs = run_case(a, file).outputs;
  std::vector<TensorEntry> entries;
  for (const OwnedTensor& t : outputs) {
    entries.push_back({t.name, t.dtype, t.shape, t.bytes});
    const auto values = as_doubles(t.dtype, t.bytes);
    if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }))
      std::fprintf(stderr, "sequin: warning: %s holds NaN\n", t.name.c_str());
  }
  save_safetensors(a.output, entries, {});
  return kDone;
}

std::shared_ptr<RunArguments> common(CLI::App* cmd) {
  const auto a = std::make_shared<RunArguments>();
  cmd->add_option("dir", a->dir, "folder with config.json and weights")->required();
  cmd->add_flag("--grad", a->run.grad, "gradients of the loss too");
  cmd->add_flag("--stream", a->run.stream, "computed one step at a time");
  cmd->add_flag("--double", a->use_double, "computed in double");
  a->session.add_to(cmd);
  return a;
}

}  // namespace

static void add_run(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("run", "Feed a file's inputs, write the outputs");
  cmd->footer(
      "Example: sequin run DIR --input io.safetensors --output out.safetensors --grad\n"
      "Reads every input.*, writes every output.* (and grad.*).");
  const auto a = common(cmd);
  cmd->add_option("--input", a->input, "safetensors with input.*")->required();
  cmd->add_option("--output", a->output, "safetensors to write")->required();
  cmd->callback([&chosen, a] { chosen = [a] { return run(*a); }; });
}

static void add_check(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("check", "Compare with the recorded outputs in DIR/io.safetensors");
  cmd->footer(
      "Example: sequin check DIR --grad --double\n"
      "Exit code 0 when every output holds, 1 when one does not. Of a file that records the "
      "outputs\n"
      "of inner modules (mid.<path>) it then names the first module that diverges.");
  const auto a = common(cmd);
  cmd->add_option("--tol", a->tolerance, "relative tolerance (2e-5; gradients ten times that)")
      ->check(CLI::PositiveNumber);
  cmd->add_flag("--modules", a->list_modules, "a line for each recorded module (mid.*) too");
  cmd->add_option("--data", a->data, "the series' CSV, for cases that record test scores");
  cmd->callback([&chosen, a] { chosen = [a] { return check(*a); }; });
}

static const RegisterCommand run_command(2, add_run);
static const RegisterCommand check_command(3, add_check);

}  // namespace sequin_cli

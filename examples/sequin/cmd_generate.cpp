// sequin generate: continues text or token ids with a language model.
#include "commands.hpp"
#include "models.hpp"
#include "session_options.hpp"

#include "common/progress.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/io/state_file.hpp"
#include "sequin/io/tokenizer.hpp"
#include "sequin/models/generate.hpp"
#include "sequin/models/mamba.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>

namespace sequin_cli {

using namespace sequin;

namespace {

struct GenerateArguments {
  std::string dir, tokenizer, state, save_state;
  std::vector<std::string> prompts;
  bool tokens = false, json = false, echo = false, keep_special = false;
  index_t max_length = 0, new_tokens = 64;
  std::int64_t eos = -1;
  SamplingOptions sampling;
  SessionOptions session;
};

using Ids = std::vector<std::int64_t>;

/// "12,7,99".
Ids parse_ids(const std::string& text) {
  Ids ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    std::int64_t id = 0;
    const auto [next, failed] = std::from_chars(at, end, id);
    if (failed != std::errc{} || (next != end && (*next != ',' || next + 1 == end)))
      throw ConfigError("--prompt: expected token ids separated by commas (there is no " +
                        std::string("tokenizer.json), found '") + sequin::detail::printable(text) +
                        "'");
    ids.push_back(id);
    at = next == end ? end : next + 1;
  }
  return ids;
}

/// Text or ids in, text or ids out.
class Wording {
 public:
  Wording(const GenerateArguments& a, std::optional<Tokenizer> tokenizer)
      : keep_special_(a.keep_special), tokenizer_(std::move(tokenizer)) {}

  bool is_text() const { return tokenizer_.has_value(); }
  Ids encode(const std::string& prompt) const {
    return tokenizer_ ? tokenizer_->encode(prompt) : parse_ids(prompt);
  }
  std::string decode(std::span<const std::int64_t> ids) const {
    if (tokenizer_) return tokenizer_->decode(ids, !keep_special_);
    std::string text;
    for (const std::int64_t id : ids) text += (text.empty() ? "" : " ") + std::to_string(id);
    return text;
  }
  /// The token that ends a text, by the config, else by the name that GPT-NeoX gives it.
  std::optional<std::int64_t> end_token(const Config& config, std::int64_t asked) const {
    if (asked >= 0) return asked;
    if (!tokenizer_) return std::nullopt;
    if (config.has("eos_token_id"))
      return config.get_int("eos_token_id", 0, (std::numeric_limits<index_t>::max)());
    return tokenizer_->find("<|endoftext|>");
  }
  /// How many tokens may be chosen, 0: all of the model's. Its embedding often has more rows than
  /// the tokenizer has tokens.
  index_t choices(index_t vocabulary) const {
    return tokenizer_ ? (std::min)(static_cast<index_t>(tokenizer_->size()), vocabulary) : 0;
  }
  TokenStream stream() const { return TokenStream(*tokenizer_, !keep_special_); }

 private:
  bool keep_special_;
  std::optional<Tokenizer> tokenizer_;
};

std::optional<Tokenizer> find_tokenizer(const GenerateArguments& a) {
  if (a.tokens) return std::nullopt;
  if (!a.tokenizer.empty()) return Tokenizer::load(a.tokenizer);
  const auto path = std::filesystem::path(a.dir) / "tokenizer.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return Tokenizer::load(path);
}

/// Prompts of several lengths as rows, shorter ones padded on the left.
struct Batch {
  Tensor<std::int64_t, 2> ids;
  Tensor<float, 2> mask;  // undefined when all are as long

  Batch(const std::vector<Ids>& prompts, index_t vocabulary) {
    std::size_t length = 0;
    for (const Ids& p : prompts) {
      if (p.empty()) throw ConfigError("--prompt: expected at least one token, found none");
      for (const std::int64_t id : p)
        if (id < 0 || id >= vocabulary)
          throw ConfigError("--prompt: token " + std::to_string(id) +
                            " is out of range [0, V=" + std::to_string(vocabulary) + ")");
      length = (std::max)(length, p.size());
    }
    const Shape<2> shape{static_cast<index_t>(prompts.size()), static_cast<index_t>(length)};
    ids = Tensor<std::int64_t, 2>(shape);
    const bool padded = std::any_of(prompts.begin(), prompts.end(),
                                    [length](const Ids& p) { return p.size() < length; });
    if (padded) mask = Tensor<float, 2>(shape);
    for (std::size_t b = 0; b < prompts.size(); ++b) {
      const auto begin = static_cast<index_t>(b * length + length - prompts[b].size());
      std::copy(prompts[b].begin(), prompts[b].end(), ids.data() + begin);
      if (padded) std::fill_n(mask.data() + begin, prompts[b].size(), 1.0f);
    }
  }
};

/// One prompt: written as it comes.
class Printer {
 public:
  explicit Printer(const Wording& wording) {
    if (wording.is_text()) stream_.emplace(wording.stream());
  }
  void push(std::int64_t id) {
    std::string text = stream_ ? stream_->push(id) : (first_ ? "" : " ") + std::to_string(id);
    first_ = false;
    write(text);
  }
  void finish() {
    if (stream_) write(stream_->finish());
    write("\n");
  }

 private:
  static void write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  std::optional<TokenStream> stream_;
  bool first_ = true;
};

void print_json(const GenerateArguments& a, const Wording& wording, const std::vector<Ids>& rows) {
  JsonWriter json;
  json.begin_array();
  for (std::size_t b = 0; b < rows.size(); ++b) {
    json.begin_object().key("prompt").value(a.prompts[b]);
    if (wording.is_text()) json.key("text").value(wording.decode(rows[b]));
    json.key("tokens").begin_array();
    for (const std::int64_t id : rows[b]) json.value(id);
    json.end_array().end_object();
  }
  std::printf("%s\n", json.end_array().text().c_str());
}

int run_generate(const GenerateArguments& a) {
  const ThreadScope threads(a.session);
  const Config config = Config::load(std::filesystem::path(a.dir) / "config.json");
  if (std::string(model_of(config).name) != "mamba")
    throw ConfigError(config.label() + ": expected a language model, found " +
                      model_of(config).name);
  a.sampling.validate();
  const Wording wording(a, find_tokenizer(a));
  std::vector<Ids> prompts;
  for (const std::string& p : a.prompts) prompts.push_back(wording.encode(p));
  const index_t vocabulary = MambaConfig::read(config).vocab_size;
  const Batch batch(prompts, vocabulary);
  const auto model = load_for_inference<Mamba<float>>(a.dir);
  const index_t rows = batch.ids.extent(0), length = batch.ids.extent(1);

  GenerateOptions options;
  options.max_length = a.max_length > 0 ? a.max_length : length + a.new_tokens;
  options.sampling = a.sampling;
  if (a.sampling.vocab_size == 0) options.sampling.vocab_size = wording.choices(vocabulary);
  options.eos_token_id = wording.end_token(config, a.eos);
  GenerateFrom<Mamba<float>> from;
  from.attention_mask = batch.mask;
  MambaState<float> before, after;
  if (!a.state.empty()) {
    before = model.initial_state(rows);
    load_state(a.state, before);
    from.state = &before;
  }
  if (!a.save_state.empty()) from.last_state = &after;

  const bool streams = rows == 1 && !a.json;
  std::optional<Printer> printer;
  if (streams) {
    printer.emplace(wording);
    if (a.echo)
      for (const std::int64_t id : prompts[0]) printer->push(id);
  }
  std::vector<Ids> made(prompts.size());
  std::vector<bool> ended(prompts.size());
  sequin_examples::ProgressBar bar("generating",
                                   static_cast<std::size_t>(options.max_length - length),
                                   a.session.quiet || streams);
  generate(
      model, batch.ids, options,
      [&](std::span<const std::int64_t> tokens) {
        for (std::size_t b = 0; b < made.size(); ++b) {
          if (ended[b]) continue;
          made[b].push_back(tokens[b]);
          ended[b] = options.eos_token_id == tokens[b];
        }
        if (printer) printer->push(tokens[0]);
        bar.update(made[0].size());
        return true;
      },
      from);
  bar.finish();
  if (!a.save_state.empty()) save_state(a.save_state, after);
  if (printer) {
    printer->finish();
    return kDone;
  }
  if (a.echo)
    for (std::size_t b = 0; b < made.size(); ++b)
      made[b].insert(made[b].begin(), prompts[b].begin(), prompts[b].end());
  if (a.json) {
    print_json(a, wording, made);
    return kDone;
  }
  for (std::size_t b = 0; b < made.size(); ++b)
    std::printf("== %zu ==\n%s\n", b + 1, wording.decode(made[b]).c_str());
  return kDone;
}

void add_generate(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("generate", "Continue text or token ids");
  cmd->footer(
      "Example: sequin generate DIR --prompt \"Once upon a time\" --top-k 40 --seed 1\n"
      "Text when DIR has a tokenizer.json, else ids (--prompt 12,7,99). Prints what is new as it\n"
      "comes; of several --prompt the results at the end.");
  const auto a = std::make_shared<GenerateArguments>();
  cmd->add_option("dir", a->dir, "folder with config.json and weights")->required();
  cmd->add_option("--prompt", a->prompts, "text or ids; again for more prompts at once")
      ->allow_extra_args(false)
      ->required();
  cmd->add_option("--tokenizer", a->tokenizer, "tokenizer.json (DIR/tokenizer.json)");
  cmd->add_flag("--tokens", a->tokens, "ids even where there is a tokenizer");
  cmd->add_option("--state", a->state, "continue after this state");
  cmd->add_option("--save-state", a->save_state, "write the state after the last token");
  cmd->add_flag("--echo", a->echo, "print the prompt too");
  cmd->add_flag("--special", a->keep_special, "print special tokens such as <|endoftext|>");
  cmd->add_flag("--json", a->json, "print JSON at the end");
  cmd->add_option("--new-tokens", a->new_tokens, "tokens to add (64)")->check(CLI::PositiveNumber);
  cmd->add_option("--max-length", a->max_length, "tokens in all, the prompt included");
  cmd->add_option("--top-k", a->sampling.top_k, "1: greedy (default); 0: no cut");
  cmd->add_option("--top-p", a->sampling.top_p, "nucleus");
  cmd->add_option("--min-p", a->sampling.min_p, "with --top-k 0: least share of the best");
  cmd->add_option("--temperature", a->sampling.temperature, "(1)");
  cmd->add_option("--repetition-penalty", a->sampling.repetition_penalty, "(1)");
  cmd->add_option("--vocab-size", a->sampling.vocab_size,
                  "only the first so many tokens (with text: those of the tokenizer)");
  cmd->add_option("--seed", a->sampling.seed, "(0)");
  cmd->add_option("--eos", a->eos, "token that ends the text (with text: the config's)");
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return run_generate(*a); }; });
}

}  // namespace

static const RegisterCommand generate_command(6, add_generate);

}  // namespace sequin_cli

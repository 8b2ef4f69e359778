// Sequin beside its peers, turn by turn in one run. bench/run.sh builds and calls it.
#include "contest.hpp"

#include "sequin/core/thread_pool.hpp"
#include "sequin/io/atomic_file.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>

namespace {

using namespace sequin_compare;

struct Arguments {
  std::string lines = ".*";
  std::vector<index_t> threads{1};
  int rounds = 11;
  std::string json, markdown, earlier, scratch = "bench-scratch";
  std::vector<std::string> peers;  // "NAME=command words"
  bool list = false;
};

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = (std::min)(text.find(' ', at), text.size());
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

void write(const std::string& path, const std::string& text) {
  if (path.empty()) return;
  sequin::AtomicFile file(path);
  file.write(text);
  file.commit();
}

int run(const Arguments& a) {
  const std::regex wanted(a.lines);
  std::vector<LineMaker> lines;
  for (LineMaker& maker : all_lines())
    if (std::regex_search(maker.group + ": " + maker.name, wanted))
      lines.push_back(std::move(maker));
  if (a.list) {
    for (const LineMaker& maker : lines)
      std::printf("%s: %s\n", maker.group.c_str(), maker.name.c_str());
    return 0;
  }
  nlohmann::json earlier;
  if (!a.earlier.empty()) {
    std::ifstream file(a.earlier);
    if (!file) throw std::runtime_error("--earlier " + a.earlier + ": cannot be read");
    earlier = nlohmann::json::parse(file);
  }
  std::filesystem::create_directories(a.scratch);
  std::vector<std::unique_ptr<PeerProcess>> processes;
  for (const std::string& peer : a.peers) {
    const std::size_t equals = peer.find('=');
    if (equals == std::string::npos)
      throw std::runtime_error("--peer " + peer + ": expected NAME=COMMAND");
    processes.push_back(
        std::make_unique<PeerProcess>(peer.substr(0, equals), words(peer.substr(equals + 1))));
  }
  const Limits limits = measure_limits();
  std::vector<Result> results;
  for (const index_t threads : a.threads) {
    sequin::ThreadPool pool(threads);
    const sequin::ExecutorScope scope(&pool);
    ContestOptions options;
    options.threads = threads;
    options.rounds = a.rounds;
    options.scratch = a.scratch;
    for (const LineMaker& maker : lines) {
      results.push_back(contest(maker, processes, limits, options));
      const Result& r = results.back();
      const Timing* const best = r.best();
      std::fprintf(stderr, "%-44s %td thread(s)  %10.3f us  limit %.2f", maker.name.c_str(),
                   threads, 1e6 * r.ours.seconds, r.of_limit);
      if (best != nullptr) std::fprintf(stderr, "  %.2f of %s", best->ratio, best->name.c_str());
      for (const Timing& t : r.peers) {
        std::fprintf(stderr, "  [%s %.3f us", t.name.c_str(), 1e6 * t.seconds);
        if (!t.agrees) std::fprintf(stderr, ", differs by %.1e", t.error);
        std::fputs("]", stderr);
      }
      for (const std::string& why : r.absent) std::fprintf(stderr, "  [%s]", why.c_str());
      std::fputc('\n', stderr);
      // What was measured is kept, whatever comes after.
      const nlohmann::json report = to_json(results, limits);
      write(a.json, report.dump(1) + "\n");
      write(a.markdown, to_markdown(report, earlier));
    }
  }
  if (a.markdown.empty())
    std::fputs(to_markdown(to_json(results, limits), earlier).c_str(), stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sequin's kernels and models beside other libraries, turn by turn");
  Arguments a;
  app.add_option("--lines", a.lines, "regular expression over \"group: line\" (all)");
  app.add_option("--threads", a.threads, "numbers of threads, one table each (1)")->delimiter(',');
  app.add_option("--rounds", a.rounds, "times that each contender has its turn (11)");
  app.add_option("--json", a.json, "file for the results");
  app.add_option("--markdown", a.markdown, "file for the table (standard output)");
  app.add_option("--earlier", a.earlier, "results of an earlier run, shown beside these");
  app.add_option("--scratch", a.scratch, "folder for what goes to other processes");
  app.add_option("--peer", a.peers, "NAME=COMMAND of a peer in a process of its own; repeatable");
  app.add_flag("--list", a.list, "print the lines' names");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(a);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_compare: %s\n", e.what());
    return 2;
  }
}

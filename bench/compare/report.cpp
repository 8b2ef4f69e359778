// Results as JSON, and JSON as a table.
#include "contest.hpp"

#include <cmath>
#include <cstdio>

namespace sequin_compare {

namespace {

nlohmann::json to_json(const Timing& t) {
  nlohmann::json j{
      {"name", t.name}, {"seconds", t.seconds}, {"spread", t.spread}, {"ratio", t.ratio}};
  if (std::isnan(t.error))
    j["error"] = nullptr;
  else
    j["error"] = t.error;
  j["agrees"] = t.agrees;
  if (t.peak_bytes > 0) j["peak_bytes"] = t.peak_bytes;
  return j;
}

std::string text(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

/// Three digits with a unit.
std::string duration(double seconds) {
  const char* unit = "s";
  if (seconds < 1e-6) {
    seconds *= 1e9, unit = "ns";
  } else if (seconds < 1e-3) {
    seconds *= 1e6, unit = "us";
  } else if (seconds < 1) {
    seconds *= 1e3, unit = "ms";
  }
  return text(seconds >= 100 ? "%.0f" : seconds >= 10 ? "%.1f" : "%.2f", seconds) + " " + unit;
}

/// Of the lines that train.
std::string memory_table(const nlohmann::json& report) {
  std::string out;
  for (const auto& line : report.at("lines")) {
    if (!line.at("sequin").contains("peak_bytes")) continue;
    if (out.empty())
      out =
          "\n### peak memory of training: weights, moments, gradients and activations\n\n"
          "| line | threads | Sequin | others |\n| --- | --- | --- | --- |\n";
    const auto megabytes = [](const nlohmann::json& timing) {
      return text("%.0f MB", 1e-6 * timing.at("peak_bytes").get<double>());
    };
    std::string others;
    for (const auto& peer : line.at("peers"))
      if (peer.contains("peak_bytes"))
        others += (others.empty() ? "" : ", ") + peer.at("name").get<std::string>() + ' ' +
                  megabytes(peer);
    out += "| " + line.at("name").get<std::string>() + " | " +
           std::to_string(line.at("threads").get<int>()) + " | " + megabytes(line.at("sequin")) +
           " | " + others + " |\n";
  }
  return out;
}

/// Ratio and time of the same line in an earlier run.
std::string earlier_cell(const nlohmann::json& earlier, const nlohmann::json& line) {
  for (const auto& other : earlier.at("lines")) {
    if (other.at("group") != line.at("group") || other.at("name") != line.at("name") ||
        other.at("threads") != line.at("threads"))
      continue;
    const std::string time = duration(other.at("sequin").at("seconds"));
    return other.contains("ratio") ? text("%.2f", other.at("ratio")) + " (" + time + ")" : time;
  }
  return "";
}

}  // namespace

nlohmann::json to_json(const std::vector<Result>& results, const Limits& limits) {
  nlohmann::json bandwidth = nlohmann::json::array();
  for (const auto& b : limits.bandwidth)
    bandwidth.push_back({{"bytes", b.size}, {"copy", b.copy}, {"read", b.read}});
  nlohmann::json lines = nlohmann::json::array();
  for (const Result& r : results) {
    nlohmann::json peers = nlohmann::json::array();
    for (const Timing& t : r.peers) peers.push_back(to_json(t));
    nlohmann::json line{{"group", r.group},
                        {"name", r.name},
                        {"threads", r.threads},
                        {"sequin", to_json(r.ours)},
                        {"peers", peers},
                        {"absent", r.absent},
                        {"limit_seconds", r.limit_seconds},
                        {"of_limit", r.of_limit}};
    if (const Timing* const best = r.best(); best != nullptr) {
      line["best_peer"] = best->name;
      line["ratio"] = best->ratio;
    }
    lines.push_back(line);
  }
  return {{"limits", {{"flops", limits.flops}, {"exps", limits.exps}, {"bandwidth", bandwidth}}},
          {"instruction_set", sequin::kInstructionSet},
          {"compiler", SEQUIN_COMPARE_COMPILER},
          {"flags", SEQUIN_COMPARE_FLAGS},
          {"lines", lines}};
}

std::string to_markdown(const nlohmann::json& report, const nlohmann::json& earlier) {
  std::string out;
  const auto& limits = report.at("limits");
  out += "Limits of one thread, measured in this run: " +
         text("%.1f", 1e-9 * limits.at("flops").get<double>()) +
         " GFLOP/s in fused multiply-adds, " +
         text("%.2f", 1e-9 * limits.at("exps").get<double>()) +
         "e9 exponentials a second; copying (bytes read and written, a second) and reading:\n\n";
  std::string head = "| size |", rule = "| --- |", copy = "| copy, GB/s |", read = "| read, GB/s |";
  for (const auto& b : limits.at("bandwidth")) {
    const double kib = b.at("bytes").get<double>() / 1024;
    head += ' ' + (kib < 1024 ? text("%.0f KiB", kib) : text("%.0f MiB", kib / 1024)) + " |";
    rule += " --- |";
    copy += ' ' + text("%.0f", 1e-9 * b.at("copy").get<double>()) + " |";
    read += ' ' + text("%.0f", 1e-9 * b.at("read").get<double>()) + " |";
  }
  out += head + '\n' + rule + '\n' + copy + '\n' + read + "\n\n";
  out += report.at("compiler").get<std::string>() + ", `" + report.at("flags").get<std::string>() +
         "` (" + report.at("instruction_set").get<std::string>() + ")\n";
  std::string group;
  for (const auto& line : report.at("lines")) {
    const auto threads = line.at("threads").get<int>();
    const std::string title = line.at("group").get<std::string>() + ", " + std::to_string(threads) +
                              (threads == 1 ? " thread" : " threads");
    if (title != group) {
      group = title;
      const bool two = !earlier.is_null();
      out += "\n### " + group + "\n\n| line | Sequin | best peer | ratio |" +
             (two ? " earlier run |" : "") + " of the limit | spread | others |\n" +
             "| --- | --- | --- | --- |" + (two ? " --- |" : "") + " --- | --- | --- |\n";
    }
    const auto& ours = line.at("sequin");
    const double seconds = ours.at("seconds");
    out += "| " + line.at("name").get<std::string>() + " | " + duration(seconds) + " | ";
    const std::string best = line.value("best_peer", std::string());
    std::string others;
    double spread = ours.at("spread");
    for (const auto& peer : line.at("peers")) {
      const std::string name = peer.at("name");
      if (name == best) {
        out += name + ' ' + duration(peer.at("seconds"));
        spread = (std::max)(spread, peer.at("spread").get<double>());
        continue;
      }
      others += (others.empty() ? "" : ", ") + name + ' ' + duration(peer.at("seconds"));
      if (!peer.at("agrees").get<bool>()) others += " (other result)";
    }
    out += best.empty() ? "none | | " : " | " + text("%.2f", line.at("ratio")) + " | ";
    if (!earlier.is_null()) out += earlier_cell(earlier, line) + " | ";
    const double share = line.at("of_limit");
    out += (share > 0 ? text("%.2f", share) : std::string("–")) + " | " +
           text("%.0f %%", 100 * spread) + " | " + others + " |\n";
  }
  return out + memory_table(report);
}

}  // namespace sequin_compare

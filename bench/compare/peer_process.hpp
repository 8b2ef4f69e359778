/// A peer in a process of its own that is spoken to line by line.
#pragma once

#include "line.hpp"

#include <sys/types.h>
#include <cstdio>

namespace sequin_compare {

/// Sends one JSON object a line to the standard input of a program and reads one a line from its
/// standard output:
///   {"do": "prepare", "request": {...}, "inputs": FILE, "threads": N}
///       -> {"contenders": ["PyTorch", ...]} or {"none": REASON}
///   {"do": "run", "contender": I, "calls": N}  -> {"seconds": total}
///   {"do": "output", "contender": I, "file": F} -> {}, and F holds the tensor "output"
///   {"do": "memory"} -> {"peak_bytes": N}, asked of lines that train
class PeerProcess {
 public:
  /// Starts the command; it may fail to answer, which `prepare` then reports.
  PeerProcess(std::string name, const std::vector<std::string>& command);
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  ~PeerProcess();

  const std::string& name() const noexcept { return name_; }
  bool alive() const noexcept { return from_ != nullptr; }
  /// Names of those that can do the line, and why none can (empty when some can).
  std::vector<std::string> prepare(const Line& line, const std::string& input_file, index_t threads,
                                   std::string& why_not);
  double run(std::size_t contender, index_t calls);
  std::vector<float> output(std::size_t contender, const std::string& file);
  /// The most memory since `prepare`, without what the process held before it; 0 when not known.
  double peak_bytes();

 private:
  nlohmann::json ask(const nlohmann::json& question);

  std::string name_;
  pid_t pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

/// Writes the inputs as a safetensors file.
void write_inputs(const Line& line, const std::string& file);

}  // namespace sequin_compare

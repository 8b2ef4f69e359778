#include "peer_process.hpp"

#include "sequin/io/safetensors.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace sequin_compare {

PeerProcess::PeerProcess(std::string name, const std::vector<std::string>& command)
    : name_(std::move(name)) {
  std::signal(SIGPIPE, SIG_IGN);
  int to[2], from[2];
  // Closed in every later child: a peer that held another's end would keep it from its end of file.
  if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
    throw std::runtime_error("no pipe for " + name_);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    execvp(words[0], words.data());
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  to_ = fdopen(to[1], "w");
  from_ = fdopen(from[0], "r");
}

PeerProcess::~PeerProcess() {
  if (to_ != nullptr) std::fclose(to_);
  if (from_ != nullptr) std::fclose(from_);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
}

nlohmann::json PeerProcess::ask(const nlohmann::json& question) {
  if (!alive()) throw std::runtime_error(name_ + " is not running");
  const std::string text = question.dump() + "\n";
  std::string answer;
  if (std::fputs(text.c_str(), to_) >= 0 && std::fflush(to_) == 0) {
    char part[4096];
    while (std::fgets(part, sizeof part, from_) != nullptr) {
      answer += part;
      if (answer.back() == '\n') break;
    }
  }
  if (answer.empty() || answer.back() != '\n') {
    std::fclose(from_);
    from_ = nullptr;
    throw std::runtime_error(name_ + " ended without an answer");
  }
  return nlohmann::json::parse(answer);
}

std::vector<std::string> PeerProcess::prepare(const Line& line, const std::string& input_file,
                                              index_t threads, std::string& why_not) {
  const auto answer = ask(
      {{"do", "prepare"}, {"request", line.request}, {"inputs", input_file}, {"threads", threads}});
  why_not = answer.value("none", std::string());
  return answer.value("contenders", std::vector<std::string>());
}

double PeerProcess::run(std::size_t contender, index_t calls) {
  return ask({{"do", "run"}, {"contender", contender}, {"calls", calls}}).at("seconds");
}

std::vector<float> PeerProcess::output(std::size_t contender, const std::string& file) {
  ask({{"do", "output"}, {"contender", contender}, {"file", file}});
  const sequin::SafetensorsFile tensors(file);
  const sequin::TensorEntry* const entry = tensors.find("output");
  if (entry == nullptr) throw std::runtime_error(name_ + " wrote no output");
  std::vector<float> values(entry->bytes.size() / sizeof(float));
  std::memcpy(values.data(), entry->bytes.data(), entry->bytes.size());
  return values;
}

double PeerProcess::peak_bytes() {
  return alive() ? ask({{"do", "memory"}}).value("peak_bytes", 0.0) : 0.0;
}

void write_inputs(const Line& line, const std::string& file) {
  std::vector<sequin::TensorEntry> entries;
  for (const Input& input : line.inputs)
    entries.push_back({input.name, sequin::DType::F32,
                       std::vector<std::int64_t>(input.shape.begin(), input.shape.end()),
                       std::as_bytes(std::span(input.values))});
  sequin::save_safetensors(file, entries);
}

}  // namespace sequin_compare

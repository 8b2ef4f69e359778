/// A progress bar on the terminal: share done, a note such as the loss, rate and time left.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#if defined(_WIN32)
#include <io.h>
#else
#include <sys/ioctl.h>
#include <unistd.h>
#endif

namespace sequin_examples {

/// Draws on stderr, at most ten times a second, and only when stderr is a terminal and `quiet` is
/// false: logs and pipes stay clean. The line is erased at the end. Use from one thread.
///
///     ProgressBar bar("epoch 3/10", batches, quiet);
///     for (...) bar.update(i + 1, "loss 0.4123");
class ProgressBar {
 public:
  /// `unit` is what is counted ("examples"); `before` of the total were done by an earlier run and
  /// do not count for the rate.
  ProgressBar(std::string label, std::size_t total, bool quiet = false, std::string unit = {},
              std::size_t before = 0)
      : label_(std::move(label)),
        unit_(std::move(unit)),
        total_(total),
        before_(before),
        active_(!quiet && stderr_is_terminal()) {}
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { finish(); }

  /// True when something is drawn: a note that is costly to make can be left out otherwise.
  bool active() const noexcept { return active_; }

  /// `done` of the total are finished.
  void update(std::size_t done, std::string_view note = {}) {
    if (!active_) return;
    const auto now = Clock::now();
    if (drawn_ && done < total_ && now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    drawn_ = true;
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    std::string line = text(done, elapsed, note);
    if (line.size() > columns()) line.resize(columns());
    std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
    std::fflush(stderr);
  }

  /// Erases the line; nothing is drawn afterwards.
  void finish() noexcept {
    if (drawn_) {
      std::fputs("\r\x1b[K", stderr);
      std::fflush(stderr);
    }
    drawn_ = active_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;

  static bool stderr_is_terminal() noexcept {
#if defined(_WIN32)
    return _isatty(_fileno(stderr)) != 0;
#else
    return isatty(STDERR_FILENO) != 0;
#endif
  }

  /// One less than the width, so that the cursor does not wrap.
  static std::size_t columns() noexcept {
#if !defined(_WIN32)
    winsize size{};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) return size.ws_col - 1u;
#endif
    return 79;
  }

  static std::string duration(double seconds) {
    const auto s = static_cast<long>(std::clamp(seconds, 0.0, 359999.0));
    char buffer[48];
    if (s >= 3600) {
      std::snprintf(buffer, sizeof buffer, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
      std::snprintf(buffer, sizeof buffer, "%ld:%02ld", s / 60, s % 60);
    }
    return buffer;
  }

  std::string text(std::size_t done, double elapsed, std::string_view note) const {
    constexpr std::size_t width = 24;
    const double share =
        total_ == 0 ? 1.0
                    : (std::min)(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, "] %3.0f%% %zu/%zu", share * 100.0, done, total_);
    std::string line =
        label_ + " [" + std::string(filled, '#') + std::string(width - filled, '.') + numbers;
    if (!note.empty()) line.append("  ").append(note);
    if (done > before_ && elapsed > 0.0) {
      const double rate = static_cast<double>(done - before_) / elapsed;
      std::snprintf(numbers, sizeof numbers, rate < 1000 ? "  %.3g" : "  %.0f", rate);
      line += numbers + (unit_.empty() ? "/s" : " " + unit_ + "/s");
      if (done < total_)
        line += "  " + duration(static_cast<double>(total_ - done) / rate) + " left";
    }
    return line;
  }

  std::string label_, unit_;
  std::size_t total_, before_;
  bool active_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace sequin_examples

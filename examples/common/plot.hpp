/// Draws forecasts and the course of a training as SVG pictures by running gnuplot.
#pragma once

#include "sequin/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <locale>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#else
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <cerrno>

extern char** environ;
#endif

namespace sequin_examples {

/// One variate around the moment at which it was forecast. The last value of `history` stands at
/// 0 on the x axis, the first of `truth` and `forecast` at `step`. Values that are not finite leave
/// a gap.
struct ForecastPlot {
  std::string title;
  std::string x_label = "Time from the start of the forecast (hours)";
  std::string y_label;           ///< With its unit: "Departures (flights per half hour)".
  double x_tick = 0.0;           ///< Distance of two numbers on the x axis; 0 chooses one.
  double step = 1.0;             ///< Distance of two values in the unit of `x_label`.
  std::vector<double> history;   ///< What the model saw.
  std::vector<double> truth;     ///< What came; empty when it is not known.
  std::vector<double> forecast;  ///< What the model said.
};

namespace detail {

/// Text as a gnuplot string in single quotes, inside which nothing but the quote is special.
inline std::string gnuplot_string(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    out += u < 0x20 || u == 0x7f ? ' ' : c;
    if (c == '\'') out += '\'';
  }
  return out + "'";
}

inline void write_curve(std::ostream& out, std::string_view name, double first, double step,
                        const std::vector<double>& values) {
  out << '$' << name << " << END_OF_DATA\n";
  for (std::size_t i = 0; i < values.size(); ++i) {
    out << first + step * static_cast<double>(i) << ' ';
    if (std::isfinite(values[i])) {
      out << values[i] << '\n';
    } else {
      out << "NaN\n";
    }
  }
  out << "END_OF_DATA\n";
}

inline void write_script(std::ostream& out, const std::string& target, const ForecastPlot& plot) {
  const double before = plot.step * static_cast<double>(plot.history.size());
  const auto after = static_cast<double>((std::max)(plot.truth.size(), plot.forecast.size()));
  std::vector<double> truth = plot.truth;
  const bool joined = !truth.empty() && !plot.history.empty();
  if (joined) truth.insert(truth.begin(), plot.history.back());
  write_curve(out, "history", plot.step - before, plot.step, plot.history);
  write_curve(out, "truth", joined ? 0.0 : plot.step, plot.step, truth);
  write_curve(out, "forecast", plot.step, plot.step, plot.forecast);

  out << "set terminal svg size 960,420 font 'sans-serif,14' noenhanced background rgb 'white'\n"
      << "set output " << gnuplot_string(target) << "\n"
      << "set title " << gnuplot_string(plot.title) << " font 'sans-serif,16'\n"
      << "set xlabel " << gnuplot_string(plot.x_label) << "\nset ylabel "
      << gnuplot_string(plot.y_label) << "\n"
      << "set xrange [" << (std::min)(plot.step - before, 0.0) << ':' << plot.step * after << "]\n"
      << "set key tmargin right horizontal reverse Left samplen 2\n"
      << "set grid linecolor rgb '#dddddd' linetype 1\nset border 3\n"
      << "set tics nomirror out\n"
      << "set arrow from 0, graph 0 to 0, graph 1 nohead linecolor rgb '#777777' dashtype 2\n";
  if (plot.x_tick > 0.0) out << "set xtics " << plot.x_tick << '\n';
  const char* separator = "plot ";
  const auto curve = [&](const std::vector<double>& values, const char* name, const char* style) {
    if (values.empty()) return;
    out << separator << '$' << name << " using 1:2 with lines " << style << " title '" << name
        << "'";
    separator = ", ";
  };
  curve(plot.history, "history", "linewidth 1.5 linecolor rgb '#555555'");
  curve(plot.truth, "truth", "linewidth 1.5 linecolor rgb '#1f77b4'");
  curve(plot.forecast, "forecast", "linewidth 2.2 linecolor rgb '#d62728'");
  out << '\n';
}

/// Runs gnuplot on a script without a shell in between; the exit code, or -1 without gnuplot.
inline int run_gnuplot(const std::string& script) {
#if defined(_WIN32)
  return static_cast<int>(_spawnlp(_P_WAIT, "gnuplot", "gnuplot", "-d", script.c_str(), nullptr));
#else
  posix_spawn_file_actions_t streams;
  posix_spawn_file_actions_init(&streams);
  posix_spawn_file_actions_addopen(&streams, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&streams, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&streams, 2, "/dev/null", O_WRONLY, 0);
  std::string arguments[] = {"gnuplot", "-d", script};
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, "gnuplot", &streams, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&streams);
  if (failed != 0) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
#endif
}

/// Runs gnuplot on what `write_script(out, target)` writes, so that `path` appears whole or not at
/// all.
template <class WriteScript>
void draw(const std::filesystem::path& path, WriteScript&& write_script) {
  const std::string name = sequin::detail::printable(path.string());
  std::filesystem::path drawn = path, script = path;
  drawn += ".tmp";
  script += ".gnuplot.tmp";
  std::error_code ignored;
  std::ofstream out(script, std::ios::binary);
  out.imbue(std::locale::classic());
  out.precision(9);
  write_script(out, drawn.string());
  out.close();
  // A file name that starts with a dash must not read as an option.
  const int code = out ? run_gnuplot(std::filesystem::absolute(script, ignored).string()) : 0;
  std::filesystem::remove(script, ignored);
  std::error_code failed;
  if (out && code == 0) {
    std::filesystem::rename(drawn, path, failed);
    if (!failed) return;
  }
  std::filesystem::remove(drawn, ignored);
  if (!out || failed) {
    throw sequin::ConfigError("plot " + name + ": the file cannot be written");
  }
  if (code < 0) {
    throw sequin::ConfigError("plot " + name + ": needs the program gnuplot, which was not found " +
                              "(Debian: apt-get install gnuplot-nox)");
  }
  throw sequin::ConfigError("plot " + name + ": gnuplot failed with exit code " +
                            std::to_string(code));
}

}  // namespace detail

/// Writes the picture to `path`, an SVG file that appears whole or not at all. Throws ConfigError
/// when there is nothing to draw, the file cannot be written, or gnuplot is missing or fails.
inline void plot_forecast(const std::filesystem::path& path, const ForecastPlot& plot) {
  if (plot.forecast.empty() || !(plot.step > 0.0)) {
    throw sequin::ConfigError(
        "plot " + sequin::detail::printable(path.string()) +
        ": expected a forecast of 1 value or more and a step above 0, found " +
        std::to_string(plot.forecast.size()) + " values and step " + std::to_string(plot.step));
  }
  detail::draw(path, [&](std::ostream& out, const std::string& target) {
    detail::write_script(out, target, plot);
  });
}

/// The course of a training over its epochs: the loss of the steps, and after each epoch the mean
/// of its training loss and the validation loss.
struct TrainingPlot {
  std::string title;
  std::string y_label = "Loss";
  std::vector<double> step_epochs;  ///< Where each step stands: 1.5 is half through the second.
  std::vector<double> step_losses;
  std::vector<double> train_losses;  ///< One an epoch.
  std::vector<double> val_losses;
  std::size_t best_epoch = 0;  ///< From 1; 0 marks none.
};

/// As plot_forecast; throws ConfigError when not one epoch is over, too.
inline void plot_training(const std::filesystem::path& path, const TrainingPlot& plot) {
  if (plot.val_losses.empty() || plot.train_losses.size() != plot.val_losses.size() ||
      plot.step_epochs.size() != plot.step_losses.size()) {
    throw sequin::ConfigError("plot " + sequin::detail::printable(path.string()) +
                              ": expected the losses of one epoch or more, found " +
                              std::to_string(plot.val_losses.size()));
  }
  detail::draw(path, [&](std::ostream& out, const std::string& target) {
    out << "$steps << END_OF_DATA\n";
    for (std::size_t i = 0; i < plot.step_losses.size(); ++i)
      if (std::isfinite(plot.step_losses[i]))
        out << plot.step_epochs[i] << ' ' << plot.step_losses[i] << '\n';
    out << "END_OF_DATA\n";
    detail::write_curve(out, "training", 1, 1, plot.train_losses);
    detail::write_curve(out, "validation", 1, 1, plot.val_losses);
    out << "set terminal svg size 960,420 font 'sans-serif,14' noenhanced background rgb 'white'\n"
        << "set output " << detail::gnuplot_string(target) << "\n"
        << "set title " << detail::gnuplot_string(plot.title) << " font 'sans-serif,16'\n"
        << "set xlabel 'Epoch'\nset ylabel " << detail::gnuplot_string(plot.y_label) << "\n"
        << "set xrange [0:" << plot.val_losses.size() << ".2]\n"
        << "set key tmargin right horizontal reverse Left samplen 2\n"
        << "set grid linecolor rgb '#dddddd' linetype 1\nset border 3\nset tics nomirror out\n";
    if (plot.best_epoch > 0)
      out << "set arrow from " << plot.best_epoch << ", graph 0 to " << plot.best_epoch
          << ", graph 1 nohead linecolor rgb '#777777' dashtype 2\n";
    out << "plot ";
    if (!plot.step_losses.empty())
      out << "$steps using 1:2 with lines linewidth 1 linecolor rgb '#bbbbbb' title 'steps', ";
    out << "$training using 1:2 with linespoints linewidth 1.5 pointtype 7 pointsize 0.5 "
        << "linecolor rgb '#1f77b4' title 'training', $validation using 1:2 with linespoints "
        << "linewidth 2.2 pointtype 7 pointsize 0.6 linecolor rgb '#d62728' title 'validation'\n";
  });
}

}  // namespace sequin_examples

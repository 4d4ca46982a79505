#include "cli/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/units.h"
#include "io/small_file.h"

namespace weir::cli {

namespace {

volatile std::sig_atomic_t stop_flag = 0;

void on_signal(int) { stop_flag = 1; }

constexpr std::chrono::milliseconds kBetween(200);
constexpr int kBarWidth = 24;

}  // namespace

StopSignals::StopSignals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

bool StopSignals::stopped() { return stop_flag != 0; }

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
  const auto now = Clock::now();
  if (!screen_.live() || total == 0 || now - shown_ < kBetween) return;
  shown_ = now;
  const auto fraction = static_cast<double>(done) / static_cast<double>(total);
  const auto seconds = std::chrono::duration<double>(now - began_).count();
  const auto filled = std::clamp(static_cast<int>(fraction * kBarWidth), 0, kBarWidth);
  auto line = fmt::format("{}  [{:#<{}}{: <{}}] {:3.0f} %", name_, "", filled, "",
                          kBarWidth - filled, fraction * 100);
  if (seconds > 1 && done > 0) {
    const auto rate = static_cast<double>(done) / seconds;
    line += fmt::format("  {}/s", format_size(static_cast<std::uint64_t>(rate)));
    const auto left = std::chrono::milliseconds(
        static_cast<std::int64_t>(static_cast<double>(total - done) / rate * 1000));
    line += fmt::format("  {} left", format_duration(left));
  }
  screen_.show(line.substr(0, static_cast<std::size_t>(std::max(1, screen_.width() - 1))));
}

std::string read_small_file(const std::string& path, std::string_view option) {
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;
  try {
    return io::read_small_file(path, kMost);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, fmt::format("could not read the file that {} names", option))
        .with("path", path)
        .with("reason", error.message())
        .hint("Check the path and that this user may read it.");
  }
}

}  // namespace weir::cli

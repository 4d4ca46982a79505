#include "daemon/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace weir::daemon {

namespace {

constexpr std::chrono::milliseconds kBetween(200);
constexpr int kBarWidth = 24;

}  // namespace

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

}  // namespace weir::daemon

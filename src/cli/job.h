#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "cli/screen.h"

namespace weir::cli {

/// From its making on SIGINT and SIGTERM only set a flag, once: the second one ends the process.
/// For commands that work through a lot of files. One in a process.
class StopSignals {
 public:
  StopSignals();
  [[nodiscard]] static bool stopped();
};

/// A bar on a terminal's standard error: "verify  [#####     ]  48%  1.2 GB/s  3 min left". Nothing
/// where it is no terminal. One thread at a time.
class ProgressBar {
 public:
  explicit ProgressBar(std::string_view name) : name_(name) {}
  ~ProgressBar() { screen_.clear(); }
  void show(std::uint64_t done, std::uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  Screen screen_{2};
  std::string name_;
  Clock::time_point began_ = Clock::now();
  Clock::time_point shown_{};
};

/// The content of a small file. Throws Error{usage} if it cannot be read.
[[nodiscard]] std::string read_small_file(const std::string& path, std::string_view option);

}  // namespace weir::cli

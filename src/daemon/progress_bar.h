#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/screen.h"

namespace weir::daemon {

/// A bar on a terminal's standard error: "verify  [#####     ]  48%  1.2 GB/s  3 min left". Nothing
/// if it is not a terminal. One thread at a time.
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

}  // namespace weir::daemon

#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "base/error.h"
#include "base/log.h"

namespace weir {

/// Logs events that clients may cause often: at most N a minute, with the number of those omitted.
/// Thread-safe.
class SeldomLog {
 public:
  SeldomLog(Log& log, unsigned most_a_minute) : log_(log), most_(most_a_minute) {}
  /// Each with its own level: a client's trouble is a warning, damage an error.
  void warning(const std::string& text);
  void error(const Error& error);

 private:
  bool may_tell();

  Log& log_;
  const unsigned most_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point minute_{};
  unsigned told_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace weir

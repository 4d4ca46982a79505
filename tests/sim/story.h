#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "receive/flush_policy.h"

namespace weir::sim {

inline constexpr receive::Time kTimeZero{std::chrono::hours(1)};

enum class Telling {
  none,
  kept,
  printed,  ///< at once, so that it can be followed where a run does not end
};

/// What happened, step by step, at which virtual moment. Told only when asked for: a run that fails
/// is simply run again with it.
class Story final : public Log {
 public:
  explicit Story(Telling telling) : telling_(telling) {}

  template <typename... Args>
  void tell(fmt::format_string<Args...> text, Args&&... args) {
    if (enabled(LogLevel::info)) add(fmt::format(text, std::forward<Args>(args)...));
  }

  void write(LogLevel, std::string_view message) override {
    add("    log: " + std::string(message));
  }
  bool enabled(LogLevel) const override { return telling_ != Telling::none; }

  [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }

  receive::Time now = kTimeZero;

 private:
  void add(const std::string& text) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now - kTimeZero).count();
    auto line = fmt::format("{:>10.3f} ms  {}", static_cast<double>(us) / 1000.0, text);
    if (telling_ == Telling::printed)
      std::printf("%s\n", line.c_str());
    else
      lines_.push_back(std::move(line));
  }

  Telling telling_;
  std::vector<std::string> lines_;
};

/// A promise was broken.
struct Violation {
  std::string promise;  ///< "P1"
  std::string what;
};

}  // namespace weir::sim

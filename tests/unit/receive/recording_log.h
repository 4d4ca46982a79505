#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"

namespace weir::test {

/// Keeps what was said, each line as "level: message".
class RecordingLog final : public Log {
 public:
  void write(LogLevel level, std::string_view message) override {
    lines.push_back(std::string(name(level)) + ": " + std::string(message));
  }
  bool enabled(LogLevel) const override { return true; }

  /// How many lines hold `text`.
  [[nodiscard]] int count(std::string_view text) const {
    int found = 0;
    for (const auto& line : lines) found += line.find(text) != std::string::npos ? 1 : 0;
    return found;
  }

  std::vector<std::string> lines;

 private:
  static std::string_view name(LogLevel level) {
    switch (level) {
      case LogLevel::debug:
        return "debug";
      case LogLevel::info:
        return "info";
      case LogLevel::warning:
        return "warning";
      case LogLevel::error:
        return "error";
    }
    return "?";
  }
};

}  // namespace weir::test

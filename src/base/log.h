#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/error.h"

namespace weir {

enum class LogLevel { debug, info, warning, error };

/// Destination of messages. The default writes nothing: the library is silent unless its user sets
/// a log. Calls may come from any thread.
class Log {
 public:
  virtual ~Log() = default;
  virtual void write(LogLevel level, std::string_view message) = 0;
  /// False allows a caller to skip the formatting.
  [[nodiscard]] virtual bool enabled(LogLevel level) const = 0;

  template <typename... Args>
  void debug(fmt::format_string<Args...> text, Args&&... args) {
    if (enabled(LogLevel::debug))
      write(LogLevel::debug, fmt::format(text, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void info(fmt::format_string<Args...> text, Args&&... args) {
    if (enabled(LogLevel::info))
      write(LogLevel::info, fmt::format(text, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warning(fmt::format_string<Args...> text, Args&&... args) {
    if (enabled(LogLevel::warning))
      write(LogLevel::warning, fmt::format(text, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void error(fmt::format_string<Args...> text, Args&&... args) {
    if (enabled(LogLevel::error))
      write(LogLevel::error, fmt::format(text, std::forward<Args>(args)...));
  }
  /// As write_error().
  void error(const Error& error) { write_error(error); }
  /// Writes the message with context, then the hint on a line of its own, unless a log uses a
  /// different format.
  virtual void write_error(const Error& error);
};

/// Swallows everything; for tests and for callers that do their own telling.
class NullLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
  bool enabled(LogLevel) const override { return false; }
};

}  // namespace weir

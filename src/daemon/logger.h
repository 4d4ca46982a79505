#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "daemon/screen.h"

namespace weir::daemon {

enum class LogFormat {
  text,
  json,  ///< one object on each line; docs/monitoring.md describes the fields
};

/// The log of `pgweir receive`: lines such as
///
///     2026-11-20 10:00:00.123 UTC INFO  text
///
/// on stderr or in a file; where stderr is systemd's journal each line has its priority in front
/// and no time. A thread of its own writes them, from a small queue: a stopped terminal
/// or a hanging log disk delays and in the end drops the oldest messages, never the archiving. Any
/// thread.
class Logger final : public Log {
 public:
  /// The screen is stderr; it must outlive the logger. Throws Error{io} if the log file cannot be
  /// opened. With `program` the lines are those of a PostgreSQL client of that name: "NAME: error:
  /// text", "NAME: hint: text", and for other messages "NAME: text".
  Logger(Screen& screen, LogLevel level, std::optional<std::string> file, std::string program = {},
         LogFormat format = LogFormat::text);
  /// As close(), without its answer.
  ~Logger() override;

  void write(LogLevel level, std::string_view message) override;
  void write_error(const Error& error) override;
  [[nodiscard]] bool enabled(LogLevel level) const override;

  void set_level(LogLevel level);
  /// Reopens the log file, as after logrotate moved it; a failure is reported on stderr and the old
  /// file stays in use. No effect without a log file. Returns after at most about a second: if the
  /// file's disk hangs, the file is reopened later.
  void reopen();
  /// Waits until everything logged so far is written; returns false if that takes longer than
  /// `time`.
  bool drain(std::chrono::milliseconds time);
  /// Ends the thread after its remaining output. Returns false if it is stuck in a write: then only
  /// _exit() ends the process.
  bool close(std::chrono::milliseconds time);
  /// The final output before _exit(): `error` is written to stderr, and to the log file if there is
  /// one. Returns after at most about `time`.
  void last_words(const Error& error, std::chrono::milliseconds time);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The message as written to a line: characters that a terminal would interpret are escaped
/// (base/visible.h), further lines are indented.
[[nodiscard]] std::string one_message(std::string_view message);

}  // namespace weir::daemon

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "doctor/checks.h"
#include "doctor/facts.h"

namespace weir::doctor {

/// Something that will be full or lost in less than this many seconds is reported.
constexpr double kSoon = 24 * 3600;
constexpr double kVerySoon = 3600;

/// The checks made so far.
class Checks {
 public:
  void ok(std::string name, std::string found) { add(std::move(name), Level::ok, found, {}); }
  void warn(std::string name, std::string found, std::vector<std::string> todo) {
    add(std::move(name), Level::warning, std::move(found), std::move(todo));
  }
  void fail(std::string name, std::string found, std::vector<std::string> todo) {
    add(std::move(name), Level::failure, std::move(found), std::move(todo));
  }
  void unknown(std::string name, std::string found, std::vector<std::string> todo = {}) {
    add(std::move(name), Level::unknown, std::move(found), std::move(todo));
  }
  std::vector<Check> take() { return std::move(checks_); }

 private:
  void add(std::string name, Level level, std::string found, std::vector<std::string> todo) {
    checks_.push_back({std::move(name), level, std::move(found), std::move(todo)});
  }
  std::vector<Check> checks_;
};

/// Bytes a second, and seconds, for people.
[[nodiscard]] std::string rate_text(double rate);
[[nodiscard]] std::string time_text(double seconds);

/// The server's WAL rate, in bytes per second, the larger of two measurements: an idle period shows
/// little.
[[nodiscard]] std::optional<double> rate_of(const ServerFacts& server);

/// Until when a certificate is valid.
void check_expiry(Checks& checks, const char* name, const std::string& certificate,
                  std::chrono::sys_seconds expires, std::chrono::system_clock::time_point now,
                  const std::vector<std::string>& todo);

}  // namespace weir::doctor

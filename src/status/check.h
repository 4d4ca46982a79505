#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "status/report.h"

namespace weir::status {

/// The exit statuses of monitoring plugins.
enum class Level { ok = 0, warning = 1, critical = 2, unknown = 3 };
[[nodiscard]] std::string_view to_string(Level level);

struct Limits {
  std::optional<std::uint64_t> max_lag;  ///< bytes
  /// How long ago the server may have been heard of. Not the age of WAL: an idle server is well.
  std::optional<std::chrono::milliseconds> max_age;
  /// How long a finished segment may wait to be in the store.
  std::optional<std::chrono::milliseconds> max_store_age{};
};

/// What a finding is about: by this a page tells what to do next.
enum class Topic {
  other,
  hole,
  lost_branch,
  minimal_wal,
  not_vouched_for,
  published_open,
  damage,
  receiver_silent,
  no_receiver,
  disk_full,
  not_streaming,
  server_silent,
  slot,
  candidate,
  difference,
  comparison,
  store,
  certificate,
  relay,
  server_unreachable,
  other_cluster,
  branch,
  lag,
};

/// "hole", "no_receiver": as JSON calls it.
[[nodiscard]] std::string_view to_string(Topic topic);
[[nodiscard]] std::optional<Topic> topic_of(std::string_view name);

struct Verdict {
  struct Finding {
    Level level;
    std::string text;
    Topic topic = Topic::other;
  };
  Level level = Level::ok;
  std::vector<Finding> findings;  ///< gravest first
  std::string line;               ///< "PGWEIR OK - … | lag=0B;;67108864;0 …", without line end
};

/// Pure.
[[nodiscard]] Verdict check(const StatusReport& report, const Limits& limits);

/// What WAL of a newer version means, by the magic of its pages; a sentence.
[[nodiscard]] std::string newer_version_text(std::uint16_t magic);

/// The line of a check that could not be made.
[[nodiscard]] std::string line_without_report(Level level, std::string_view why);

}  // namespace weir::status

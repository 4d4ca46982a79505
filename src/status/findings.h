#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/serving_view.h"
#include "receive/receiver_view.h"

namespace weir::status {

// The problems of a receiver: one list, which `status --check` and its JSON, the page, the page of
// many archives and the probes of a load balancer share. Pure.

/// The exit statuses of monitoring plugins.
enum class Level { ok = 0, warning = 1, critical = 2, unknown = 3 };
[[nodiscard]] std::string_view to_string(Level level);
/// Greater is graver: a known problem outweighs an unknown state.
[[nodiscard]] int gravity(Level level);

struct Limits {
  std::optional<std::uint64_t> max_lag;  ///< bytes
  /// Maximum age of the server's last message. Not the age of WAL: an idle server is healthy.
  std::optional<std::chrono::milliseconds> max_age;
  /// How long a finished segment may wait to be in the store.
  std::optional<std::chrono::milliseconds> max_store_age{};
  /// Age of the oldest WAL of the server that is not durable here; unset: a warning above
  /// kLagTime.
  std::optional<std::chrono::milliseconds> max_lag_time{};
  /// How long no WAL may stream before that is critical; unset: kOutage.
  std::optional<std::chrono::milliseconds> max_outage{};
  std::optional<std::uint64_t> min_free{};  ///< bytes
  /// Time until the disk is full, at the rate of the last day; unset: a warning below kFullIn.
  std::optional<std::chrono::milliseconds> min_free_time{};
  /// Age of the last verification and drill that are recorded; a warning, also if none is.
  std::optional<std::chrono::milliseconds> max_verify_age{};
  std::optional<std::chrono::milliseconds> max_drill_age{};
  /// Age of the newest base backup that counts; a warning, also if none counts.
  std::optional<std::chrono::milliseconds> max_backup_age{};
  bool at_rest = false;     ///< it is normal that no receiver runs
  bool must_judge = false;  ///< a limit that cannot be judged here is reported
};
inline constexpr std::chrono::minutes kLagTime{5};
inline constexpr std::chrono::minutes kOutage{15};
inline constexpr std::chrono::hours kFullIn{6};

/// What a finding is about. A new one gets its words in findings.cc.
enum class Topic {
  other,
  hole,
  lost_branch,
  minimal_wal,
  not_vouched_for,
  published_open,
  damage,
  receiver_silent,
  directory_silent,
  no_receiver,
  no_wal,
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
  serving,
  server_unreachable,
  other_cluster,
  branch,
  lag,
  verify,
  drill,
  backup,
};

struct TopicWords {
  std::string_view key;      ///< "hole", "no_receiver": as JSON calls it; empty: no such topic
  std::string_view hint;     ///< what to do, in a sentence or two
  std::string_view chapter;  ///< the heading that says more
  std::string_view page = "troubleshooting";  ///< that it is in: docs/<page>.md
};
[[nodiscard]] TopicWords words_of(Topic topic);
/// In the order of Topic.
[[nodiscard]] std::vector<Topic> all_topics();
[[nodiscard]] inline std::string_view to_string(Topic topic) { return words_of(topic).key; }

struct Finding {
  Level level = Level::unknown;
  std::string text{};
  Topic topic = Topic::other;
  /// Why the receiver does not archive as it should, for those who may not see a host or a slot;
  /// empty: it does.
  std::string public_text{};
  /// Since when it has been so; unset: unknown.
  std::optional<std::chrono::system_clock::time_point> since{};
  /// What to run next, in this order, each as a shell takes it. Words in capitals are to be filled
  /// in.
  std::vector<std::string> commands{};
};

/// With max_lag, its own lag is judged, too.
[[nodiscard]] std::vector<Finding> findings(const receive::ReceiverView& view,
                                            const Limits& limits);
[[nodiscard]] std::vector<Finding> findings(const archive::Relay& relay);
/// What tests the object store, with the receiver's configuration file; empty: it has none, or it
/// is not known.
[[nodiscard]] std::string check_store(const std::string& config);
/// What frees space on the archive's disk, in the order of what it costs.
[[nodiscard]] std::vector<std::string> space_commands();
/// By bytes. nullopt: how far it is behind is not known.
void judge_lag(std::optional<std::uint64_t> lag, const Limits& limits, std::vector<Finding>& found);

}  // namespace weir::status

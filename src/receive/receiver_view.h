#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "archive/serving_view.h"
#include "pq/slot_view.h"
#include "receive/candidate.h"
#include "receive/choose_host.h"
#include "receive/stream_state.h"
#include "receive/sync_times.h"
#include "store/send/store_view.h"

namespace weir::receive {

/// A receiver's own state at one moment. Value type: `pgweir status`, the page, the metrics and the
/// health probes are generated from it alone, in the receiver's own process or, from its JSON
/// (status/view_json.h), in another one. Each section is a struct of the directory that it is
/// about; CONTRIBUTING.md ("How to add a status fact") describes how to add one.
struct ReceiverView {
  using SystemTime = std::chrono::system_clock::time_point;

  SystemTime taken{};  ///< the moment: ages and remaining times count from here
  std::int64_t pid = 0;
  std::string version{};
  std::string config{};  ///< its configuration file, an absolute path; empty: none, or unknown
  SystemTime started{};
  std::string state = "starting";  ///< starting, connecting, waiting, streaming, stopping, …
  SystemTime state_since{};
  std::optional<SystemTime> disk_full_since{};  ///< unset: it is not full
  /// Since when no WAL streams, regardless of attempts to connect, and of streams in which no
  /// message has arrived; unset while it streams, or unknown.
  std::optional<SystemTime> outage_since{};
  /// The upstream is a standby that is not connected to its primary: since when it has had no newer
  /// WAL; by the slot guard.
  std::optional<SystemTime> cut_off_since{};
  std::string server{};  ///< the upstream; while there is none, the last one
  /// The server's setting of that name, which names the whole cluster; empty: not set, or unknown.
  std::string cluster_name{};
  /// With several hosts: the verdict about each after the last query.
  std::vector<HostVerdict> hosts{};
  /// Since the server's last message, or the start; unset: a receiver that does not report it.
  std::optional<std::chrono::milliseconds> silence{};
  std::optional<StreamSnapshot> stream{};       ///< unset while no WAL streams
  std::optional<StreamSnapshot> last_stream{};  ///< where the last one ended
  /// Age of the oldest WAL of lag(), by the server's clock; unset: unknown.
  std::optional<std::chrono::milliseconds> lag_time{};
  /// If the server had that WAL before the stream started: its age is at least this.
  std::optional<std::chrono::milliseconds> lag_at_least{};
  /// Over the last half minute to two minutes; unset: unknown.
  std::optional<std::uint64_t> bytes_per_second{};
  // Counted since the start.
  std::uint64_t archived_bytes = 0;  ///< WAL flushed
  std::uint64_t streams = 0;         ///< started; each reconnect and each timeline starts one
  std::uint64_t errors = 0;
  std::uint64_t segments_finished = 0;
  std::uint64_t slow_syncs = 0;  ///< longer than kSlowSync
  std::optional<SyncTimes::Summary> syncs{};
  std::optional<std::string> last_error{};
  SystemTime last_error_time{};
  std::vector<archive::Loss> losses{};
  std::optional<std::string> slot{};
  std::optional<std::string> slot_warning{};  ///< by the slot guard
  std::optional<pq::SlotView> slot_view{};    ///< at its last check
  SystemTime slot_read_at{};
  /// The other servers of the connection string, in its order; by the slot keeper.
  std::vector<Candidate> candidates{};
  /// Certificates of the upstream connection.
  struct Certificates {
    std::string client{};  ///< our client certificate's file; empty: none
    std::optional<std::chrono::sys_seconds> client_expires{};
    std::optional<std::chrono::sys_seconds> server_expires{};  ///< of the server's certificate
    /// Why the next connection could not be made with the current files; empty: it could.
    std::string problem{};
  };
  Certificates certificates{};
  /// With a reference server (--compare-with).
  struct Comparison {
    std::string with{};     ///< the server, if known
    std::string problem{};  ///< why it cannot be compared; empty: it can
    wal::TimelineId timeline = 0;
    wal::Lsn position{};  ///< compared up to there; 0/0: nothing yet
    std::uint64_t bytes = 0;
    std::uint64_t skipped_bytes = 0;          ///< could not be compared
    std::uint64_t differences = 0;            ///< at most one per segment is counted
    std::optional<std::string> difference{};  ///< the first one
    SystemTime difference_time{};
  };
  std::optional<Comparison> comparison{};
  std::size_t to_compress = 0;                    ///< complete segments still raw
  std::optional<archive::ServingView> serving{};  ///< unset: it does not serve
  std::optional<store::StoreView> store{};        ///< unset: no uploads

  [[nodiscard]] bool is_streaming() const { return state == "streaming" && !disk_full_since; }
  [[nodiscard]] std::string shown_state() const { return disk_full_since ? "disk full" : state; }
  [[nodiscard]] SystemTime shown_state_since() const {
    return disk_full_since.value_or(state_since);
  }
  /// For so long that it is not just a moment between two connections of the standby.
  [[nodiscard]] bool is_cut_off() const {
    return is_streaming() && cut_off_since && taken - *cut_off_since > std::chrono::minutes(5);
  }
  /// WAL that the server has and that is not durable here; unset while no WAL streams.
  [[nodiscard]] std::optional<std::uint64_t> lag() const {
    if (!stream) return std::nullopt;
    return stream->server_end > stream->flush ? stream->server_end - stream->flush : 0;
  }
};

}  // namespace weir::receive

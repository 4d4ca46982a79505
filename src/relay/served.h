#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// The cluster whose WAL is served. Constant while it is served.
struct Cluster {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  int major = 0;        ///< the server's version
  std::string version;  ///< as the server reports it; empty if no receiver has connected

  /// As reported by a server of that version, for PQserverVersion() and the like.
  [[nodiscard]] std::string server_version() const;
  /// 150018; without a minor version that is known it is 0.
  [[nodiscard]] int server_version_num() const;
  /// Checks that the version reported by a server can be that of this cluster: it may have been
  /// upgraded since.
  void hear_version(const std::string& said);
};

/// The position up to which WAL is served: durable here, on the newest timeline of this history.
/// Value type.
struct Served {
  wal::TimelineHistory history{1};
  wal::Lsn end;
  /// Clients that are held back get no WAL after this position (--serve-synchronized-standbys).
  std::optional<wal::Lsn> hold = std::nullopt;
  /// Why the WAL after `end` is not available, although there is more: for clients that request it.
  std::optional<wire::ErrorReport> breaks_off = std::nullopt;

  [[nodiscard]] wal::TimelineId timeline() const { return history.timeline(); }
  /// The archive had no history file of the timeline. It may get one later: a starting receiver
  /// fetches it.
  [[nodiscard]] bool lacks_ancestors() const {
    return timeline() != 1 && history.ancestors().empty();
  }
};

/// The announced end, which never goes back. It receives a receiver's flush position, and includes
/// what can be announced (P10). Pure.
///
/// At a timeline switch a receiver starts the new timeline at a segment's first byte, which is
/// before the flush position on the old one. Until it has passed the start of the new timeline, the
/// old one continues to be served: an LSN alone is ambiguous, (timeline, LSN) is not.
class ServedEnd {
 public:
  explicit ServedEnd(Served begin) : served_(std::move(begin)) {}

  [[nodiscard]] const Served& now() const { return served_; }

  enum class Told {
    nothing,   ///< not further than what was announced
    further,   ///< on the same timeline, or its ancestors, which were not known
    switched,  ///< to a newer one, of which the old one is an ancestor
    foreign,   ///< of a history that does not contain what was announced
  };
  /// Everything before `end` is durable on the newest timeline of `history`.
  Told on_durable(const wal::TimelineHistory& history, wal::Lsn end);

 private:
  Served served_;
};

}  // namespace weir::relay

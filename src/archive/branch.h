#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// End of the archive's WAL in each timeline's own files.
using TimelineEnds = std::map<wal::TimelineId, wal::Lsn>;

/// The position of a server.
struct ServerPlace {
  wal::TimelineId timeline = 0;
  wal::Lsn position;  ///< it has WAL up to here
  /// History of its timeline as reported by the server; unset if unavailable.
  std::optional<wal::TimelineHistory> history = std::nullopt;
  std::optional<bool> standby = std::nullopt;  ///< unset: not reported
};

/// The relation of a server's WAL to the archive's. Two positions can only be compared as far as
/// both histories are the same.
struct Branch {
  enum class Relation {
    same,      ///< one history, and the archive has all that the server has
    ahead,     ///< the server has more WAL, which continues the archive
    behind,    ///< all of the server's WAL is part of the archive's history, which continues after
               ///< it
    diverged,  ///< each has WAL that is not of the other's history
    unknown,   ///< the history of the server's timeline is not known
  };
  Relation relation = Relation::unknown;
  wal::TimelineId archive_timeline = 0;  ///< the newest that the archive has WAL of
  wal::Lsn archive_end;
  /// If diverged: where, and on which timeline.
  wal::Lsn fork;
  wal::TimelineId fork_timeline = 0;
  /// The server's WAL that the archive does not have, [from, to); empty if it has all.
  wal::Lsn missing_from;
  wal::Lsn missing_to;

  [[nodiscard]] std::uint64_t missing() const {
    return missing_to > missing_from ? missing_to - missing_from : 0;
  }
  bool operator==(const Branch&) const = default;
};

/// Pure. nullopt for an archive without WAL.
[[nodiscard]] std::optional<Branch> compare_with_server(const Timelines& timelines,
                                                        const TimelineEnds& ends,
                                                        const ServerPlace& server);

/// What an operator must know about it, and what to do; empty if there is nothing to add to the
/// position.
struct BranchRemark {
  bool loss = false;  ///< WAL of the server is in no archive, and will not be archived
                      ///< automatically
  std::string what{};
  std::string todo{};
};
[[nodiscard]] BranchRemark remark_on(const Branch& branch, const ServerPlace& server);

/// "same", "ahead", ...
[[nodiscard]] std::string_view to_string(Branch::Relation relation);

/// By the names of complete segments, and by what is valid of the partial ones of the newest
/// timelines. Damaged or removed files count as far as they were read.
[[nodiscard]] TimelineEnds read_timeline_ends(io::Shelf& directory, const Listing& listing,
                                              wal::SegmentSize size);

}  // namespace weir::archive

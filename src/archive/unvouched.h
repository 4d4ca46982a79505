#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/home.h"
#include "archive/listing.h"
#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// Segments that were imported into a hole that remained: they are valid and match the archive on
/// one side; on the other side there is no WAL yet to compare with. WAL of another branch could
/// match likewise. They are therefore recorded, ".pgweir-unvouched-<timeline>-<begin>"
/// (docs/import.md), before the first of them is renamed into place, and reported until "pgweir
/// import" has verified that boundary.
struct Unvouched {
  wal::TimelineId timeline = 0;  ///< whose history the segments are of
  wal::Lsn begin;                ///< a segment's first byte
  wal::Lsn end;                  ///< after the last one
  wal::SegmentSize segment_size{};
  bool left = false;   ///< its start could not be verified
  bool right = false;  ///< nor for its end
  std::string found{};
  std::string source{};
  std::optional<std::string> complaint =
      std::nullopt;  ///< the record cannot be read, or why it is kept

  [[nodiscard]] std::string id() const;
  /// "… could not be verified against the WAL after it …", a sentence for reports.
  [[nodiscard]] std::string text() const;
  bool operator==(const Unvouched&) const = default;
};

[[nodiscard]] bool is_unvouched_record(std::string_view name);

/// Ordered by position. An unreadable record is included, with a complaint. Throws what `shelf`
/// throws if it cannot be opened.
[[nodiscard]] std::vector<Unvouched> read_unvouched(io::Shelf& shelf, const Listing& listing);

/// Durable when it returns. Replaces a record with the same start.
void record_unvouched(Home& home, const Unvouched& unvouched);

/// Removes the record: the boundary was verified. Durable when it returns.
void remove_unvouched(io::Directory& directory, const Unvouched& unvouched);

/// Removes the records whose segments are no longer in the archive. Durable when it returns.
void close_unvouched(io::Directory& directory, const Listing& listing);

}  // namespace weir::archive

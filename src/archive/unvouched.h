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

/// Segments that were imported into a hole that stayed: they are sound and fit to the archive on
/// one side, and on the other there is nothing yet that could tell. WAL of another branch may do
/// that, too. So this is recorded, ".pgweir-unvouched-<timeline>-<begin>" (docs/import.md), before
/// the first of them has its name, and told until "pgweir import" has looked at that border.
struct Unvouched {
  wal::TimelineId timeline = 0;  ///< whose history the segments are of
  wal::Lsn begin;                ///< a segment's first byte
  wal::Lsn end;                  ///< behind the last one
  wal::SegmentSize segment_size{};
  bool left = false;   ///< nobody can vouch for its begin
  bool right = false;  ///< nor for its end
  std::string found{};
  std::string source{};
  std::optional<std::string> complaint =
      std::nullopt;  ///< the record cannot be read, or why it stays

  [[nodiscard]] std::string id() const;
  /// "not vouched for on the right: …", a phrase to be told.
  [[nodiscard]] std::string text() const;
  bool operator==(const Unvouched&) const = default;
};

[[nodiscard]] bool is_unvouched_record(std::string_view name);

/// By position. One that cannot be read is among them, with a complaint. Throws what `shelf` throws
/// when it cannot be entered.
[[nodiscard]] std::vector<Unvouched> read_unvouched(io::Shelf& shelf, const Listing& listing);

/// Durable when it returns. Replaces one of the same begin.
void record_unvouched(Home& home, const Unvouched& unvouched);

/// Removes it: somebody has looked. Durable when it returns.
void remove_unvouched(io::Directory& directory, const Unvouched& unvouched);

/// Removes those of which no segment is in the archive (any more). Durable when it returns.
void close_unvouched(io::Directory& directory, const Listing& listing);

}  // namespace weir::archive

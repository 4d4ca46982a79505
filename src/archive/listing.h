#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

/// "000000010000000000000003[.gz|.lz4|.zst][.partial]", read.
struct SegmentFileName {
  wal::SegmentName segment;
  codec::Method method = codec::Method::none;
  bool partial = false;

  [[nodiscard]] static std::optional<SegmentFileName> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  bool operator==(const SegmentFileName&) const = default;
};

struct SegmentEntry {
  SegmentFileName name;
  std::optional<std::uint64_t> bytes;  ///< size of the file, if requested
};

struct HistoryEntry {
  wal::TimelineId timeline;
  codec::Method method = codec::Method::none;  ///< ".history.gz" exists in the field
};

/// The contents of a directory, by names alone. No file is opened.
struct Listing {
  std::vector<SegmentEntry> segments;   ///< by timeline, then number, then format; includes partial
                                        ///< ones
  std::vector<HistoryEntry> histories;  ///< by timeline
  std::vector<std::string> backup_histories;  ///< "<segment>.<offset>.backup": kept, not ours
  std::vector<std::string> hidden;            ///< names with a leading dot
  std::vector<std::string> foreign;  ///< everything else, and directories named like a segment
};

/// With the segments' sizes.
[[nodiscard]] Listing list_archive(io::Shelf& directory);
/// The same, with sizes of partial segments only, which is much faster.
[[nodiscard]] Listing list_archive_names(io::Shelf& directory);
/// Updates the sizes of the partial segments; 0 for files that no longer exist.
void measure_partials(io::Shelf& directory, Listing& listing);

/// The combined contents of two directories: each segment's and history's name once, with the
/// larger of two sizes. Excludes other names, which have a meaning only in their own directory.
[[nodiscard]] Listing joined(const Listing& one, const Listing& other);

}  // namespace weir::archive

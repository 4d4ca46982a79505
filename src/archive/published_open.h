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

/// A partial segment that was uploaded to a store under its final name, with zeros after its last
/// record, for readers that only know whole segments ("pgweir store publish-partial"). Recorded as
/// ".pgweir-published-<segment>" (docs/store-recover.md) in the archive and in the store before it
/// is uploaded. Value type.
struct PublishedOpen {
  wal::SegmentName segment;
  wal::Lsn end;         ///< of the last complete record; zeros from there on
  std::string object;   ///< "s3://bucket/key"
  std::string time;     ///< when
  bool forced = false;  ///< servers were not queried, or answered: --primary-is-gone
  bool operator==(const PublishedOpen&) const = default;

  /// "000000010000000000000003 up to 0/3012345 is in the store …", a phrase for reports.
  [[nodiscard]] std::string text() const;
};

/// ".pgweir-published-000000010000000000000003"
[[nodiscard]] std::string published_open_name(wal::SegmentName segment);
[[nodiscard]] std::optional<wal::SegmentName> parse_published_open_name(std::string_view name);

/// Returns the content of the record's file.
[[nodiscard]] std::string published_open_record(const PublishedOpen& published);
/// nullopt: it cannot be read.
[[nodiscard]] std::optional<PublishedOpen> parse_published_open(wal::SegmentName segment,
                                                                std::string_view record);

/// In order; of one that cannot be read there is no `end`. Throws Error{io}.
[[nodiscard]] std::vector<PublishedOpen> read_published_open(io::Shelf& shelf,
                                                             const Listing& listing);

/// That segment's record; nullopt: there is none, or it cannot be read. Throws Error{io}.
[[nodiscard]] std::optional<PublishedOpen> published_open_of(io::Shelf& shelf,
                                                             wal::SegmentName segment);

/// True if the file is as long as a segment, and has only zeros from `end` on, as its record says.
/// Throws what read_segment() throws.
[[nodiscard]] bool has_zeros_behind(io::Shelf& shelf, const SegmentFileName& file,
                                    wal::SegmentSize size, wal::Lsn end);

/// Durable when it returns. Replaces an earlier one.
void record_published_open(Home& home, const PublishedOpen& published);

/// The real segment is in the store, so there is nothing left to report. Throws Error{io,
/// durability}.
void close_published_open(io::Directory& directory, wal::SegmentName segment);
/// The same for those that precede the archive's WAL, by position: on a timeline that was left, the
/// real segment never arrives.
void close_published_open(io::Directory& directory, const Listing& listing);

}  // namespace weir::archive

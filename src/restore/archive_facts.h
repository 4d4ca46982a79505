#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/error.h"
#include "base/log.h"
#include "io/shelf.h"
#include "restore/absence.h"
#include "restore/options.h"
#include "wal/page.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// The archives contradict each other: WAL of another cluster, two valid copies that differ. No
/// other file can resolve this.
class Contradiction final : public ErrorAs<Contradiction> {
 public:
  using ErrorAs::ErrorAs;
};

[[nodiscard]] Contradiction another_cluster(const std::string& directory, std::uint64_t expected,
                                            const archive::Identity& found);

/// Holes recorded in the archive, acknowledged or not: they concern a recovery in any case.
[[nodiscard]] std::vector<KnownHole> read_known_holes(io::Shelf& archive,
                                                      const archive::Listing& listing,
                                                      wal::SegmentSize size);

/// The facts about the archive that one request needs, each read on first use: an existing segment
/// is delivered without listing the directory, regardless of the number of files. One thread. Does
/// not own its arguments. Throws Error{io, damage, conflict}.
class ArchiveFacts {
 public:
  ArchiveFacts(io::Shelf& archive, const Options& options, Log& log)
      : archive_(archive), options_(options), log_(log) {}

  [[nodiscard]] io::Shelf& directory() const { return archive_; }
  /// For messages.
  [[nodiscard]] std::string path_of(const std::string& name) const;

  [[nodiscard]] const archive::Listing& listing();
  /// Throws Contradiction if it is not that of the server that recovers.
  [[nodiscard]] const std::optional<archive::Identity>& identity();
  /// Holes that the archive has a record of.
  [[nodiscard]] std::vector<KnownHole> known_holes(wal::SegmentSize size);
  /// The archive has changed: cached facts are read again.
  void forget();

  /// Returns nullopt for a timeline whose history is missing or invalid; the latter is logged.
  [[nodiscard]] std::optional<wal::TimelineHistory> history_of(wal::TimelineId timeline);

  [[nodiscard]] bool finished_form_exists(wal::SegmentName segment);
  [[nodiscard]] bool only_form(const archive::SegmentFileName& name);

  /// The system identifier that WAL must have; 0 if unknown.
  [[nodiscard]] std::uint64_t expected_system_identifier();
  /// The segment size, by the first page of a segment's file. Throws Error{conflict} if that is of
  /// another cluster, Error{damage} if no segment of this name starts with a valid page header.
  [[nodiscard]] wal::SegmentSize size_of(const archive::SegmentFileName& name,
                                         const wal::PageHeader& first_page);

 private:
  /// Other segments of a timeline, by which one of them can be judged.
  struct Witnesses {
    std::vector<archive::SegmentFileName> behind;
    std::vector<archive::SegmentFileName> before;
  };
  /// Number of witnesses for and against the cluster that a segment names.
  struct Votes {
    std::uint64_t own = 0;
    int same = 0;
    int other = 0;
    std::uint64_t other_identifier = 0;
    void count(std::optional<std::uint64_t> identifier);
  };

  Witnesses witnesses_for(const archive::SegmentFileName& name, const wal::PageHeader& first_page);
  std::optional<std::uint64_t> identifier_in(const archive::SegmentFileName& name);
  std::uint64_t identifier_for(const archive::SegmentFileName& name,
                               const wal::PageHeader& first_page);

  io::Shelf& archive_;
  const Options& options_;
  Log& log_;
  std::optional<archive::Listing> listing_;
  std::optional<std::optional<archive::Identity>> identity_;
  std::optional<std::uint64_t> identifier_;  ///< that restored WAL must have
};

}  // namespace weir::restore

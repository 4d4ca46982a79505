#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "archive/listing.h"
#include "archive/published_open.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "io/shelf.h"
#include "verify/plan.h"
#include "verify/results.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::verify {

/// The facts that all segments of the archive are compared with.
struct Cluster {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  std::optional<int> server_major = std::nullopt;
};

/// State shared by all checks of one run. Does not own its arguments. Any thread; the results
/// collect under a lock of their own.
class Context {
 public:
  Context(io::Shelf& archive, const Plan& the_plan, const archive::Timelines& timelines,
          const Cluster& the_cluster, std::optional<wal::Lsn> start_of_backup,
          const std::vector<archive::PublishedOpen>& published, Results& the_results);

  /// nullptr if it is unknown which pages are an ancestor's.
  [[nodiscard]] const wal::TimelineHistory* history(wal::TimelineId timeline) const;
  [[nodiscard]] bool leaves_within(const Node& node, wal::Lsn at) const;
  /// Start of the zeros in a partial segment that was published ("pgweir store publish-partial"),
  /// if `damage` consists only of these. A recovery passes them only with another file of the
  /// segment: without one, it is damaged unless it is_last().
  [[nodiscard]] std::optional<wal::Lsn> padded_behind(const Node& node,
                                                      const archive::SegmentFileName& file,
                                                      const wal::Damage& damage) const;
  /// True for the last segment of its timeline.
  [[nodiscard]] bool is_last(const Node& node) const;
  /// The segment that a recovery reads that byte from.
  [[nodiscard]] wal::SegmentName segment_of(wal::TimelineId timeline, wal::Lsn lsn) const;
  /// At the segment's first byte.
  [[nodiscard]] wal::RecordVerifier new_verifier(const Node& node,
                                                 wal::RecordObserver* observer) const;

  struct Reading {
    std::optional<wal::Damage> damage = std::nullopt;
    std::optional<wal::PageHeader> first_page = std::nullopt;
    std::uint64_t given = 0;
  };
  /// Feeds `verifier` with one file, up to damage. `count`: counts towards the progress, which may
  /// stop it. Throws what archive::read_segment() throws.
  Reading read(const archive::SegmentFileName& file, wal::RecordVerifier& verifier, bool count);
  /// Called if a file of the segment could not be read. Another program may be copying it directly
  /// to its final name: waits as long as it does. True: the file has been changed since, or just
  /// before, and must be read again.
  [[nodiscard]] bool wait_for_writer(const Node& node, const Error& error);

  io::Shelf& shelf;
  const Plan& plan;
  const Cluster cluster;
  const std::optional<wal::Lsn> backup_start;  ///< of the named backup
  Results& results;

 private:
  std::map<wal::TimelineId, wal::TimelineHistory> histories_;
  std::map<wal::SegmentName, wal::Lsn> published_;  ///< partial ones, and their ends
};

/// Maximum number of attempts for a file that changes concurrently.
inline constexpr std::size_t kMostAttempts = 50;

}  // namespace weir::verify

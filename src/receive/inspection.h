#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/compress.h"
#include "archive/listing.h"
#include "archive/resume.h"
#include "archive/sizes.h"
#include "base/log.h"
#include "io/directory.h"
#include "receive/choose_host.h"
#include "receive/habits.h"
#include "receive/known_names.h"
#include "receive/machine.h"
#include "receive/session_state.h"
#include "wal/segment.h"

namespace weir::receive {

/// Checks the archive before WAL is streamed into it: whether it belongs to the server's cluster
/// (P4), where it ends, and what it has lost (P14). One thread.
class Inspection {
 public:
  /// All must outlive this object.
  Inspection(io::Directory& directory, const Habits& habits, Machine& machine, Log& log)
      : directory_(directory),
        habits_(habits),
        machine_(machine),
        log_(log),
        names_(directory, machine) {}

  struct Result {
    ArchiveFacts facts;
    std::shared_ptr<const archive::Listing> listing;  ///< from which they were read
  };
  /// Removes an earlier run's leftovers (archive::clean_up()). Throws Error{io, durability}.
  void tidy_up() { archive::clean_up(directory_, *names_.read()); }
  /// The end of the archive is durable on return (P1). Throws Error{conflict} if it belongs to
  /// another cluster; Error{durability}, which is final; Error{retry} while its newest segment is
  /// being copied; Error{io}.
  [[nodiscard]] Result run(std::uint64_t system_identifier, wal::SegmentSize segment_size);

  /// Removes the records of losses that are closed (archive::close_losses()); `listing` is of now,
  /// and read if it is nullptr. Throws Error{durability}.
  void close_losses(const archive::Listing* listing = nullptr);

  /// The archive's own state, before any server is known; nullopt if it is empty. Changes nothing.
  /// Throws as archive::find_resume_point() and read_identity().
  [[nodiscard]] std::optional<ArchivedSoFar> so_far();
  /// Finds the exact end of its WAL if one of the hosts has left its timeline.
  void find_position(ArchivedSoFar& archive, const std::vector<HostWord>& hosts);

  /// The first bytes of the newest timelines of that history of which the archive has WAL before
  /// `end` (kFirstWalBytes). Unreadable ones are omitted.
  [[nodiscard]] std::map<wal::TimelineId, std::string> first_wal_before(
      const wal::TimelineHistory& history, wal::Lsn end, wal::SegmentSize segment_size);

  /// The names are not needed for a while.
  void forget_names() { names_.forget(); }
  /// The results of the last run are recorded: streaming starts.
  void on_recorded() { past_timelines_recorded_ = past_timelines_read_; }
  /// A stream has ended in this segment: the segments before it are durable.
  void on_streamed(wal::SegmentName segment) { durable_before_ = segment; }
  /// Complete files of a wrong size, which are to be replaced.
  [[nodiscard]] const std::set<std::string>& wrong_sizes() const { return wrong_sizes_; }

 private:
  template <typename Look>
  auto on_one_listing(Look look);
  [[nodiscard]] archive::RecentChange change_of_newest(const archive::Listing& listing);
  [[nodiscard]] std::string first_wal(const StartFacts::ArchiveEnd& end,
                                      const archive::ResumePoint& resume,
                                      wal::SegmentSize segment_size);
  [[nodiscard]] std::shared_ptr<const archive::Listing> list();
  [[nodiscard]] ArchiveFacts inspect(std::uint64_t system_identifier, wal::SegmentSize segment_size,
                                     const archive::Listing& listing);
  void skip_wrong_sizes(archive::Listing& listing, wal::SegmentSize segment_size);
  void find_losses(const archive::Listing& listing, wal::SegmentSize segment_size,
                   ArchiveFacts& facts);
  void read_losses(const archive::Listing& listing, wal::SegmentSize segment_size,
                   ArchiveFacts& facts);

  io::Directory& directory_;
  const Habits& habits_;
  Machine& machine_;
  Log& log_;
  KnownNames names_;
  std::set<std::string> wrong_sizes_;
  std::optional<wal::SegmentName> durable_before_;
  bool told_foreign_ = false;
  bool past_timelines_read_ = false;  ///< their leftovers were searched for, and ...
  bool past_timelines_recorded_ = false;
};

}  // namespace weir::receive

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/log.h"
#include "io/shelf.h"
#include "restore/absence.h"
#include "restore/archive_facts.h"
#include "restore/copy.h"
#include "restore/options.h"
#include "store/ledger/mark.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// The archives from which one request may be answered, in the order in which they are queried, and
/// the combined knowledge about them. For a single archive it is that of ArchiveFacts, and each
/// error is thrown directly.
///
/// If one of several archives cannot be read (it is not mounted, its disk fails, it hangs, it is
/// empty), it is *silent* from then on, as long as this object lives, and the others are queried.
/// Files that one of them has can be restored; that none of them has a file is certain only if none
/// is silent (require_answers()). WAL of another cluster in one of them is always an error. One
/// thread. Does not own its arguments. Throws Error{io, damage, conflict}, Contradiction.
class Archives {
 public:
  Archives(Shelves shelves, const Options& options, Log& log);

  [[nodiscard]] bool several() const { return members_.size() > 1; }
  [[nodiscard]] std::size_t count() const { return members_.size(); }
  [[nodiscard]] ArchiveFacts& at(std::size_t archive) { return members_.at(archive).facts; }
  [[nodiscard]] io::Shelf& shelf(std::size_t archive) { return at(archive).directory(); }
  /// For messages.
  [[nodiscard]] std::string path_of(const Copy& copy) {
    return at(copy.archive).path_of(copy.name.to_string());
  }
  [[nodiscard]] std::string paths() const;

  [[nodiscard]] bool silent(std::size_t archive) const {
    return members_[archive].silence.has_value();
  }
  /// The error; set if silent().
  [[nodiscard]] const std::optional<Error>& silence(std::size_t archive) const {
    return members_[archive].silence;
  }
  void fall_silent(std::size_t archive, const Error& error);
  /// One bit for each silent archive.
  [[nodiscard]] std::uint64_t all_silent() const;
  /// Throws the first silent one's error: the others do not have `what`. Does not throw if silent
  /// archives are ignored (Options::without_silent) and another one responds.
  void require_answers(std::string_view what) const;

  /// Calls `ask(archive)` for each archive that is not silent. If the call throws an error that is
  /// not about a file's content, the archive is silent from then on.
  template <typename Ask>
  void ask_each(Ask ask) {
    for (std::size_t i = 0; i < count(); ++i)
      if (!silent(i)) ask_one(i, [&] { ask(i); });
  }

  /// The archives have changed: cached facts are read again.
  void forget();

  // The following functions cover the archives that respond.

  /// The combined listing. Each name once.
  [[nodiscard]] const archive::Listing& listing();
  /// nullopt if there is no WAL.
  [[nodiscard]] std::optional<archive::Identity> identity();
  /// The histories in the archives. If several have one of the same timeline, that of the archive
  /// `first` is preferred, then that of the others in their order, if it is valid.
  [[nodiscard]] archive::Timelines timelines(std::size_t first = 0);
  /// Holes that one of them has a record of and that the others do not fill.
  [[nodiscard]] std::vector<KnownHole> known_holes(wal::SegmentSize size);
  /// True if one of them was uploaded to an object store, with this segment, and no store is among
  /// them: --local-retention may have removed it from the directory.
  [[nodiscard]] bool was_uploaded(wal::SegmentName segment);
  /// A file that none of them has, although a record in one of them says that it existed: a copy of
  /// an archive that is not complete.
  struct Recorded {
    std::string record;  ///< the name of that file
    wal::TimelineId timeline = 0;
    std::optional<wal::SegmentName> segment;  ///< nullopt: the history of the timeline
  };
  /// By the records of lost branches and, if no store is among the archives, by what was uploaded.
  /// Of consecutive segments, the last one. Excludes WAL before the archive's first segment, which
  /// was pruned, and WAL of a branch after the position at which another timeline has left it.
  [[nodiscard]] std::vector<Recorded> missing_by_records();
  /// That this segment or a later one of its timeline existed, or that this timeline did.
  [[nodiscard]] std::optional<Gap> recorded(wal::SegmentName segment);
  [[nodiscard]] std::optional<Gap> recorded(wal::TimelineId timeline);
  /// Returns nullopt for a timeline whose history is missing or invalid; the latter is logged.
  [[nodiscard]] std::optional<wal::TimelineHistory> history_of(wal::TimelineId timeline);
  [[nodiscard]] bool finished_form_exists(wal::SegmentName segment);
  /// Whether another program is writing a file of the segment in one of the directories. (A store
  /// has no unfinished objects.)
  [[nodiscard]] archive::RecentChange find_recent_change(wal::SegmentName segment);
  /// Checks by names, identity and listing that the archive holds WAL of the cluster
  /// `system_identifier`, or is empty and may be. The archive becomes silent if that cannot be
  /// determined.
  void require_same_cluster(std::size_t archive, std::uint64_t system_identifier);
  /// True if `error` reports that one of several archives holds WAL of another cluster, and no
  /// server determines which cluster is meant: then the archives must not decide by majority.
  [[nodiscard]] bool nobody_tells_the_cluster(const Error& error) const {
    return several() && !options_.system_identifier && error.kind() == ErrorKind::conflict;
  }
  /// Archives without any WAL become silent, unless archives may be empty. The directories and the
  /// store of one archive must have some WAL together.
  void require_wal();

 private:
  struct Member {
    ArchiveFacts facts;
    std::optional<Error> silence = std::nullopt;
  };
  template <typename Call>
  void ask_one(std::size_t archive, Call call) {
    if (!several()) return call();
    try {
      call();
    } catch (const Error& error) {
      if (!is_silence(error)) throw;
      fall_silent(archive, error);
    }
  }
  [[nodiscard]] static bool is_silence(const Error& error);
  [[nodiscard]] std::optional<store::Mark> mark_of(std::size_t archive);

  const Options& options_;
  std::vector<Member> members_;
  std::optional<archive::Listing> listing_;  ///< of several
};

}  // namespace weir::restore

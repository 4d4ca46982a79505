#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/log.h"
#include "io/shelf.h"
#include "restore/absence.h"
#include "restore/archive_facts.h"
#include "restore/copy.h"
#include "restore/options.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// The archives that one request may be answered from, in the order in which they are asked, and
/// what is known of them together. Of a single archive it is what ArchiveFacts says, and each error
/// is thrown as it comes.
///
/// Of several, one that cannot be looked into (it is not mounted, its disk fails, it hangs, it is
/// empty) is *silent* from then on, as long as this object lives: the others are asked. What one of
/// them has can be restored; that none of them has a file can be said only if none is silent
/// (require_answers()). WAL of another cluster in one of them is an error whatever the others have.
/// One thread. Does not own what it is given. Throws Error{io, damage, conflict}, Contradiction.
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
  /// Why; set if silent().
  [[nodiscard]] const std::optional<Error>& silence(std::size_t archive) const {
    return members_[archive].silence;
  }
  void fall_silent(std::size_t archive, const Error& error);
  /// One bit for each that is.
  [[nodiscard]] std::uint64_t all_silent() const;
  /// Throws the first silent one's error: the others do not have `what`. Not where those that are
  /// silent are to be left out (Options::without_silent), and another one answers.
  void require_answers(std::string_view what) const;

  /// Calls `ask(archive)` for each one that is not silent. One that throws what says nothing of a
  /// file's content is silent from then on.
  template <typename Ask>
  void ask_each(Ask ask) {
    for (std::size_t i = 0; i < count(); ++i)
      if (!silent(i)) ask_one(i, [&] { ask(i); });
  }

  /// The archives have changed: what was looked up is looked up again.
  void forget();

  // What follows is of those that answer.

  /// What all of them list. Each name once.
  [[nodiscard]] const archive::Listing& listing();
  /// nullopt if there is no WAL.
  [[nodiscard]] std::optional<archive::Identity> identity();
  /// What the history files say. Where several have one of the same timeline, that of the archive
  /// `first` counts, then that of the others in their order, if it is sound.
  [[nodiscard]] archive::Timelines timelines(std::size_t first = 0);
  /// Holes that one of them has a record of and that the others do not fill.
  [[nodiscard]] std::vector<KnownHole> known_holes(wal::SegmentSize size);
  /// Of a timeline whose history is missing or not valid: nullopt; the latter is told to the log.
  [[nodiscard]] std::optional<wal::TimelineHistory> history_of(wal::TimelineId timeline);
  [[nodiscard]] bool finished_form_exists(wal::SegmentName segment);
  /// By names, identity and listing: whose WAL this archive holds is what `system_identifier` says,
  /// or it is empty and may be. It is silent if that cannot be told.
  void require_same_cluster(std::size_t archive, std::uint64_t system_identifier);
  /// True if `error` says that one of several archives has WAL of another cluster in its place, and
  /// no server tells which one is wanted: then it is not for the files to outvote each other.
  [[nodiscard]] bool nobody_tells_the_cluster(const Error& error) const {
    return several() && !options_.system_identifier && error.kind() == ErrorKind::conflict;
  }
  /// Those without any WAL are silent, unless archives may be empty. Of homes of one archive all
  /// together are to have some.
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

  const Options& options_;
  std::vector<Member> members_;
  std::optional<archive::Listing> listing_;  ///< of several
};

}  // namespace weir::restore

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "base/log.h"
#include "drill/drill.h"
#include "recovery/promise.h"
#include "restore/absence.h"
#include "restore/archives.h"
#include "restore/open_archives.h"
#include "restore/partial.h"
#include "restore/union_reader.h"

namespace weir::cli {

/// The archives of a command that recovers, queried as `restore` does. An error of one of several
/// is reported on stderr. One thread.
class ArchivesOfRecovery final : public drill::Archives {
 public:
  /// `standby`: the server follows the newest timeline that has a history file, also if none of
  /// that timeline's WAL is archived yet (findNewestTimeLine() in access/transam/timeline.c).
  /// `of_backup`: index of the directory that is pg_wal of the base backup.
  explicit ArchivesOfRecovery(const restore::Places& places, bool standby = false,
                              std::optional<std::size_t> of_backup = std::nullopt);

  recovery::Way way(const archive::BackupPoint& backup,
                    std::optional<wal::TimelineId> timeline) override;
  std::optional<wal::Lsn> promised_by_status(const archive::BackupPoint& backup,
                                             wal::TimelineId timeline) override;
  std::vector<Silence> silent() override;
  std::optional<wal::TimelineId> newest_timeline() override;
  std::optional<WithoutWal> newest_without_wal() override;

 private:
  class StderrLog final : public Log {
   public:
    void write(LogLevel level, std::string_view message) override;
    bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }
  };

  /// The timelines that the server may follow: those with WAL; for a standby, also newer ones with
  /// a history file.
  std::set<wal::TimelineId> followed();
  /// History of the newest of them to which the backup leads, or of the wanted timeline.
  /// Throws Error{io} if the history of a newer one, or of the wanted one, is unknown.
  wal::TimelineHistory newest_history(const archive::BackupPoint& backup,
                                      std::optional<wal::TimelineId> wanted);
  /// Throws, as `restore` does, if an archived history contradicts another one, or the WAL.
  void check_history(wal::TimelineId timeline);
  std::optional<wal::TimelineId> missing_history(const archive::BackupPoint& backup);
  std::string no_promotion();
  std::optional<wal::TimelineId> newest_lost();
  std::optional<wal::Lsn> goes_on(wal::Lsn at);
  std::optional<wal::Lsn> left_after(wal::Lsn at);
  std::optional<wal::Lsn> last_left();
  std::optional<wal::Lsn> told_after(wal::Lsn at);
  std::optional<wal::Lsn> recorded_after(wal::Lsn at);
  /// The first of these segments, and where the last one ends.
  std::pair<std::optional<restore::Unread>, std::optional<wal::Lsn>> unread_after(wal::Lsn at);
  std::optional<wal::Lsn> next_segment(wal::Lsn at, bool complete);
  bool has_wal(const archive::SegmentFileName& partial);
  std::optional<wal::Lsn> complete_after(wal::Lsn at);
  bool has_wal_after_damage(wal::Lsn at);
  bool is_left_before(wal::Lsn at);
  bool is_padding(wal::Lsn at);
  bool is_finished(wal::Lsn at);
  bool has_another_copy();
  bool is_being_written(wal::Lsn at);
  std::size_t read_front(wal::Lsn at, std::span<std::byte> into);

  const std::vector<std::string> directories_;
  const bool standby_;
  const std::optional<std::size_t> of_backup_;
  const restore::Options options_;
  StderrLog log_;
  restore::OpenArchives open_;
  restore::Archives archives_;
  wal::SegmentSize size_;
  std::optional<wal::TimelineHistory> history_;
  restore::UnionReader::Unsound unsound_;
  std::optional<wal::SegmentName> front_of_;  ///< that the next field is about
  std::optional<restore::Partial> front_;
  std::set<wal::SegmentName> changed_;  ///< were read again, since they had just been changed
  std::unique_ptr<restore::UnionReader> reader_;
};

}  // namespace weir::cli

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "prune/retention.h"
#include "wal/record_verifier.h"

namespace weir::prune {

/// Reads an archive. Results about WAL that a receiver or a compression is writing reflect that
/// moment. Does not own the archive. One thread. Throws Error{io}; Error{damage} if a history file
/// cannot be read, since it determines which backups are usable.
class ArchiveWal final : public WalFacts {
 public:
  /// `stop` is queried while WAL is read; if it returns true Error{retry} is thrown.
  ArchiveWal(io::Shelf& archive, std::function<bool()> stop);

  const std::vector<Line>& lines() override { return lines_; }
  NewestCommit newest_commit(const Line& line, const Stretch& stretch) override;
  WalOfBackup look(const FoundBackup& backup, const Line& line, const Stretch& stretch,
                   std::optional<wal::PgTime> until) override;

 private:
  struct Scan;
  void find_lines(const archive::Listing& listing);
  [[nodiscard]] std::optional<std::string> why_stranger(const archive::BackupPoint& point);
  WalOfBackup find_end(const FoundBackup& backup, const Line& line, const Stretch& stretch);
  Scan scan(const Line& line, const Stretch& stretch, wal::Lsn from, wal::RecordObserver& observer,
            const std::function<bool(wal::Lsn)>& enough);
  std::optional<wal::PgTime> latest_before(const Line& line, const Stretch& stretch, wal::Lsn at);
  WalOfBackup first_commit(const Line& line, const Stretch& stretch, wal::Lsn at);

  io::Shelf& archive_;
  const std::function<bool()> stop_;
  std::optional<archive::Identity> identity_;
  std::vector<Line> lines_;
  std::map<std::pair<wal::TimelineId, wal::Lsn>, NewestCommit> newest_;
};

}  // namespace weir::prune
